"""The size of a tokenizer's files, before a process reads them."""

from __future__ import annotations

from mlxk_core.api.errors import BrokenModel
from mlxk_core.api.models import Model, count_values, open_file, regular_file

_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt", "tekken.json",
)  # fmt: skip
_LARGEST_FILE = 64 << 20  # bytes; the largest published tokenizer.json has 35 MB
_MOST_VALUES = 8_000_000  # those of 260,000 tokens and 520,000 merges are two million
_CHUNK = 1 << 20


def check_size(model: Model) -> None:
    """Raise `BrokenModel` for tokenizer files beyond any real one: reading them would take a process a minute."""
    for name in _FILES:
        try:
            if size_and_values := _too_large(model, name):
                raise BrokenModel(f"{name} of `{model.name}` has a wrong size: {size_and_values}.", model=model.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise BrokenModel(f"{name} of `{model.name}` cannot be read: {error}", model=model.name) from error


def _too_large(model: Model, name: str) -> str | None:
    path = regular_file(model.path / name)
    if (size := path.stat().st_size) > _LARGEST_FILE:
        return f"{size:,} bytes, at most {_LARGEST_FILE:,}"
    if not size:
        return "0 bytes"
    values = 0
    with open_file(path) as file:
        while chunk := file.read(_CHUNK):  # the interpreter is not locked for longer than a chunk takes
            values += count_values(chunk)
    return f"about {values:,} values, at most {_MOST_VALUES:,}" if values > _MOST_VALUES else None
