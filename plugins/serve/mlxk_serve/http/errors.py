"""Errors as an OpenAI client reads them: status, headers and the error object."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from mlxk_core.api.errors import (
    AmbiguousModel,
    BrokenModel,
    EngineFailure,
    InvalidOption,
    MlxkError,
    ModelNotFound,
    PluginFailure,
    QueueFull,
    RevisionNotFound,
    UnsupportedModel,
    kind_of,
)
from mlxk_core.api.server import ErrorInfo

# The SDKs give up when they are told to wait longer than two minutes, and a queue moves faster than that.
_LONGEST_RETRY = 30
_SERVER_ERRORS_WORTH_A_RETRY = frozenset({"shutting_down", "hub_unavailable"})
# What these say comes from foreign code, and may hold the text of another request in the same batch.
_FOREIGN = (EngineFailure, PluginFailure)
_OF_THE_MODEL = (ModelNotFound, RevisionNotFound, AmbiguousModel, UnsupportedModel, BrokenModel)
_SEE_LOG = "The {} failed on this request. The server's log says more, under this answer's x-request-id."
_CODES = {"engine_failure": "engine_fault", "invalid_option": None, "usage_error": None}
# An absolute path, but for the `/v1/…` of our own routes: an error tells nobody where the server keeps its files.
_PATH = re.compile(r"(?<![\w.~/])~?/(?!v1/|/)[^\s'\"`,;:)]+")


class ApiError(Exception):
    """An answer that is an error. `param` is the path of the field at fault, as in `messages[0].content`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.type = type or _type_of(status)
        self.headers = dict(headers or {})

    @property
    def info(self) -> ErrorInfo:
        """The same for the error encoder of an extension's route."""
        return ErrorInfo(status=self.status, message=self.message, type=self.type, code=self.code, param=self.param)

    def body(self) -> bytes:
        """The JSON object, one line."""
        return error_body(self.info)


def error_body(error: ErrorInfo) -> bytes:
    """Return OpenAI's error object, one line."""
    fields = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return msgspec.json.encode({"error": fields})


def _type_of(status: int) -> str:
    if status == 401:
        return "authentication_error"
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def invalid(message: str, param: str | None = None) -> ApiError:
    """A field has a value it cannot have."""
    return ApiError(400, message, param=param)


def unsupported(param: str, message: str | None = None) -> ApiError:
    """A field that we know and do not act on: it is refused, never ignored."""
    return ApiError(
        400, message or f"`{param}` is not supported here. Leave it out.", code="unsupported_parameter", param=param
    )


def api_error(error: BaseException) -> ApiError:
    """What a client is told about `error`. Nothing of an error that is not our own is shown: the log has it."""
    if isinstance(error, ApiError):
        return error
    if not isinstance(error, MlxkError):
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
        # A client repeats a 5xx by itself; what failed for this request's own sake would only fail again, dearly.
        headers["x-should-retry"] = "false"
    return ApiError(
        kind.http_status,
        _SEE_LOG.format("engine") if isinstance(error, _FOREIGN) else without_paths(str(error)),
        code=_CODES.get(kind.type, kind.type),
        param=_param(error),
        headers=headers,
    )


def _param(error: MlxkError) -> str | None:
    if isinstance(error, InvalidOption):
        return error.option.removeprefix("--").replace("-", "_")
    return "model" if isinstance(error, _OF_THE_MODEL) else None


def without_paths(text: str) -> str:
    """`text` with every absolute path replaced."""
    return _PATH.sub("(a file)", text)
