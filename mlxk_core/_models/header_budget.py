"""What the headers of the files of one model may have together: a folder of small files can declare any number."""

from __future__ import annotations

from mlxk_core._errors import BrokenModel
from mlxk_core._models.safetensors import SafetensorsHeader

_MOST_TENSORS = 300_000
"""Kimi K2 Thinking has 207,360, in 62 files."""
_MOST_BYTES = 64 << 20
"""The headers of 207,360 tensors take 30 MB."""


class HeaderBudget:
    """Counts the headers that were read of one model."""

    def __init__(self) -> None:
        self._tensors = self._bytes = 0

    @property
    def exceeded(self) -> bool:
        return self._tensors > _MOST_TENSORS or self._bytes > _MOST_BYTES

    def add(self, header: SafetensorsHeader) -> None:
        """Count a header. Raises `BrokenModel` if all of them together are too large."""
        self._tensors += len(header.tensors)
        self._bytes += header.size
        self.check()

    def check(self) -> None:
        """Raise `BrokenModel` if the headers that were counted are too large."""
        if self.exceeded:
            raise BrokenModel(
                f"the headers of its files have over {_MOST_TENSORS:,} tensors or {_MOST_BYTES >> 20} MiB together"
            )
