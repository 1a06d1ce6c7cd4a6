"""Tokenizers of tiny models: a token per byte, or a token per step of a script."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

Says = str | Sequence[str | bytes]


def _byte_letters() -> list[str]:
    """Return the letter that byte-level tokenizers write for each byte: itself if visible, else one from 256 on."""
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = iter(range(256, 512))
    return [chr(byte if byte in visible else next(hidden)) for byte in range(256)]


_LETTERS = _byte_letters()


def byte_tokenizer(added: Iterable[str]) -> tuple[Tokenizer, dict[str, int]]:
    model = models.BPE(vocab={letter: byte for byte, letter in enumerate(_LETTERS)}, merges=[])
    return _finish_tokenizer(Tokenizer(model), added)


def script_tokenizer(
    script: Sequence[str | bytes], added: Iterable[str], *, trained: bool = False
) -> tuple[Tokenizer, dict[str, int], list[int]]:
    """Return a tokenizer with a separate token for each step of the script, its added tokens, and the script's tokens.

    Unigram is the only kind whose vocabulary may contain a text twice. Its words cost more than bytes, so that prompts
    are cut into bytes. Of several tokens with an added token's text, the last one in the vocabulary is the added token:
    that must be the first step, the one a prompt may end with. With `trained` they cost less.
    """
    if trained and len(set(script)) < len(script):
        raise ValueError("the pieces of a script for a trained tokenizer must differ")
    texts = [piece.encode() if isinstance(piece, str) else piece for piece in script]
    order = list(reversed(range(len(texts))))
    cost = -0.5 if trained else -1e6
    vocab = [("".join(_LETTERS[byte] for byte in texts[step]), cost) for step in order]
    vocab += [(letter, -1.0) for letter in _LETTERS]
    tokenizer, ids = _finish_tokenizer(Tokenizer(models.Unigram(vocab, None, False)), added)
    return tokenizer, ids, [order.index(step) for step in range(len(texts))]


def _finish_tokenizer(tokenizer: Tokenizer, added: Iterable[str]) -> tuple[Tokenizer, dict[str, int]]:
    names = list(dict.fromkeys(added))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    return tokenizer, {name: token_id(tokenizer, name) for name in names}


def token_id(tokenizer: Tokenizer, text: str) -> int:
    found = tokenizer.token_to_id(text)
    assert found is not None, text
    return int(found)


def script_pieces(says: Says, markers: Iterable[str]) -> list[str | bytes]:
    if not isinstance(says, str):
        return list(says)
    pieces: list[str | bytes] = []
    marker = "|".join(re.escape(marker) for marker in sorted(set(markers), key=len, reverse=True))
    for part in re.split(f"({marker})", says):
        if part and re.fullmatch(marker, part):
            pieces.append(part)
        else:
            for word in re.findall(r" ?\w+|\s+(?=\s)|\s|[^\w\s]", part):
                data = word.encode()
                pieces += [word] if word.isascii() else [data[: len(data) // 2], data[len(data) // 2 :]]
    return pieces


def take_end(script: list[str | bytes], eos: Sequence[str]) -> str:
    end = script.pop() if script and script[-1] in eos else eos[0]
    if end in script or not isinstance(end, str):
        raise ValueError(f"the script continues after {end!r}, which ends it")
    return end
