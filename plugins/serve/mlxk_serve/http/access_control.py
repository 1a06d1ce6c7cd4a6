"""Access control: Host, Origin and API key checks before any work, and the CORS headers of allowed origins."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from mlxk_core.api.network import is_loopback
from mlxk_core.api.server import ApiError
from mlxk_serve.config import ServeConfig
from mlxk_serve.http.dispatcher import PROBES
from mlxk_serve.http.errors import template_pattern

_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})


class AccessControl:
    """The checks of one server. Headers are named like WSGI's `HTTP_…` variables, without the prefix."""

    def __init__(self, config: ServeConfig) -> None:
        self._keys = [key.encode() for key in config.keys]
        self._open: list[re.Pattern[str]] = []
        self._origins = frozenset(origin.rstrip("/").lower() for origin in config.allow_origins)
        self._hosts = frozenset(host.lower() for host in (*config.allow_hosts, *config.hosts))
        self._beyond_loopback = any(not is_loopback(host) for host in config.hosts)
        if self._beyond_loopback:
            name = socket.gethostname().lower()  # not getfqdn(), which asks a name server that may not answer
            self._hosts |= {name, f"{name.partition('.')[0]}.local"}

    def serve_without_key(self, template: str) -> None:
        """Require no API key on the paths of a URI template. Call it before the server accepts connections."""
        self._open.append(template_pattern(template))

    def check(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        """Raise the `ApiError` of a request that is not allowed."""
        self._check_host(headers)
        self._check_origin(method, headers)
        if method == "OPTIONS" and "ACCESS_CONTROL_REQUEST_METHOD" in headers:
            return  # a preflight carries no key
        if self._keys and path not in PROBES and not any(pattern.fullmatch(path) for pattern in self._open):
            self._check_key(headers)

    def cors(self, origin: str | None) -> dict[str, str]:
        """Return the headers that let a page of `origin` read the response: none unless that origin is allowed."""
        if origin is None or not self._is_allowed(origin):
            return {}
        return {
            "access-control-allow-origin": origin,
            "access-control-expose-headers": "x-request-id, request-id, retry-after, x-should-retry, x-ignored-fields",
            "vary": "Origin",
        }

    def preflight(self, origin: str | None, requested_headers: str | None) -> dict[str, str]:
        """Return the headers of the response to a preflight: the methods and headers such a page may use."""
        cors = self.cors(origin)
        if not cors:
            return {}
        return cors | {
            "access-control-allow-methods": "GET, HEAD, POST, DELETE, OPTIONS",
            "access-control-allow-headers": requested_headers or "authorization, content-type, x-api-key",
            "access-control-max-age": "600",
        }

    def _check_host(self, headers: Mapping[str, str]) -> None:
        """A page whose domain was made to point at this machine (DNS rebinding) still sends its own name."""
        host = headers.get("HOST", "").strip()
        if not host:
            raise ApiError(400, "The Host header is missing.", code="host_not_allowed")
        name = _host_name(host)
        if name is None or not self._is_own(name):
            raise ApiError(403, "This Host is not allowed. Use --allow-host to add it.", code="host_not_allowed")

    def _is_own(self, name: str) -> bool:
        if name == "localhost" or name.endswith(".localhost") or name in self._hosts:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # A numeric address cannot be rebound.
        return address.is_loopback or self._beyond_loopback

    def _check_origin(self, method: str, headers: Mapping[str, str]) -> None:
        origin = headers.get("ORIGIN")
        if origin is None:
            if headers.get("SEC_FETCH_SITE") == "cross-site":
                raise _origin_error()
            return
        if not self._is_allowed(origin) and not _same_origin(origin, headers.get("HOST", "")):
            raise _origin_error()
        if method not in _WITHOUT_BODY and not _is_json(headers.get("CONTENT_TYPE", "")):
            raise ApiError(
                415, "Requests from web pages must be application/json.", code="unsupported_media_type",
                headers=self.cors(origin),
            )  # fmt: skip

    def _is_allowed(self, origin: str) -> bool:
        return origin.rstrip("/").lower() in self._origins

    def _check_key(self, headers: Mapping[str, str]) -> None:
        scheme, _, token = headers.get("AUTHORIZATION", "").partition(" ")
        offered = [token.strip()] if scheme.lower() == "bearer" else []
        offered += [headers["X_API_KEY"].strip()] if "X_API_KEY" in headers else []
        if not _any_equal(self._keys, [key.encode("latin-1", "replace") for key in offered]):
            raise ApiError(
                401,
                "A valid API key is required: `Authorization: Bearer …` or `x-api-key: …`.",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer", **self.cors(headers.get("ORIGIN"))},
            )


def _origin_error() -> ApiError:
    return ApiError(
        403, "Requests from this web origin are not allowed. Use --allow-origin to add it.", code="origin_not_allowed"
    )


def _any_equal(keys: Iterable[bytes], offered: list[bytes]) -> bool:
    """Compare in a time that reveals nothing about the keys."""
    matches = [hmac.compare_digest(key, candidate) for key in keys for candidate in offered]
    return any(matches)


def _host_name(host: str) -> str | None:
    """Return the name in a Host header, without the port; None if it is not a single name."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018 - raises for an invalid port
    except ValueError:
        return None
    odd = parts.path or parts.query or parts.fragment or parts.username or not parts.hostname or "," in host
    return None if odd else parts.hostname.rstrip(".") if parts.hostname else None


def _same_origin(origin: str, host: str) -> bool:
    scheme, _, rest = origin.lower().partition("://")
    return scheme in ("http", "https") and rest == host.strip().lower()


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"
