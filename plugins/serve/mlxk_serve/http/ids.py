"""Ids of requests and responses."""

from __future__ import annotations

import re
import secrets

_SANE = re.compile(r"[\x21-\x7e]{1,128}")


def request_id(offered: str | None) -> str:
    """Return the client's own id if it is safe in a header and a log, else a new one."""
    return offered if offered and _SANE.fullmatch(offered) else f"req_{secrets.token_hex(12)}"


def id_headers(id: str) -> dict[str, str]:
    """Return the headers with a request's id: OpenAI's SDKs read one, Anthropic's the other."""
    return {"x-request-id": id, "request-id": id}


def response_id(prefix: str) -> str:
    """Return a new id for a response: `chatcmpl-…`."""
    return f"{prefix}-{secrets.token_hex(12)}"
