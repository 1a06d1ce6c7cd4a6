"""The Falcon application of a server: its routes, and what every request shares. No sockets here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import falcon
import msgspec

from mlxk_serve.context import Parts
from mlxk_serve.http.errors import ApiError
from mlxk_serve.http.ids import request_id
from mlxk_serve.http.responses import REPLY, Stream
from mlxk_serve.observability.request_log import Access
from mlxk_serve.openai.openapi import document
from mlxk_serve.routes.completions import ChatCompletions, Completions
from mlxk_serve.routes.models import Models, OneModel
from mlxk_serve.routes.status import Health, Live, Metrics, Status


class App(falcon.App):
    """Falcon, which leaves an answer open that it cannot begin."""

    def __call__(self, env: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            return super().__call__(env, start_response)
        except BaseException:  # a plugin's header that WSGI does not allow, say
            _give_up(env)
            raise


def _give_up(env: Mapping[str, Any]) -> None:
    reply = env.get(REPLY)
    if reply is not None:
        reply.close()


def build(parts: Parts) -> tuple[App, dict[str, object]]:
    """The application, and its resources by route."""
    routes: dict[str, object] = {
        "/v1/models": Models(parts),
        "/v1/models/{model:path}": OneModel(parts),
        "/v1/chat/completions": ChatCompletions(parts),
        "/v1/completions": Completions(parts),
        "/v1/status": Status(parts),
        "/health": Health(parts),
        "/livez": Live(),
        "/metrics": Metrics(parts),
        "/openapi.json": OpenApi(),
    }
    app = App(middleware=[Bracket(parts)])
    app.req_options.strip_url_path_trailing_slash = True
    for path, resource in routes.items():
        app.add_route(path, resource)
    app.add_error_handler(Exception, partial(_on_error, parts))
    app.add_error_handler(falcon.HTTPError, partial(_on_error, parts))
    return app, routes


class Bracket:
    """Around every request: its id, its line in the log, and the headers that let a named origin read the answer."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        id = request_id(req.get_header("x-request-id"))
        req.context.access = Access(self._parts.access, id, req.method, req.path)
        resp.set_header("x-request-id", id)
        guard, origin = self._parts.guard, req.get_header("origin")
        preflight = req.method == "OPTIONS" and req.get_header("access-control-request-method")
        headers = (
            guard.preflight(origin, req.get_header("access-control-request-headers"))
            if preflight
            else guard.cors(origin)
        )
        for name, value in headers.items():
            resp.set_header(name, value)

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        access: Access = req.context.access
        access.route = req.uri_template or "unknown"
        if not isinstance(resp.stream, Stream):
            access.status = resp.status_code
            access.close()


class OpenApi:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = falcon.MEDIA_JSON
        resp.data = msgspec.json.encode(document())


def _on_error(parts: Parts, req: falcon.Request, resp: falcon.Response, error: Exception, params: object) -> None:
    told = req.context.access.fail(_http_error(req, error) if isinstance(error, falcon.HTTPError) else error)
    if isinstance(resp.stream, Stream):  # a plugin's middleware failed behind an answer that had begun
        resp.stream = None
        _give_up(req.env)
    resp.status = told.status
    for name, value in told.headers.items():
        resp.set_header(name, value)
    resp.content_type = falcon.MEDIA_JSON
    encode = parts.error_encoders.get(req.uri_template or "")
    resp.data = told.body() if encode is None else encode(told.info)


def _http_error(req: falcon.Request, error: falcon.HTTPError) -> ApiError:
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return ApiError(404, f"There is no `{req.path}` here.", code="unknown_url")
    if error.status_code == 405:
        return ApiError(405, f"`{req.path}` does not take {req.method}.", code="method_not_allowed", headers=headers)
    if req.method not in falcon.COMBINED_METHODS:
        return ApiError(400, f"`{req.method}` is no method that this server knows.", code="bad_request")
    return ApiError(error.status_code, error.title or "The request failed.", headers=headers)
