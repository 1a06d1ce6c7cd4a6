"""How much work a constraint may be: what is small is compiled at once, the rest is tried in a process first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mlxk_core.api.generation import Matches, Part, RawString, leaves
from mlxk_structured import trial
from mlxk_structured.lark import Grammar

_VALUES = 300
"""JSON values of all schemas together. Some keywords compare all their schemas with each other."""
_COMBINED = 12
"""Schemas that are combined with others, all together: some combinations are written out."""
_COMBINING = frozenset(
    {"allOf", "anyOf", "oneOf", "not", "if", "contains", "dependencies", "dependentRequired", "dependentSchemas",
     "unevaluatedProperties", "unevaluatedItems"}
)  # fmt: skip
_CHARACTERS = 10_000
_REPEATED = 10_000
"""Characters and classes of the regular expressions with their repetitions written out."""
_REPETITION = re.compile(r"(?<!\\)(.)\{([0-9]{1,9})(?:,([0-9]{0,9}))?\}")


def is_small(grammar: Part) -> bool:
    """Return whether `grammar` is written as Lark in a few milliseconds. Nothing is written for it."""
    values = characters = combined = 0
    for leaf in leaves(grammar):
        if isinstance(leaf, Matches) and leaf.kind == "regex":
            continue  # its length has a limit that is checked at once
        value: Any = leaf.value if isinstance(leaf, Matches) else leaf.schema if isinstance(leaf, RawString) else None
        pending = [value]
        while pending:
            each = pending.pop()
            values += 1
            if isinstance(each, Mapping):
                characters += sum(len(key) for key in each if isinstance(key, str))
                pending += each.values()
                for key in each.keys() & _COMBINING:
                    combined += len(each[key]) if isinstance(each[key], (list, Mapping)) else 1
            elif isinstance(each, list):
                pending += each
            elif isinstance(each, str):
                characters += len(each)
            if values + len(pending) > _VALUES or characters > _CHARACTERS or combined > _COMBINED:
                return False
    return True


def is_quick(grammar: Part, written: Grammar) -> bool:
    """Return whether `grammar`, which is small and is `written` as Lark, compiles in a few milliseconds."""
    return (
        not written.deep
        and len(written.text) <= _CHARACTERS
        and _with_repetitions(written.text) <= _REPEATED
        and not trial.has_raw_patterns(grammar)
        and not trial.is_needed(grammar, written.text)
    )


def _with_repetitions(text: str) -> int:
    """Return about how long `text` is with its repetitions written out, at most a little above `_REPEATED`."""
    plain, nested = len(text), 1
    for before, least, most in _REPETITION.findall(text):
        count = max(int(least), int(most or 0))
        if before == "]":
            plain += count
        else:  # a group or a rule, which may have repetitions of its own
            nested = min(nested * max(count, 1), _REPEATED + 1)
    return min(plain * nested, _REPEATED + 1)
