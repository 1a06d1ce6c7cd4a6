"""The Falcon application: routes, and the request records and headers around them. No sockets here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import falcon

from mlxk_core.api.server import ApiError
from mlxk_protocol.fields import ignored_fields
from mlxk_serve.error_handler import ErrorHandler, discard_response
from mlxk_serve.http.access_control import AccessControl
from mlxk_serve.http.body_limits import checked_size
from mlxk_serve.http.errors import ErrorEncoders
from mlxk_serve.http.extension_service import begin_request, end_request
from mlxk_serve.http.heap_trimmer import LARGE, HeapTrimmer
from mlxk_serve.http.ids import id_headers, request_id
from mlxk_serve.http.responder import RESPONSE
from mlxk_serve.observability.request_log import RequestMetrics, RequestRecord


class App(falcon.App):
    """Falcon, which would leave a response open that cannot begin. `paths` are the URI templates of the routes."""

    def __init__(self, *, middleware: list[object]) -> None:
        super().__init__(middleware=middleware)
        self.paths: list[str] = []

    def add_route(self, uri_template: str, resource: object, **kwargs: Any) -> None:
        super().add_route(uri_template, resource, **kwargs)
        self.paths.append(uri_template)

    def __call__(self, env: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            return super().__call__(env, start_response)
        except BaseException:  # a header from a plugin that WSGI does not allow, for example
            discard_response(env)
            raise


def build_app(
    routes: Mapping[str, object], *, metrics: RequestMetrics, access: AccessControl, errors: ErrorEncoders
) -> falcon.App:
    """Return the application that serves `routes`. HEAD is answered wherever GET is."""
    app = App(middleware=[RequestMiddleware(metrics, access)])
    app.req_options.strip_url_path_trailing_slash = True
    for path, resource in routes.items():
        add_route(app, path, resource)
    on_error = ErrorHandler(errors, app.paths)
    app.add_error_handler(Exception, on_error)
    app.add_error_handler(falcon.HTTPError, on_error)
    return app


def add_route(app: falcon.App, path: str, resource: object) -> None:
    """Serve `path` by a resource, and HEAD like GET."""
    if hasattr(resource, "on_get") and not hasattr(resource, "on_head"):
        resource.on_head = resource.on_get  # type: ignore[attr-defined]
    app.add_route(path, resource)


class RequestMiddleware:
    """Around every request: its id, its record, and the headers that let an allowed origin read the response."""

    def __init__(self, metrics: RequestMetrics, access: AccessControl) -> None:
        self._metrics = metrics
        self._access = access
        self._trimmer = HeapTrimmer()

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        id = request_id(req.get_header("x-request-id"))
        begin_request(req)
        ignored_fields.set(())
        req.context.record = RequestRecord(self._metrics, id, req.method, req.path)
        resp.set_headers(id_headers(id))
        origin = req.get_header("origin")
        preflight = req.method == "OPTIONS" and req.get_header("access-control-request-method")
        headers = (
            self._access.preflight(origin, req.get_header("access-control-request-headers"))
            if preflight
            else self._access.cors(origin)
        )
        for name, value in headers.items():
            resp.set_header(name, value)
        if (req.content_length or 0) > LARGE:
            req.context.record.on_close = self._trimmer.soon
        _check_encoding(req)
        req.context.body_size = checked_size(req.stream, req.content_length)

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        end_request()
        if ignored := ignored_fields.get():
            resp.set_header("x-ignored-fields", ", ".join(map(_header_safe, ignored)))
        record: RequestRecord = req.context.record
        record.route = req.uri_template or "unknown"
        if req.method == "HEAD" and resp.stream is not None:  # WSGI servers do not read it, so it would stay open
            resp.stream = None
        if resp.stream is None or resp.stream is not req.env.get(RESPONSE):
            discard_response(req.env)  # an extension has replaced it
            record.status = resp.status_code
            record.close()


def _check_encoding(req: falcon.Request) -> None:
    encoding = (req.get_header("content-encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise ApiError(
            415,
            f"Unsupported content-encoding: {encoding}. Send the body uncompressed.",
            code="unsupported_media_type",
            headers={"accept-encoding": "identity"},
        )


def _header_safe(name: str) -> str:
    return re.sub(r"[^!-~]", "?", name[:64])
