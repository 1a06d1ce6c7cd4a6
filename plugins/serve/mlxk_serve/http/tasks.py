"""waitress tasks: one request run on a worker thread, or handed to another thread that writes its response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from waitress.task import ErrorTask, WSGITask

from mlxk_core.api.errors import type_and_message
from mlxk_core.api.server import ApiError
from mlxk_serve.http.errors import status_line
from mlxk_serve.http.ids import id_headers, request_id

if TYPE_CHECKING:
    from mlxk_serve.http.response_writer import ResponseWriter

ON_DISCONNECT = "mlxk.on_disconnect"
"""Key in the WSGI environ: a function that takes what to call when the client disconnects (None removes it)."""

_INTERNAL = ApiError(500, "The server failed on this request.", code="internal_error")
_PROTOCOL_ERRORS = {
    400: ApiError(400, "Malformed HTTP request.", code="bad_request"),
    413: ApiError(413, "The body is too large.", code="body_too_large"),
    431: ApiError(431, "The headers are too large.", code="headers_too_large"),
    501: ApiError(501, "Unsupported transfer encoding. Use chunked.", code="not_implemented"),
}


class DetachedResponse(Protocol):
    """A response that another thread writes. Its `__iter__` raises `Detached`."""

    def attach(self, writer: ResponseWriter, /) -> None:
        """Begin to write. The worker thread is free after this call."""


class Detached(BaseException):
    """Raised by a response's iterator to free its worker thread. Not an `Exception`: frameworks catch those."""

    def __init__(self, response: DetachedResponse) -> None:
        super().__init__()
        self.response = response
        self.task: Task | None = None


class Task(WSGITask):
    """One request for the application."""

    detached = False

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[ON_DISCONNECT] = self.channel.on_disconnect
        return environ

    def service(self) -> None:
        if self.detached:
            self.finish()
        else:
            super().service()

    def execute(self) -> None:
        self.channel.waits = True
        try:
            super().execute()
        except Exception:
            raise
        except Detached as detached:
            self.detached = True
            detached.task = self
            raise
        except BaseException as error:  # a plugin's `sys.exit()`: waitress would leave the client without a response
            raise RuntimeError(type_and_message(error)) from error
        finally:
            self.channel.waits = False

    def set_close_on_finish(self) -> None:
        if self.chunked_response and not self.wrote_header:
            return  # waitress closes after every chunked response, but the last chunk marks its end as well
        super().set_close_on_finish()


class JsonErrorTask(ErrorTask):
    """The response to a request that never reached the application, as the JSON object of all other errors."""

    def execute(self) -> None:
        error = self.request.error.body
        if not isinstance(error, ApiError):
            error = _PROTOCOL_ERRORS.get(self.request.error.code, _INTERNAL)
        self.status = status_line(error.status)
        path = getattr(self.request, "path", "-")  # a malformed request has none
        server = self.channel.server
        body, id = server.errors.of(path)(error.info), request_id(self.request.headers.get("X_REQUEST_ID"))
        headers = {"content-type": "application/json", **id_headers(id), **error.headers}
        self.response_headers.extend(headers.items())
        self.set_close_on_finish()
        self.content_length = len(body)
        method = getattr(self.request, "command", "-")
        server.on_rejected(id, method, path, error)
        self.write(b"" if method == "HEAD" else body)
