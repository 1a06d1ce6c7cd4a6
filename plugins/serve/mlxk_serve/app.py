"""The Falcon application: routes, request records, CORS headers and error responses. No sockets here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import falcon
import msgspec

from mlxk_core.api.server import ApiError, ErrorEncoder, Operation
from mlxk_protocol.fields import ignored_fields
from mlxk_serve.http.access_control import AccessControl
from mlxk_serve.http.body_limits import check_weight
from mlxk_serve.http.errors import ErrorEncoders, error_body
from mlxk_serve.http.heap_trimmer import LARGE, HeapTrimmer
from mlxk_serve.http.ids import id_headers, request_id
from mlxk_serve.http.request_service import begin_request, end_request
from mlxk_serve.http.responder import RESPONSE
from mlxk_serve.http.urls import meant_url, url_hint
from mlxk_serve.observability.request_log import RequestMetrics, RequestRecord
from mlxk_serve.openai.openapi import document


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
            _discard(env)
            raise


def _discard(env: Mapping[str, Any]) -> None:
    response = env.get(RESPONSE)
    if response is not None:
        response.discard()


def build_app(
    routes: Mapping[str, object], *, metrics: RequestMetrics, access: AccessControl, errors: ErrorEncoders
) -> falcon.App:
    """Return the application that serves `routes`. HEAD is answered wherever GET is."""
    app = App(middleware=[RequestMiddleware(metrics, access)])
    app.req_options.strip_url_path_trailing_slash = True
    for path, resource in routes.items():
        add_route(app, path, resource)
    on_error = _ErrorHandler(errors, app.paths)
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
        check_weight(req.stream, req.content_length)

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        end_request()
        if ignored := ignored_fields.get():
            resp.set_header("x-ignored-fields", ", ".join(map(_header_safe, ignored)))
        record: RequestRecord = req.context.record
        record.route = req.uri_template or "unknown"
        if resp.stream is None or resp.stream is not req.env.get(RESPONSE):
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


class OpenApi:
    """`GET /openapi.json`. `described` are the routes of extensions."""

    def __init__(self, described: Mapping[str, Sequence[Operation]]) -> None:
        self._described = described

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = falcon.MEDIA_JSON
        resp.data = msgspec.json.encode(document(self._described))


class _ErrorHandler:
    def __init__(self, encoders: ErrorEncoders, paths: Sequence[str]) -> None:
        self._encoders = encoders
        self._paths = paths

    def __call__(self, req: falcon.Request, resp: falcon.Response, error: Exception, params: object) -> None:
        encode = self._encoders.of(req.path)
        if isinstance(error, falcon.HTTPRouteNotFound):
            meant = meant_url(req.path, [path for path in self._paths if "{" not in path])
            encode = self._encoders.of(meant) if meant else self._encoder_beside(req.path)
            error = ApiError(404, f"Unknown URL: {req.path}.{url_hint(req.path, meant)}", code="unknown_url")
        seen = req.context.record.fail(_http_error(req, error) if isinstance(error, falcon.HTTPError) else error)
        if resp.stream is not None:  # middleware of a plugin failed after a response was opened
            resp.stream = None
            _discard(req.env)
        resp.status = seen.status
        for name, value in seen.headers.items():
            resp.set_header(name, value)
        resp.content_type = falcon.MEDIA_JSON
        resp.data = encode(seen.info)

    def _encoder_beside(self, path: str) -> ErrorEncoder:
        """Return the encoder of the route above an unknown `path`, else of its neighbours if none uses OpenAI's."""
        above = [known for known in self._paths if known != "/" and path.startswith(f"{known}/")]
        if above:
            return self._encoders.of(max(above, key=len))
        first = path.strip("/").partition("/")[0]  # `OPTIONS *` has a path without a slash
        beside = [self._encoders.of(known) for known in self._paths if known.strip("/").partition("/")[0] == first]
        return beside[0] if beside and error_body not in beside else error_body


def _http_error(req: falcon.Request, error: falcon.HTTPError) -> ApiError:
    headers = dict(error.headers or {})
    if error.status_code == 405:
        allowed = [method for method in headers.get("Allow", "").split(", ") if method not in ("HEAD", "OPTIONS", "")]
        use = f" Use {' or '.join(allowed)}." if allowed else ""
        return ApiError(
            405, f"{req.path} does not support {req.method}.{use}", code="method_not_allowed", headers=headers
        )
    if req.method not in falcon.COMBINED_METHODS:
        return ApiError(400, f"Unknown HTTP method: {req.method}.", code="bad_request")
    return ApiError(error.status_code, error.description or error.title or "The request failed.", headers=headers)
