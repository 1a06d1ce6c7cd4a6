"""The names that one request and its answer go by."""

from __future__ import annotations

import re
import secrets

_SANE = re.compile(r"[\x21-\x7e]{1,128}")


def request_id(offered: str | None) -> str:
    """The client's own id if it is fit for a header and a log, else a new one."""
    return offered if offered and _SANE.fullmatch(offered) else f"req_{secrets.token_hex(12)}"


def answer_id(prefix: str) -> str:
    """A new id for an answer: `chatcmpl-…`."""
    return f"{prefix}-{secrets.token_hex(12)}"
