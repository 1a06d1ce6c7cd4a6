"""Bodies of responses in memory, up to a number of bytes: a hub may send any number, compressed or not."""

from __future__ import annotations

import httpx2

_LARGEST_ERROR = 1 << 20
_ENCODING = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


def read_bounded(response: httpx2.Response, most: int) -> httpx2.Response:
    """Return a streamed `response` with its body, which has at most `most` bytes after decompression.

    Raises `ValueError` for a longer one; that of an error response is cut instead, and holds what is UTF-8 in it.
    Raises httpx2's errors.
    """
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if response.is_error:
            if len(body) > _LARGEST_ERROR:
                break
        elif len(body) > most:
            raise ValueError(f"the body is longer than {most:,} bytes")
    if response.is_error:  # may be cut anywhere: huggingface_hub guesses the encoding, and raises for half a character
        body = bytearray(body.decode(errors="replace").replace("\0", "").encode())
    # The body is decoded, so the headers that say how it was sent are left out.
    kept = [(name, value) for name, value in response.headers.raw if name.lower() not in _ENCODING]
    return httpx2.Response(response.status_code, headers=kept, content=bytes(body), request=response.request)
