"""Error responses of the application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import falcon

from mlxk_core.api.server import ApiError, ErrorEncoder
from mlxk_serve.http.errors import ErrorEncoders, error_body
from mlxk_serve.http.responder import RESPONSE
from mlxk_serve.http.url_hints import meant_url, url_hint


class ErrorHandler:
    """Responds to errors in the form of the API whose route was requested. `paths` are the URI templates of routes."""

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
            discard_response(req.env)
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


def discard_response(env: Mapping[str, Any]) -> None:
    """Free what a response holds that was opened in a request and cannot be sent."""
    response = env.get(RESPONSE)
    if response is not None:
        response.discard()
