"""Incremental detokenizers: linear time, and the same text as decoding all tokens at once."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mlxk_core.api.errors import InvalidOption
from mlxk_mlx.byte_alphabet import BYTE_OF_LETTER

_PIECE = 1 << 14  # tokens that are joined in one call, which holds the interpreter's lock
_LONGEST_JOINED = 16 << 20  # bytes
_MAX_GROWTH = 64
"""A chain of replacements that makes more of a piece is left to the decoder."""
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_LONGEST_WINDOW = 64
"""Tokens that may be undecided: the longest characters have some bytes. All are decoded again for each token."""


class TokenBytes:
    """The bytes of each token, derived from the tokenizer's own decoder.

    `strip` is the number of leading spaces that the decoder removes from a text (one for Llama 2).
    """

    def __init__(self, id_to_token: Callable[[int], str | None], to_bytes: Callable[[str], bytes], strip: int) -> None:
        self._id_to_token = id_to_token
        self._to_bytes = to_bytes
        self._known: dict[int, bytes] = {}
        self.strip = strip

    def __getitem__(self, token: int) -> bytes:
        piece = self._known.get(token)
        if piece is None:
            text = self._id_to_token(token)  # None: padding of the vocabulary
            piece = self._known[token] = b"" if text is None else self._to_bytes(text)
        return piece

    def join(self, tokens: Sequence[int]) -> bytes:
        """Return the bytes of `tokens`, one after the other."""
        for token in set(tokens).difference(self._known):
            self[token]
        pieces = [self._known[token] for token in tokens]
        _check_size(pieces)
        return b"".join(pieces)

    @classmethod
    def of(cls, backend: Any) -> TokenBytes | None:
        """Return the pieces of a `tokenizers.Tokenizer`, None if its decoder looks at more than one token at a time."""
        # Its state alone: `to_str` writes the whole vocabulary, with the interpreter locked.
        decoder = json.loads(backend.decoder.__getstate__()) if backend.decoder is not None else None
        steps = _steps(decoder)
        kinds = [step["type"] for step in steps]
        if kinds == ["ByteLevel"]:
            return cls(backend.id_to_token, _byte_level, 0)
        if kinds == ["Metaspace"] and steps[0].get("replacement"):
            blank, first = steps[0]["replacement"], steps[0].get("prepend_scheme", "always") != "never"
            return cls(backend.id_to_token, lambda text: text.replace(blank, " ").encode(), int(first))
        return cls._of_sentencepiece(backend, steps)

    @classmethod
    def _of_sentencepiece(cls, backend: Any, steps: Sequence[Mapping[str, Any]]) -> TokenBytes | None:
        replacements, strip, bytes_too, growth = [], 0, False, 1.0
        for step in steps:
            match step:
                case {"type": "Replace", "pattern": {"String": str(old)}, "content": str(new)}:
                    replacements.append((old, new))
                    growth *= max(1.0, len(new) / max(1, len(old)))
                case {"type": "ByteFallback"}:
                    bytes_too = True
                case {"type": "Fuse"}:
                    pass
                case {"type": "Strip", "content": " ", "start": int(strip), "stop": 0}:
                    pass
                case _:
                    return None
        if not replacements or growth > _MAX_GROWTH:
            return None

        def to_bytes(text: str) -> bytes:
            if bytes_too and (byte := _BYTE.fullmatch(text)):
                return bytes.fromhex(byte[1])
            for old, new in replacements:
                text = text.replace(old, new)
            return text.encode()

        return cls(backend.id_to_token, to_bytes, strip)


class TokenByteTable:
    """The bytes of each token by its id, as characters up to U+00FF. `strip` as in `TokenBytes`."""

    def __init__(self, texts: Sequence[str], strip: int) -> None:
        self._texts = texts
        self.strip = strip

    def __getitem__(self, token: int) -> bytes:
        return self._texts[token].encode("latin-1") if token < len(self._texts) else b""  # padding of the vocabulary

    def join(self, tokens: Sequence[int]) -> bytes:
        """Return the bytes of `tokens`, one after the other."""
        size = len(self._texts)
        pieces = [self._texts[token] for token in tokens if token < size]
        _check_size(pieces)
        return "".join(pieces).encode("latin-1")


def _check_size(pieces: Iterable[bytes | str]) -> None:
    """Raise `InvalidOption` for tokens whose text is too long to be built: one of a model may have megabytes."""
    if sum(map(len, pieces)) > _LONGEST_JOINED:
        raise InvalidOption("tokens", f"{_PIECE:,} of them have more than {_LONGEST_JOINED >> 20} MiB of text")


def decode_tokens(pieces: TokenBytes | TokenByteTable, tokens: Sequence[int]) -> str:
    """Return the text of `tokens`: that of a `PieceDetokenizer`, at a fraction of the time."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    texts = [decode(pieces.join(tokens[start : start + _PIECE])) for start in range(0, len(tokens), _PIECE)]
    text = "".join([*texts, decode(b"", True)])
    spaces = len(text) - len(text.lstrip(" ")) if pieces.strip else 0
    return text[min(spaces, pieces.strip) :]


class PieceDetokenizer:
    """Detokenizer that joins the bytes of tokens and holds back incomplete characters."""

    def __init__(self, pieces: TokenBytes | TokenByteTable) -> None:
        self._pieces = pieces
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._strip = pieces.strip

    def add(self, token: int, /) -> str:
        return self._strip_start(self._decode(self._pieces[token]))

    def finish(self) -> str:
        return self._strip_start(self._decode(b"", True))

    def _strip_start(self, text: str) -> str:
        while self._strip and text:
            if text[0] != " ":
                self._strip = 0
            else:
                text = text[1:]
                self._strip -= 1
        return text


class WindowDetokenizer:
    """Detokenizer for any other decoder: decodes the last tokens again and returns the new text.

    The window begins where the text before it was complete, so the cost of a token does not grow with the answer.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], *, blocking: bool = False) -> None:
        self._decode = decode
        self.blocking = blocking
        self._window: list[int] = []
        self._done = 0  # this many tokens of the window are in the text already

    def add(self, token: int, /) -> str:
        self._window.append(token)
        text = self._new()
        undecided = len(self._window) - self._done < _LONGEST_WINDOW
        if undecided and (not text or text.endswith(_REPLACEMENT)):
            return ""
        self._window = self._window[self._done :]
        self._done = len(self._window)
        return text

    def finish(self) -> str:
        text = self._new()
        self._window, self._done = [], 0
        return text

    def _new(self) -> str:
        return self._decode(self._window)[len(self._decode(self._window[: self._done])) :]


def _steps(decoder: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if decoder is None:
        return []
    if decoder["type"] == "Sequence":
        return [step for inner in decoder["decoders"] for step in _steps(inner)]
    return [decoder]


def _byte_level(text: str) -> bytes:
    try:
        return bytes([BYTE_OF_LETTER[letter] for letter in text])
    except KeyError:
        return text.encode()  # an added token: the vocabulary has its plain text
