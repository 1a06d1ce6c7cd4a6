"""Request parsing: waitress's parser, made strict where servers could interpret a request differently."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import BadRequest, RequestEntityTooLarge

from mlxk_core.api.server import ApiError
from mlxk_serve.http.byte_budget import Share
from mlxk_serve.http.dispatcher import PROBES
from mlxk_serve.http.temporary_files import not_stored
from mlxk_serve.observability.repeated import RepeatedMessage

CheckAccess = Callable[[str, str, Mapping[str, str]], None]
"""Checks a request by method, path and headers before its body is read. Raises `ApiError`."""

_ONCE_ONLY = (b"host", b"content-length", b"transfer-encoding", b"authorization", b"x-api-key", b"origin")
_MALFORMED = ApiError(400, "Malformed HTTP request.", code="bad_request")
_MOST_FIELDS = 256
_TOO_MANY_FIELDS = ApiError(431, f"The request has more than {_MOST_FIELDS} header lines.", code="headers_too_large")
_CANNOT_STORE = ApiError(
    503, "The body cannot be stored: the server has no space.", code="body_not_stored", headers={"retry-after": "5"}
)
_TOO_MANY_BODIES = ApiError(
    503, "The server is receiving too many large bodies.", code="too_many_bodies", headers={"retry-after": "5"}
)
_REQUEST_LINE = re.compile(rb"[^ ]+ [^ ]+(?: HTTP/[0-9]\.[0-9])?")
_NOT_STORED = RepeatedMessage(logging.ERROR)
_CHUNKS_AT_ONCE = 1 << 10
_CHUNK_OVERHEAD = 16 << 10
"""Bytes of chunk sizes and extensions that are always accepted: more than the body itself only costs parsing. And of a
trailer at most."""


class Parser(HTTPRequestParser):
    """One request while it is received. Ambiguous and unauthorized requests fail before their body is read."""

    error: Any

    def __init__(
        self, adj: Adjustments, check_access: CheckAccess, unparsed: list[bytes], share: Share, free_body: int
    ) -> None:
        super().__init__(adj)
        self.began = time.monotonic()
        self._check_access = check_access
        self._unparsed = unparsed
        self._share = share
        self._free_body = free_body

    def received(self, data: bytes) -> int:
        """Parse `data` and return how much of it: after the end of the request all, since waitress would parse the
        next one at once. It is kept in `unparsed`."""
        # waitress copies the rest after each chunk: thousands of small ones would take time by their square.
        consumed = self._parse(data[:_CHUNKS_AT_ONCE] if self.chunked else data)
        if not self.completed or consumed == len(data):
            return consumed
        self._unparsed.append(data[consumed:])
        return len(data)

    def _parse(self, data: bytes) -> int:
        try:
            consumed: int = super().received(data)
        except OSError as error:  # waitress keeps large bodies in temporary files
            _NOT_STORED.log(not_stored("a request body", error))
            self.error = BadRequest(_CANNOT_STORE)
            self.completed = True
            return len(data)
        except ValueError:  # an address or a number that Python does not read
            self.error = BadRequest(_MALFORMED)
            self.completed = True
            return len(data)
        if self.chunked and self.error is None and self.body_rcv is not None:
            body = len(self.body_rcv)
            # waitress searches what it has of a chunk's size, or of the trailer, again with each read.
            line = max(len(self.body_rcv.control_line), len(self.body_rcv.trailer))
            if line > _CHUNK_OVERHEAD or self.body_bytes_received - body > _CHUNK_OVERHEAD + body:
                problem = "The chunks of the body are too small, or the trailer is too long."
                self.error = BadRequest(ApiError(400, problem, code="bad_request"))
                self.completed = True
            elif body + getattr(self.body_rcv, "chunk_remainder", 0) >= self.adj.max_request_body_size:
                self.error = RequestEntityTooLarge("a chunk")  # announced: no need to wait for it
                self.completed = True
        if self.error is None and not self._share.grow_to(self._length - self._free_body):
            self.error = BadRequest(_TOO_MANY_BODIES)
            self.completed = True
            self.close()
        if self.error or self.completed:
            self.expect_continue = False  # waitress would still ask for a body, and take the next request for it
        return consumed

    @property
    def _length(self) -> int:
        """Bytes of the body that were received."""
        return 0 if self.body_rcv is None else len(self.body_rcv)

    @property
    def probing(self) -> bool:
        """Whether this is a probe as supervisors send it."""
        return self.path in PROBES and self.command in ("GET", "HEAD") and not self._length

    @property
    def sparse(self) -> bool:
        """Whether a header comes in, or a body of which most bytes are those of chunk sizes."""
        return not self.headers_finished or (bool(self.chunked) and self.body_bytes_received > 2 * self._length)

    def close(self) -> None:
        with suppress(OSError):  # bytes that did not fit on the disk are written once more
            super().close()
        self._share.release()

    def parse_header(self, header_plus: bytes) -> None:
        if header_plus.count(b"\n") > _MOST_FIELDS:  # thousands would take 10 ms
            raise ParsingError(_TOO_MANY_FIELDS)
        super().parse_header(_quick_to_parse(header_plus))
        if self.header_bytes_received >= self.adj.max_request_header_size:
            return  # waitress parses a made-up request line to answer 431
        try:
            self._check_unambiguous(header_plus)
            self._check_access(self.command, self.path, self.headers)
        except ApiError as error:
            raise ParsingError(error) from None

    def _check_unambiguous(self, header_plus: bytes) -> None:
        """waitress 3.0.2 accepts these (its issues #464, #465, #484, #488), and a proxy may read them differently."""
        if self.version not in ("1.0", "1.1"):
            raise ApiError(400, "Unsupported HTTP version. Use HTTP/1.0 or HTTP/1.1.", code="bad_request")
        lines = header_plus.split(b"\r\n")[1:]
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        count = Counter(name for name, _ in fields)
        for name in _ONCE_ONLY:
            if count[name] > 1:
                raise ApiError(400, f"Duplicate header: {name.decode()}.", code="bad_request")
        if count[b"transfer-encoding"]:
            encoding = dict(fields)[b"transfer-encoding"]
            if count[b"content-length"] or self.version == "1.0" or encoding.lower() != b"chunked":
                raise ApiError(400, "The length of the body is ambiguous.", code="bad_request")


def _quick_to_parse(header_plus: bytes) -> bytes:
    """Return it without white space around values. Raises `ParsingError` for a bad request line or a folded header.

    On these, waitress' regular expressions take time quadratic in the length of a line: minutes for 50 kB.
    """
    first, *lines = header_plus.split(b"\r\n")
    if not _REQUEST_LINE.fullmatch(first.rstrip()):
        raise ParsingError(_MALFORMED)
    if any(line[:1] in (b" ", b"\t") for line in lines):
        raise ParsingError(ApiError(400, "A header is folded over several lines.", code="bad_request"))
    fields = (line.partition(b":") for line in lines)
    return b"\r\n".join([first, *(name + colon + value.strip(b" \t") for name, colon, value in fields)])
