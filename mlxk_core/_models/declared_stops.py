"""Stop tokens that the files of a model declare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlxk_core._errors import BrokenModel
from mlxk_core._host.specs import StopPolicy

if TYPE_CHECKING:
    from mlxk_core._models.model import AddedToken, Model

_GGUF_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")  # ends of a text, a turn, a message
_LARGEST_ID = 1 << 31


@dataclass(frozen=True, slots=True)
class StopToken:
    """A token that ends an answer. `text` is None if the files give only its id, `id` if they give only its text."""

    id: int | None
    text: str | None


def native_stop_tokens(model: Model) -> tuple[StopToken, ...]:
    """Return the stop tokens of all files of `model`: no file has all of them, and 0 is an id like others.

    Raises `BrokenModel` for a damaged file.
    """
    texts = {token.id: token.text for token in model.added_tokens.values()}
    ids = {text: number for number, text in texts.items()}
    found = [StopToken(number, texts.get(number)) for number in _ids(model)]
    eos = model.tokenizer_config.get("eos_token")
    text = eos.get("content") if isinstance(eos, Mapping) else eos
    if isinstance(text, str) and text:
        found.append(StopToken(ids.get(text), text))
    return tuple(dict.fromkeys(found))


def listed_stop_tokens(model: Model, policy: StopPolicy, terminator: AddedToken | None = None) -> tuple[StopToken, ...]:
    """Return the stop tokens of `model` without loading it: those of its files, the `terminator` of its chat template
    (`mlxk_core.api.generation.turn_terminator`) and those of `policy`, without its keeps."""
    try:
        found = list(native_stop_tokens(model))
        added = model.added_tokens
    except BrokenModel:
        return ()
    if terminator is not None:
        found.append(StopToken(terminator.id, terminator.text))
    found += [StopToken(added[text].id, text) for text in sorted(policy.stop_tokens) if text in added]
    return tuple(token for token in dict.fromkeys(found) if token.text not in policy.keep_tokens)


def _ids(model: Model) -> Iterator[int]:
    if model.gguf:
        values: list[Any] = [model.gguf.metadata.get(f"tokenizer.ggml.{key}") for key in _GGUF_KEYS]
    else:
        nested = model.config.get("text_config")
        holders = (model.config, nested if isinstance(nested, Mapping) else {}, model.generation_config)
        values = [holder.get("eos_token_id") for holder in holders]
    for value in values:
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, int) and not isinstance(each, bool) and 0 <= each < _LARGEST_ID:
                yield each
