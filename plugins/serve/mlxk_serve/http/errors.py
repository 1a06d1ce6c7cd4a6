"""Errors of responses: every exception as status, headers and error object, in the words of the route's protocol."""

from __future__ import annotations

import re

import msgspec

from mlxk_core.api.errors import (
    AmbiguousModel,
    BrokenModel,
    EngineFailure,
    InvalidConstraint,
    InvalidOption,
    MlxkError,
    ModelNotFound,
    PluginFailure,
    QueueFull,
    RevisionNotFound,
    UnsupportedModel,
    kind_of,
    system_limit,
    text_of,
)
from mlxk_core.api.server import ApiError, ErrorEncoder, ErrorInfo
from mlxk_core.api.text import shorten_middle, without_paths

_FIELD = re.compile(r"\{[^}]*\}")
# The SDKs give up when they are to wait longer than two minutes, and a queue moves faster than that.
_LONGEST_RETRY = 30
_LONGEST_MESSAGE = 2000
"""Characters: a message quotes the value at fault, which may be megabytes."""
_SERVER_ERRORS_WORTH_A_RETRY = frozenset({"shutting_down", "hub_unavailable", "process_not_started", "system_limit"})
# Their messages come from other code, and may contain the text of another request in the same batch.
CONCEALED = (EngineFailure, PluginFailure)
_OF_THE_MODEL = (ModelNotFound, RevisionNotFound, AmbiguousModel, UnsupportedModel, BrokenModel)
_SEE_LOG = "The {} failed on this request. See the server's log under the x-request-id of this response."
_CODES = {"engine_failure": "engine_fault", "invalid_option": None, "usage_error": None}


class Error(msgspec.Struct):
    """An error response. `param` is the path of the invalid request field."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(msgspec.Struct):
    """OpenAI's error object."""

    error: Error


def error_body(error: ErrorInfo) -> bytes:
    """Return OpenAI's error object, one line."""
    return msgspec.json.encode(
        ErrorResponse(Error(message=error.message, type=error.type, param=error.param, code=error.code))
    )


class ErrorEncoders:
    """Error encoders by request path. Routes without an encoder of their own use OpenAI's."""

    def __init__(self) -> None:
        self._encoders: list[tuple[re.Pattern[str], ErrorEncoder]] = []

    def add(self, template: str, encoder: ErrorEncoder) -> None:
        """Use `encoder` for the paths of a URI template."""
        self._encoders.append((template_pattern(template), encoder))

    def of(self, path: str) -> ErrorEncoder:
        """Return the encoder for `path`."""
        return next((encoder for pattern, encoder in self._encoders if pattern.fullmatch(path)), error_body)


def template_pattern(template: str) -> re.Pattern[str]:
    """Return a pattern that fully matches the paths of a Falcon URI template."""
    literal = [re.escape(part) for part in _FIELD.split(template.rstrip("/"))]
    kinds = [".+" if ":path" in field else "[^/]+" for field in _FIELD.findall(template)]
    return re.compile("".join(a + b for a, b in zip(literal, [*kinds, ""], strict=True)) + "/?")


def status_line(status: int) -> str:
    """Return the status with its reason, as HTTP/1.1 writes it."""
    from falcon.util import code_to_http_status

    return code_to_http_status(status)


def invalid(message: str, param: str | None = None) -> ApiError:
    """Return the error for a field whose value is invalid."""
    return ApiError(400, message, param=param)


def unsupported(param: str, message: str | None = None) -> ApiError:
    """Return the error for a field that is known but not implemented: it is never ignored."""
    return ApiError(400, message or f"`{param}` is not supported. Omit it.", code="unsupported_parameter", param=param)


def api_error(error: BaseException) -> ApiError:
    """Return what a client sees of `error`. Unexpected errors are concealed: the log has them."""
    if isinstance(error, ApiError):
        error.message = _shortened(error.message)
        error.param = error.param and _shortened(error.param)
        return error
    if not isinstance(error, MlxkError):
        if (limit := system_limit(error)) is not None:
            return api_error(limit)
        return ApiError(
            500,
            _SEE_LOG.format("server"),
            code="internal_error",
            headers={"x-should-retry": "false"},
        )
    kind = kind_of(error)
    headers = {}
    if isinstance(error, QueueFull):
        headers["retry-after"] = str(min(max(1, int(error.retry_after)), _LONGEST_RETRY))
    elif kind.http_status >= 500 and kind.type not in _SERVER_ERRORS_WORTH_A_RETRY:
        # A client repeats a 5xx by itself; what failed because of this request would fail again, at a high price.
        headers["x-should-retry"] = "false"
    return ApiError(
        kind.http_status,
        _SEE_LOG.format(_part_at_fault(error))
        if isinstance(error, CONCEALED)
        else _shortened(_text_for_clients(error)),
        code=_CODES.get(kind.type, kind.type),
        param=_shortened(_param(error) or "") or None,
        headers=headers,
    )


def _text_for_clients(error: MlxkError) -> str:
    text = text_of(error)
    # What is said of a constraint quotes the client's own pattern, and never a file.
    return text if isinstance(error, InvalidConstraint) else without_paths(text)


def _shortened(text: str) -> str:
    return shorten_middle(text, _LONGEST_MESSAGE)


def _part_at_fault(error: MlxkError) -> str:
    return "plugin" if isinstance(error, PluginFailure) else "engine"


def _param(error: MlxkError) -> str | None:
    if isinstance(error, InvalidOption):
        return error.option.removeprefix("--").replace("-", "_")
    return "model" if isinstance(error, _OF_THE_MODEL) else None
