"""The entries of a folder, however many it has."""

from __future__ import annotations

import os
from itertools import islice

_MOST_HIDDEN = 1000


def folder_entries(folder: str, most: int) -> list[os.DirEntry[str]]:
    """Return the first `most` entries of `folder` that are not hidden, in no order.

    A folder of hidden files is not read to its end either. Raises `OSError` if it cannot be read.
    """
    with os.scandir(folder) as entries:
        read = islice(entries, max(0, most) + _MOST_HIDDEN)
        return list(islice((entry for entry in read if not entry.name.startswith(".")), max(0, most)))
