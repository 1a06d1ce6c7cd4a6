"""What a model's files tell of the form of its answers beyond its reasoning; light, for the plugin's descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlxk_core.api.formats import Evidence, Strength

if TYPE_CHECKING:
    from mlxk_core.api.models import Model


def tool_calls(model: Model) -> Evidence | None:
    """Whether `model` may call tools. Which format it writes is seen when an answer begins, with mlx-lm at hand.

    That makes it a hint: a plugin that knows the markers of the model's own format comes first.
    """
    named = model.tokenizer_config.get("tool_parser_type")
    if isinstance(named, str):
        return Evidence(Strength.DECLARED, f"tokenizer_config.json names the tool format {named}")
    if "tool" in model.template_text:
        return Evidence(Strength.NAME, "the chat template knows tools")
    if any("tool_call" in token or token == "<|sep|>" for token in model.added_tokens):
        return Evidence(Strength.NAME, "the vocabulary has markers of tool calls")
    return None


def response_template(model: Model) -> Mapping[str, Any] | None:
    """The `response_template` of transformers that the model carries; None too for one of another version."""
    template = model.tokenizer_config.get("response_template")
    if not isinstance(template, Mapping) or template.get("version", 1) != 1:
        return None
    fields = template.get("fields")
    return template if isinstance(fields, Mapping) and fields else None


def responses(model: Model) -> Evidence | None:
    """Whether `model` carries a `response_template`. One that is made for whole, well-formed answers is a last resort:
    whatever else knows the model's format reads a stream of them better."""
    template = response_template(model)
    if template is None:
        return None
    whole = any(_needs_the_whole(field) for field in template["fields"].values() if isinstance(field, Mapping))
    return Evidence(Strength.NAME if whole else Strength.DECLARED, "tokenizer_config.json has a response_template")


def _needs_the_whole(field: Mapping[str, Any]) -> bool:
    """Whether a field begins by a look at what follows (TRL's for Nemotron 3: reasoning is none before its end), or
    by a header of harmony as it should be (TRL's for gpt-oss: recipients and constraints move in there)."""
    pattern = str(field.get("open_pattern", ""))
    return pattern.startswith("(?=") or "<|channel|>" in f"{pattern} {field.get('open')}".replace("\\", "")
