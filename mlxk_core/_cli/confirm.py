"""Yes-or-no questions at a terminal."""

from __future__ import annotations

import sys

import click

from mlxk_core._cli.session import Session
from mlxk_core._errors import Interrupted


def can_ask(session: Session) -> bool:
    """Return whether a question would be seen and can be answered."""
    at_terminal = sys.stdin is not None and sys.stdin.isatty() and session.output.stderr_is_terminal
    return at_terminal and not session.output.json


def confirm(session: Session, question: str, *, otherwise: str) -> bool:
    """Ask, and return whether the answer is yes. Raises `Interrupted` with the sentence `otherwise` for Ctrl-C."""
    try:
        return click.confirm(question, err=True)
    except click.Abort:  # Ctrl-C or Ctrl-D, which leave the cursor in the question's line
        session.output.note("")
        raise Interrupted(otherwise) from None
