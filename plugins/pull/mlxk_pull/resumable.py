"""Resumable download of one file over HTTP.

huggingface_hub starts every file at its first byte: it writes to a randomly named file and deletes it on failure. Here
the partial file is named after the content's digest, and a Range request continues it, also in another process.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import httpx2
from huggingface_hub import constants, hf_hub_url
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from mlxk_core.api.errors import HubUnavailable
from mlxk_hub.bounded_body import read_bounded

_CHUNK = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE = 206, 416


class WrongContent(HubUnavailable):
    """The downloaded bytes are not those that the hub listed. The partial file is gone; another attempt starts over."""


def download(
    repository: str,
    commit: str,
    name: str,
    *,
    size: int,
    sha256: str,
    partial: Path,
    on_bytes: Callable[[int], None],
) -> None:
    """Complete `partial`, the file `name` of `size` bytes. `on_bytes(n)` reports that n bytes are on the disk.

    Bytes are written at their own offsets, so that two processes writing the same file do no harm. Raises
    `WrongContent` and the errors of huggingface_hub and httpx2; `partial` keeps the bytes received so far.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("r+b" if partial.exists() else "w+b") as file:
        digest = hashlib.sha256()
        start = _hash_existing(file, digest.update)
        if start > size:
            _start_over(file)
            digest, start = hashlib.sha256(), 0
        on_bytes(start)
        if start < size:
            url = hf_hub_url(repository, name, revision=commit, endpoint=constants.ENDPOINT)
            headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
            if start:
                headers["Range"] = f"bytes={start}-"
            with get_session().stream(
                "GET", url, headers=headers, timeout=float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
            ) as response:
                if response.status_code == _RANGE_NOT_SATISFIABLE:
                    _start_over(file)
                    raise WrongContent(f"The hub has fewer than {start:,} bytes of {name}.", reason="wrong_length")
                hf_raise_for_status(read_bounded(response, 0) if response.is_error else response)
                if start and not _continues(response, start):  # the server ignores ranges
                    _start_over(file)
                    digest, start = hashlib.sha256(), 0
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    digest.update(chunk)
                    start += len(chunk)
                    on_bytes(min(start, size))
                    if start > size:  # a body that never ends must not fill the disk
                        break
        if start != size:
            if start > size:
                _start_over(file)
            raise WrongContent(f"The hub sent {start:,} bytes of {name} instead of {size:,}.", reason="wrong_length")
        if digest.hexdigest() != sha256:
            _start_over(file)
            raise WrongContent(
                f"The hub sent {name} with a content that differs from its checksum.", reason="wrong_content"
            )


def _hash_existing(file: BinaryIO, update: Callable[[bytes], None]) -> int:
    """Feed the existing bytes to `update` and return their number; the file's position is then its end."""
    length = 0
    while chunk := file.read(_CHUNK):
        update(chunk)
        length += len(chunk)
    return length


def _continues(response: httpx2.Response, start: int) -> bool:
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    return response.status_code == _PARTIAL_CONTENT and match is not None and int(match[1]) == start


def _start_over(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()
