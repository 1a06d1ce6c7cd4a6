"""A trial of grammars that intersect regular expressions, or have many levels, in a process of its own.

llguidance derives an intersection as a whole before it counts the work: twelve short patterns, or two that are chosen
well, take minutes and gigabytes, and nothing can end them. A chain of thousands of references overflows its stack,
which ends the process.
"""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

from mlxk_core.api.errors import InvalidConstraint
from mlxk_core.api.generation import Matches, Part, RawString, leaves

_WALL_SECONDS = 20.0
_AT_ONCE = threading.Semaphore(2)
# What becomes a regular expression inside `%json`; every `pattern` has been rewritten to begin so.
_STRING_RULE = re.compile(r'"\^\(|"(?:format|minLength|maxLength)": ')


def is_needed(grammar: Part, text: str) -> bool:
    """Return whether `text`, `grammar` as Lark, may intersect regular expressions of the client."""
    parts: Sequence[Part] = tuple(leaves(grammar))
    if any(isinstance(part, Matches) and part.kind in ("lark", "gbnf") for part in parts):
        return "&" in text
    return any(
        len(_STRING_RULE.findall(line)) > 1 if "%json" in line else line.count("/(?:") > 1 for line in text.splitlines()
    )


def has_raw_patterns(grammar: Part) -> bool:
    """Return whether `grammar` has patterns of the client for text outside JSON: tool arguments between tags."""
    return any(
        isinstance(part, RawString) and isinstance(part.schema, Mapping) and "pattern" in part.schema
        for part in leaves(grammar)
    )


def check(grammar: Part) -> None:
    """Raise what `Compiler.check` raises, and `InvalidConstraint` for a grammar that takes too long."""
    with _AT_ONCE:
        try:
            # -P: a file in the working directory must not shadow a library.
            done = subprocess.run(
                [sys.executable, "-P", "-m", "mlxk_structured.trial_process"],
                input=pickle.dumps(grammar),
                capture_output=True,
                timeout=_WALL_SECONDS,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            done = None
    if done is None or done.returncode:
        raise InvalidConstraint("constraint", "it is too complex: its patterns together, or its levels of references")
    if done.stdout:
        kind, reason, path = pickle.loads(done.stdout)
        raise InvalidConstraint(kind, reason, path=path)
