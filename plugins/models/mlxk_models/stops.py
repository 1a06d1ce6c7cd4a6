"""The stop tokens of a model as its files and the plugins name them, without a tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mlxk_core.api import Model, StopPolicy
from mlxk_core.api.errors import BrokenModel

_GGUF_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")


class StopToken(NamedTuple):
    """A token that ends an answer; `text` is None when the files name only its number."""

    id: int | None
    text: str | None


def stop_tokens(model: Model, policy: StopPolicy) -> tuple[StopToken, ...]:
    """(What the files name and what the policies add) without what the policies keep.

    An engine finds one more where a chat template ends the assistant's turn with a token the files do not name.
    """
    try:
        texts = {token.id: token.text for token in model.added_tokens.values()}
        native = list(_native_ids(model))
        named = _eos_text(model)
    except BrokenModel:
        return ()
    ids = {text: number for number, text in texts.items()}
    found = [StopToken(number, texts.get(number)) for number in native]
    found += [StopToken(ids.get(text), text) for text in named]
    found += [StopToken(ids[text], text) for text in sorted(policy.stop_tokens) if text in ids]
    return tuple(token for token in dict.fromkeys(found) if token.text not in policy.keep_tokens)


def _native_ids(model: Model) -> Iterator[int]:
    """The union: a generation config often names fewer than the model's own config."""
    if model.gguf:
        for key in _GGUF_KEYS:
            yield from _numbers(model.gguf.metadata.get(f"tokenizer.ggml.{key}"))
        return
    nested = model.config.get("text_config")
    holders = (model.config, nested if isinstance(nested, Mapping) else {}, model.generation_config)
    for holder in holders:
        yield from _numbers(holder.get("eos_token_id"))


def _eos_text(model: Model) -> Iterable[str]:
    value: Any = model.tokenizer_config.get("eos_token")
    value = value.get("content") if isinstance(value, Mapping) else value
    return [value] if isinstance(value, str) and value else []


def _numbers(value: object) -> Iterator[int]:
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, int) and not isinstance(each, bool):
            yield each
