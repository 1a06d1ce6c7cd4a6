"""Constraint of an answer, from the options `--schema`, `--regex` and `--grammar`."""

from __future__ import annotations

import json

from mlxk_core.api.errors import InvalidOption, UsageError
from mlxk_core.api.generation import Completion, Constraint
from mlxk_core.api.paths import read_typed_file


def constraint_of(*, schema: str | None, regex: str | None, grammar: str | None) -> Constraint | None:
    """Return the constraint of the answer, None without one. Raises `UsageError` for more than one."""
    given = {"--schema": schema, "--regex": regex, "--grammar": grammar}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise UsageError(f"{names[1]} cannot be used with {names[0]}: an answer has one constraint.")
    if schema is not None:
        return Constraint(kind="json_schema", value=_schema(schema), option="--schema")
    if regex is not None:
        return Constraint(kind="regex", value=regex, option="--regex")
    if grammar is not None:
        text = _read(grammar, "--grammar")
        return Constraint(kind="gbnf" if "::=" in text else "lark", value=text, option="--grammar")
    return None


def parse_answer(completion: Completion) -> object:
    """Return the value of an answer that has a schema, None if the answer was cut."""
    try:
        value: object = json.loads(completion.content)
    except ValueError:
        return None
    return value


def _schema(text: str) -> object:
    """Return the schema in JSON text, or in the file of that name."""
    text = text if text.lstrip()[:1] in ("{", "[") or text.strip() in ("true", "false") else _read(text, "--schema")
    try:
        schema: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidOption("--schema", f"not valid JSON: {error}") from None
    return schema


def _read(path: str, option: str) -> str:
    try:
        return read_typed_file(path).decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidOption(option, f"cannot read `{path}`: {reason}.") from None
