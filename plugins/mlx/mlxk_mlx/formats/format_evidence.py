"""Evidence for tool-call formats and response templates in a model's files, without importing mlx-lm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlxk_core.api.formats import Evidence, Strength
from mlxk_mlx.formats.format_names import tool_format_name

if TYPE_CHECKING:
    from mlxk_core.api.models import Model

_MOST_VALUES = 512
_MOST_CHARACTERS = 1 << 15
_MOST_PLACEHOLDERS = 32
"""Of a response template, which has a few dozen values. Its parser is built for each response, in a time that is
quadratic in the number of literals; each place in its transforms repeats what the model said."""


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
    values, characters, _ = _size(template, _MOST_VALUES)
    fields = [field for field in template["fields"].values() if isinstance(field, Mapping)]
    placeholders = sum(_size(field.get("transform"), _MOST_VALUES)[2] for field in fields)
    return values <= _MOST_VALUES and characters <= _MOST_CHARACTERS and placeholders <= _MOST_PLACEHOLDERS


def _size(part: Any, most: int) -> tuple[int, int, int]:
    """Return the numbers of values, of characters and of opening braces in `part`; ends after `most` values."""
    values = characters = braces = 0
    waiting = [part]
    while waiting and values <= most:
        value = waiting.pop()
        values += 1
        if isinstance(value, Mapping):
            characters += sum(map(len, value))
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            characters += len(value)
            braces += value.count("{")
    return values, characters, braces


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
