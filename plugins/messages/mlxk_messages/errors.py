"""Errors as Anthropic writes them."""

from __future__ import annotations

import msgspec

from mlxk_core.api.server import ErrorInfo


class ErrorDetail(msgspec.Struct):
    """What failed: Anthropic's type and a message."""

    type: str
    message: str


class ErrorObject(msgspec.Struct, tag_field="type", tag="error"):
    """The body of every error."""

    error: ErrorDetail


_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def error_type(status: int) -> str:
    """Return Anthropic's type of an error with this HTTP status."""
    return _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")


def encode_error(error: ErrorInfo) -> bytes:
    """Return Anthropic's error object, one line."""
    return msgspec.json.encode(ErrorObject(ErrorDetail(error_type(error.status), error.message)))
