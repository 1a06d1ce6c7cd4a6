"""The alphabet in which byte-level BPE vocabularies spell bytes (GPT-2, `encoder.py`)."""

from __future__ import annotations

from collections.abc import Mapping


def _letters() -> dict[int, str]:
    """Return the letter of each byte: itself where it is visible in Latin-1, else one from U+0100 on."""
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = iter(range(256, 512))
    return {byte: chr(byte if byte in visible else next(hidden)) for byte in range(256)}


LETTER_OF_BYTE: Mapping[int, str] = _letters()
BYTE_OF_LETTER: Mapping[str, int] = {letter: byte for byte, letter in LETTER_OF_BYTE.items()}
