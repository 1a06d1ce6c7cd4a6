"""Who may come in: the Host, Origin and key checks before any work, and the headers that admit a web page."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from mlxk_serve.config import ServeConfig
from mlxk_serve.http.errors import ApiError
from mlxk_serve.http.sockets import is_loopback

_OPEN = frozenset({"/health", "/livez"})
_FIELD = re.compile(r"\{[^}]*\}")
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """The door of one server. Headers are named as in `HTTP_…` of WSGI, without the prefix."""

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
        """Ask for no API key on the paths of a URI template. Called before the server accepts connections."""
        literal = [re.escape(part) for part in _FIELD.split(template.rstrip("/"))]
        kinds = [".+" if ":path" in field else "[^/]+" for field in _FIELD.findall(template)]
        self._open.append(re.compile("".join(a + b for a, b in zip(literal, [*kinds, ""], strict=True)) + "/?"))

    def check(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        """Raises the `ApiError` that a request from outside deserves."""
        self._check_host(headers)
        self._check_origin(method, headers)
        if method == "OPTIONS" and "ACCESS_CONTROL_REQUEST_METHOD" in headers:
            return  # a preflight carries no key
        if self._keys and path not in _OPEN and not any(open.fullmatch(path) for open in self._open):
            self._check_key(headers)

    def cors(self, origin: str | None) -> dict[str, str]:
        """What lets a page of `origin` read an answer: nothing, unless that origin was named."""
        if origin is None or not self._named(origin):
            return {}
        return {
            "access-control-allow-origin": origin,
            "access-control-expose-headers": "x-request-id, retry-after, x-should-retry",
            "vary": "Origin",
        }

    def preflight(self, origin: str | None, asked_headers: str | None) -> dict[str, str]:
        """The same for a preflight: which methods and headers such a page may use."""
        cors = self.cors(origin)
        if not cors:
            return {}
        return cors | {
            "access-control-allow-methods": "GET, POST, OPTIONS",
            "access-control-allow-headers": asked_headers or "authorization, content-type, x-api-key",
            "access-control-max-age": "600",
        }

    def _check_host(self, headers: Mapping[str, str]) -> None:
        """A page whose domain was made to point at this machine (DNS rebinding) still sends its own name."""
        host = headers.get("HOST", "").strip()
        if not host:
            raise ApiError(400, "The Host header is missing.", code="host_not_allowed")
        name = _host_name(host)
        if name is None or not self._is_ours(name):
            raise ApiError(403, "This Host is not served here. --allow-host admits one more.", code="host_not_allowed")

    def _is_ours(self, name: str) -> bool:
        if name == "localhost" or name.endswith(".localhost") or name in self._hosts:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # An address in numbers cannot be rebound.
        return address.is_loopback or self._beyond_loopback

    def _check_origin(self, method: str, headers: Mapping[str, str]) -> None:
        origin = headers.get("ORIGIN")
        if origin is None:
            if headers.get("SEC_FETCH_SITE") == "cross-site":
                raise self._foreign()
            return
        if not self._named(origin) and not _same_origin(origin, headers.get("HOST", "")):
            raise self._foreign()
        if method not in _WITHOUT_BODY and not _is_json(headers.get("CONTENT_TYPE", "")):
            raise ApiError(
                415, "From a web page only application/json is taken.", code="unsupported_media_type",
                headers=self.cors(origin),
            )  # fmt: skip

    def _named(self, origin: str) -> bool:
        return origin.rstrip("/").lower() in self._origins

    @staticmethod
    def _foreign() -> ApiError:
        return ApiError(
            403,
            "Web pages of this origin are not let in. --allow-origin admits one.",
            code="origin_not_allowed",
        )

    def _check_key(self, headers: Mapping[str, str]) -> None:
        scheme, _, token = headers.get("AUTHORIZATION", "").partition(" ")
        offered = [token.strip()] if scheme.lower() == "bearer" else []
        offered += [headers["X_API_KEY"].strip()] if "X_API_KEY" in headers else []
        if not _any_equal(self._keys, [key.encode("latin-1", "replace") for key in offered]):
            raise ApiError(
                401,
                "A valid API key is needed: `Authorization: Bearer …` or `x-api-key: …`.",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer", **self.cors(headers.get("ORIGIN"))},
            )


def _any_equal(keys: Iterable[bytes], offered: list[bytes]) -> bool:
    """In a time that tells nothing about the keys."""
    matches = [hmac.compare_digest(key, one) for key in keys for one in offered]
    return any(matches)


def _host_name(host: str) -> str | None:
    """The name in a Host header, without the port; None if it is not one name."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018 - raises on a port that is none
    except ValueError:
        return None
    odd = parts.path or parts.query or parts.fragment or parts.username or not parts.hostname or "," in host
    return None if odd else parts.hostname.rstrip(".") if parts.hostname else None


def _same_origin(origin: str, host: str) -> bool:
    scheme, _, rest = origin.lower().partition("://")
    return scheme in ("http", "https") and rest == host.strip().lower()


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"
