"""Yes-or-no questions at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import click

from mlxk_core._cli.session import Session
from mlxk_core._errors import Interrupted, MlxkError, UsageError

_NOTHING_DELETED = "Nothing was deleted."


def can_ask(session: Session) -> bool:
    """Return whether a question would be seen and can be answered."""
    at_terminal = sys.stdin is not None and sys.stdin.isatty() and session.output.stderr_is_terminal
    return at_terminal and not session.output.json


def confirm_deletion(session: Session, what: str, *, listed: Iterable[str] = (), **details: Any) -> None:
    """Ask whether to delete `what`, after a line for each of `listed`.

    Raises `UsageError` if the question cannot be asked, and `MlxkError` if the answer is not yes, with `details`.
    """
    if not can_ask(session):
        raise UsageError(f"This would delete {what}. {_NOTHING_DELETED} Add -f to confirm.", **details)
    for line in listed:
        session.output.note(f"  {line}")
    if not confirm(session, f"Delete {what}?", otherwise=_NOTHING_DELETED):
        raise MlxkError(_NOTHING_DELETED, **details)


def confirm(session: Session, question: str, *, otherwise: str) -> bool:
    """Ask, and return whether the answer is yes. Raises `Interrupted` with the sentence `otherwise` for Ctrl-C."""
    try:
        return click.confirm(question, err=True)
    except click.Abort:  # Ctrl-C or Ctrl-D, which leave the cursor in the question's line
        session.output.note("")
        raise Interrupted(otherwise) from None
