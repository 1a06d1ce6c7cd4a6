"""Evidence for tool-call formats and response templates in a model's files, without importing mlx-lm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mlxk_core.api.formats import Evidence, Strength
from mlxk_mlx.formats.format_names import tool_format_name

if TYPE_CHECKING:
    from mlxk_core.api.models import Model

_MOST_VALUES = 512
_MOST_CHARACTERS = 1 << 13
_MOST_PLACEHOLDERS = 32
"""Of a response template, which has a few dozen values and 2,000 characters. Its parser is built for each response, in
a time that is quadratic in the number of literals; each place in its transforms repeats what the model said."""
_MOST_GROUPS, _MOST_SETS = 128, 64
"""Of its regular expressions. They are compiled with the interpreter locked: 16,000 groups take 13 s, 1,600 sets 3."""


def tool_calls(model: Model) -> Evidence | None:
    """Return the evidence for tool calls that a parser here reads.

    It is weak unless the model names its format: a plugin that knows the format of the whole answer takes precedence.
    """
    name = tool_format_name(model)
    if name is None:
        return None
    if model.tokenizer_config.get("tool_parser_type") == name:
        return Evidence(Strength.DECLARED, f"tokenizer_config.json names the tool format {name}")
    return Evidence(Strength.NAME, f"the chat template or the vocabulary shows the tool format {name}")


def response_template(model: Model) -> Mapping[str, Any] | None:
    """Return the model's `response_template` for transformers, None without one of a known version and usual size."""
    template = model.tokenizer_config.get("response_template")
    if not isinstance(template, Mapping) or template.get("version", 1) != 1:
        return None
    fields = template.get("fields")
    return template if isinstance(fields, Mapping) and fields and _is_small(template) else None


def _is_small(template: Mapping[str, Any]) -> bool:
    size = _size(template)
    fields = [field for field in template["fields"].values() if isinstance(field, Mapping)]
    placeholders = sum(_size(field.get("transform")).braces for field in fields)
    return (
        size.values <= _MOST_VALUES
        and size.characters <= _MOST_CHARACTERS
        and size.groups <= _MOST_GROUPS
        and size.sets <= _MOST_SETS
        and placeholders <= _MOST_PLACEHOLDERS
    )


class _Size(NamedTuple):
    """The numbers of values and characters of a part of a template, and of what opens a place or may open a group or a
    set of a regular expression in them."""

    values: int
    characters: int
    braces: int
    groups: int
    sets: int


def _size(part: Any) -> _Size:
    """Return the size of `part`; what comes after the values that are too many is not counted."""
    texts: list[str] = []
    values, waiting = 0, [part]
    while waiting and values <= _MOST_VALUES:
        value = waiting.pop()
        values += 1
        if isinstance(value, Mapping):
            texts += value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            texts.append(value)
    braces, groups, sets = (sum(text.count(mark) for text in texts) for mark in "{([")
    return _Size(values, sum(map(len, texts)), braces, groups, sets)


def responses(model: Model) -> Evidence | None:
    """Return the evidence for a `response_template`. It is weak for one made for whole, well-formed answers: any plugin
    that knows the model's format reads a stream better."""
    template = response_template(model)
    if template is None:
        return None
    whole = any(_needs_the_whole(field) for field in template["fields"].values() if isinstance(field, Mapping))
    return Evidence(Strength.NAME if whole else Strength.DECLARED, "tokenizer_config.json has a response_template")


def _needs_the_whole(field: Mapping[str, Any]) -> bool:
    """Return whether a field opens with a look-ahead (TRL's for Nemotron 3) or a well-formed harmony header (TRL's for
    gpt-oss, whose headers also have recipients and constraints)."""
    pattern = str(field.get("open_pattern", ""))
    return pattern.startswith("(?=") or "<|channel|>" in f"{pattern} {field.get('open')}".replace("\\", "")
