"""Fill-in-the-middle prompts: the text before and after an answer, between the markers of the model's tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlxk_core._errors import InvalidOption
from mlxk_core._generation.tokenizer import Tokenizer

_BEFORE, _AFTER = "{before}", "{after}"


@dataclass(frozen=True, slots=True)
class _Form:
    """How a family of models writes such a prompt: markers and the two texts, in order. `stops` are tokens with which
    it ends an answer, in addition to its markers and its own stop tokens."""

    parts: tuple[str, ...]
    stops: tuple[str, ...] = ()

    @property
    def markers(self) -> tuple[str, ...]:
        return tuple(part for part in self.parts if part not in (_BEFORE, _AFTER))


_PROBE = "☺"
"""A character that no tokenizer joins with the next one."""
_CODE_FILES = ("<|endoftext|>", "<|fim_pad|>", "<|file_sep|>", "<|file_separator|>", "<|repo_name|>")
_FORMS: Sequence[_Form] = (
    # Qwen2.5-Coder, Qwen3-Coder, CodeGemma, Granite 3.3 and later
    _Form(("<|fim_prefix|>", _BEFORE, "<|fim_suffix|>", _AFTER, "<|fim_middle|>"), _CODE_FILES),
    # DeepSeek-Coder, DeepSeek V2, V3
    _Form(("<｜fim▁begin｜>", _BEFORE, "<｜fim▁hole｜>", _AFTER, "<｜fim▁end｜>")),
    # StarCoder, StarCoder 2, StableCode, Granite Code, Mellum
    _Form(
        ("<fim_prefix>", _BEFORE, "<fim_suffix>", _AFTER, "<fim_middle>"), ("<|endoftext|>", "<file_sep>", "<fim_pad>")
    ),
    # SantaCoder
    _Form(("<fim-prefix>", _BEFORE, "<fim-suffix>", _AFTER, "<fim-middle>"), ("<|endoftext|>", "<fim-pad>")),
    # Seed-Coder
    _Form(("<[fim-suffix]>", _AFTER, "<[fim-prefix]>", _BEFORE, "<[fim-middle]>")),
    # Codestral
    _Form(("[SUFFIX]", _AFTER, "[PREFIX]", _BEFORE)),
    # CodeLlama: https://huggingface.co/codellama/CodeLlama-7b-hf#infilling
    _Form(("▁<PRE>", _BEFORE, "▁<SUF>", _AFTER, "▁<MID>"), ("▁<EOT>",)),
)


@dataclass(frozen=True, slots=True)
class Infill:
    """The tokens of a fill-in-the-middle prompt. `stop_tokens` end the answer in addition to the model's own."""

    tokens: Sequence[int]
    stop_tokens: frozenset[int]


def infill(tokenizer: Tokenizer, before: str, after: str) -> Infill:
    """Return the prompt for what is between two texts. Raises `InvalidOption` if the tokenizer has no markers."""
    for form in _FORMS:
        ids = {text: _special(tokenizer, text) for text in (*form.markers, *form.stops)}
        if any(ids[marker] is None for marker in form.markers):
            continue
        tokens = _added_before(tokenizer)
        for part in form.parts:
            if part == _BEFORE:
                tokens += tokenizer.encode(before, add_special_tokens=False)
            elif part == _AFTER:
                tokens += _encode_continuation(tokenizer, after)
            elif (id := ids[part]) is not None:
                tokens.append(id)
        return Infill(tokens, frozenset(id for id in ids.values() if id is not None))
    raise InvalidOption("suffix", "this model cannot fill in the middle: its tokenizer has no markers for it")


def _special(tokenizer: Tokenizer, text: str) -> int | None:
    """Return the id of the token whose text is `text`; SentencePiece may write it with a space before it."""
    tokens = tokenizer.encode(text, add_special_tokens=False)
    return tokens[-1] if tokens and tokenizer.decode(tokens[-1:]).strip(" ▁") == text.strip("▁") else None


def _added_before(tokenizer: Tokenizer) -> list[int]:
    """Return the tokens that are added before a text: a BOS token, or none."""
    alone = tokenizer.encode(_PROBE, add_special_tokens=False)
    added = tokenizer.encode(_PROBE, add_special_tokens=True)
    return next((added[:i] for i in range(len(added)) if added[i : i + len(alone)] == alone), [])


def _encode_continuation(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the tokens of a text without the space that SentencePiece puts before it."""
    alone = tokenizer.encode(_PROBE, add_special_tokens=False)
    if (tokenizer.piece(alone[0]) or b"").startswith(b" "):
        after_probe = tokenizer.encode(_PROBE + text, add_special_tokens=False)
        if after_probe[: len(alone)] == alone:
            return after_probe[len(alone) :]
    return tokenizer.encode(text, add_special_tokens=False)
