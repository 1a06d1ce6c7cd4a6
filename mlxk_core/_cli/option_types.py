"""Plain words for the types of options, in help and in errors, whatever plugin a command comes from."""

from __future__ import annotations

import re
from functools import partial

import click

_NOT_IN_RANGE = re.compile(r"(?P<value>.+) is not in the range (?P<allowed>.+)")
_NOT_VALID = re.compile(r"(?P<value>.+) is not a valid (?P<kind>integer|float|boolean)\b.*")
_NOT_A_CHOICE = re.compile(r"(?P<value>.+) is not one of (?P<allowed>.+)")
_KINDS = {"integer": "a whole number", "float": "a number", "boolean": "true or false"}


def use_plain_words(command: click.Command) -> None:
    """Change how the number options of `command`, and of the commands in a group, are shown: `N` and `at least 1`
    instead of click's `INTEGER RANGE` and `x>=1`."""
    for parameter in command.params:
        kind = parameter.type
        if isinstance(kind, (click.IntRange, click.FloatRange)):
            number_in_words(kind)
        if isinstance(parameter, click.Option) and parameter.metavar is None and not parameter.count:
            if isinstance(kind, click.types.IntParamType):
                parameter.metavar = "N"
            elif isinstance(kind, click.types.FloatParamType):
                parameter.metavar = "NUMBER"
    if isinstance(command, click.Group):
        for each in command.commands.values():
            use_plain_words(each)


def number_in_words(kind: click.IntRange | click.FloatRange) -> None:
    """Describe the bounds of a range in words, in help and in errors."""
    # click has no public hook for this, so the private method is overridden on the instance.
    vars(kind)["_describe_range"] = partial(bounds, kind)


def bounds(kind: click.IntRange | click.FloatRange) -> str:
    """Return the numbers allowed in words: `at least 1`, `from 0 to 1`, `above 0 and at most 1`."""
    low = None if kind.min is None else f"{'above' if kind.min_open else 'at least'} {kind.min:g}"
    high = None if kind.max is None else f"{'below' if kind.max_open else 'at most'} {kind.max:g}"
    if low and high and not (kind.min_open or kind.max_open):
        return f"from {kind.min:g} to {kind.max:g}"
    return " and ".join(filter(None, (low, high)))


def value_problem(error: click.BadParameter) -> str:
    """Return click's message about a wrong value as `must be at least 1, not 0`; other messages unchanged."""
    message = error.message.rstrip(".")
    if found := _NOT_IN_RANGE.fullmatch(message):
        return f"must be {found['allowed']}, not {found['value']}"
    if found := _NOT_VALID.fullmatch(message):
        return f"must be {_KINDS[found['kind']]}, not {found['value']}"
    if found := _NOT_A_CHOICE.fullmatch(message):
        *names, last = found["allowed"].replace("'", "").split(", ")
        return f"must be {', '.join(names)} or {last}, not {found['value']}" if names else f"must be {last}"
    return message
