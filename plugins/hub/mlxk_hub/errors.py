"""Translation of hub and network errors into mlxk's errors, with a hint for each case."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
from huggingface_hub.errors import (
    DisabledRepoError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_token, parse_ratelimit_headers

from mlxk_core.api.errors import AccessDenied, HubUnavailable, Kind, MlxkError, ModelError, RevisionNotFound
from mlxk_hub.settings import offline_variable, proxy_for

_HUB_ERRORS = (HfHubHTTPError, FileMetadataError, httpx2.RequestError, httpx2.InvalidURL, OfflineModeIsEnabled)
_MAX_QUOTE = 200


class NotOnHub(ModelError):
    """The hub has no such repository, or hides it."""

    kind = Kind("not_on_hub", 1, 404)


@dataclass(frozen=True, slots=True)
class HubRequest:
    """The subject of a request, for the message of its error."""

    repository: str
    revision: str
    endpoint: str

    @property
    def page(self) -> str:
        return f"{self.endpoint}/{self.repository}"

    @property
    def token_page(self) -> str:
        return f"{self.endpoint}/settings/tokens"


def log_in_hint() -> str:
    """Return how to log in, with a command that exists: `hf` is not on PATH where mlxk is installed as a tool."""
    command = "hf auth login" if shutil.which("hf") else "uvx --from huggingface_hub hf auth login"
    return f"log in with `{command}` or set HF_TOKEN"


def translate(error: Exception, request: HubRequest) -> Exception:
    """Return mlxk's error for `error`; an error that neither a hub nor the network caused is returned unchanged."""
    cause = hub_error(error)
    if isinstance(cause, HfHubHTTPError):
        return _from_response(_Response.of(cause, request))
    if isinstance(cause or error, httpx2.LocalProtocolError) or _is_about_token(error):
        # The token is the only header value that mlxk sets. The error quotes it, so its text is not shown.
        return AccessDenied(
            f"The token {_token_source()} contains invalid characters; no request was sent. Create a new one at "
            f"{request.token_page}, then {log_in_hint()}.",
            reason="bad_token",
            url=request.page,
            token_url=request.token_page,
        )
    if isinstance(
        cause or error, (FileMetadataError, ValueError, KeyError, TypeError, RecursionError)
    ) and not isinstance(error, UnicodeEncodeError):
        # Not JSON, JSON of another shape, or no hub headers: a captive portal, a proxy's page, a wrong mirror.
        return HubUnavailable(
            f"Unexpected response from {request.endpoint}: not a Hugging Face Hub. Check HF_ENDPOINT, and whether a "
            "captive portal or proxy intercepts the connection.",
            reason="no_hub",
            url=request.endpoint,
        )
    return _without_response(cause, request) if cause is not None else error


def hub_error(error: BaseException) -> Exception | None:
    """Return the hub's or the network's error among the causes of `error`, or None.

    huggingface_hub hides a 403 under an error that says "check your connection".
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if isinstance(current, _HUB_ERRORS):
            return current
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return None


def retry_after(error: HfHubHTTPError) -> float | None:
    """Return the seconds the server asks to wait (Retry-After or its rate limit's reset), or None."""
    headers = error.response.headers
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    if value:
        with suppress(ValueError, OverflowError):  # a date with a time zone of any number
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    with suppress(ValueError):  # a digit that `int` does not read
        limit = parse_ratelimit_headers(headers)
        return float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else None
    return None


@dataclass(frozen=True, slots=True)
class _Response:
    """An error response, as the rules see it. `message` is the server's own text, on one line."""

    error: HfHubHTTPError
    request: HubRequest
    status: int
    message: str
    token_sent: bool

    @classmethod
    def of(cls, error: HfHubHTTPError, request: HubRequest) -> _Response:
        sent = error.response.request
        return cls(
            error=error,
            request=request,
            status=error.response.status_code,
            message=_server_message(error),
            token_sent=sent is not None and "authorization" in sent.headers,
        )

    def is_(self, *types: type[HfHubHTTPError]) -> bool:
        return isinstance(self.error, types)

    def says(self, *words: str) -> bool:
        return any(word in self.message.lower() for word in words)

    @property
    def lacks_scope(self) -> bool:
        return self.status == 403 and self.says("fine-grained", "public gated")

    @property
    def quoted(self) -> str:
        return f", {self.message}" if self.message else ""


@dataclass(frozen=True, slots=True)
class _Rule:
    """One case of an error response. `text` may use the fields of `_fields`."""

    reason: str
    applies: Callable[[_Response], bool]
    error: type[MlxkError]
    text: str
    token_url: bool = False


# The first rule that applies decides.
_RULES = (
    _Rule(
        "revision_not_found",
        lambda r: r.is_(RevisionNotFoundError),
        RevisionNotFound,
        "`{name}` has no revision `{revision}`. {page} lists branches and tags; a commit needs all 40 characters.",
    ),
    _Rule(
        "gated_no_token",
        lambda r: r.is_(GatedRepoError) and not r.token_sent,
        AccessDenied,
        "`{name}` is gated, and no token was sent. Accept its terms at {page}, then {log_in}.",
    ),
    _Rule(
        "disabled",
        lambda r: r.is_(DisabledRepoError),
        AccessDenied,
        "Access to `{name}` has been disabled by its owner or by the hub. See {page}.",
    ),
    _Rule(
        "bad_token",
        lambda r: r.status == 401 and r.token_sent,
        AccessDenied,
        "The hub does not accept the token {token_source} (401{quoted}). Create a new one at {token_page}, then "
        "{log_in}; or send none (`hf auth logout`, unset HF_TOKEN). The model's page is {page}.",
        token_url=True,
    ),
    _Rule(
        "token_scope",
        lambda r: r.lacks_scope,
        AccessDenied,
        "`{name}` is gated, and the token lacks the scope for gated repositories. Enable "
        '"read access to contents of all public gated repos you can access" at {token_page}, or {log_in} with another '
        "token. Accept the terms at {page}.",
        token_url=True,
    ),
    _Rule(
        "gated_pending",
        lambda r: r.is_(GatedRepoError) and r.says("awaiting", "pending"),
        AccessDenied,
        "`{name}` is gated, and your request for access awaits review by its authors. See {page}.",
    ),
    _Rule(
        "gated_rejected",
        lambda r: r.is_(GatedRepoError) and r.says("rejected"),
        AccessDenied,
        "`{name}` is gated, and its authors rejected your request for access. See {page}, or {log_in} with the token "
        "of another account.",
    ),
    _Rule(
        "gated_not_on_list",
        lambda r: r.is_(GatedRepoError),
        AccessDenied,
        "`{name}` is gated, and your account has no access. Accept the terms (or request access) at {page}, or "
        "{log_in} with the token of another account.",
    ),
    _Rule(
        "not_found",
        lambda r: (r.is_(RepositoryNotFoundError) or r.status in (401, 404)) and r.token_sent,
        NotOnHub,
        "`{name}` does not exist at {endpoint}, or it is private and your account has no access. Its page would be "
        "{page}.",
    ),
    _Rule(
        "not_found",
        lambda r: r.is_(RepositoryNotFoundError) or r.status in (401, 404),
        NotOnHub,
        "`{name}` does not exist at {endpoint}, or it is private and no token was sent. If it is yours, {log_in}. Its "
        "page would be {page}.",
    ),
    _Rule(
        "forbidden_no_token",
        lambda r: r.status == 403 and not r.token_sent,
        AccessDenied,
        "The hub denies access to `{name}` (403{quoted}), and no token was sent. See {page}, then {log_in}.",
    ),
    _Rule(
        "forbidden",
        lambda r: r.status == 403,
        AccessDenied,
        "The hub denies access to `{name}` with this token (403{quoted}); it usually lacks a scope. Check its scopes "
        "at {token_page} and the terms at {page}, or {log_in} with another token.",
        token_url=True,
    ),
    _Rule(
        "rate_limit",
        lambda r: r.status == 429,
        HubUnavailable,
        "Rate-limited by {endpoint} (429). Try again {wait}; with a token the limit is higher ({log_in}).",
    ),
    _Rule(
        "server_error",
        lambda r: r.status == 408 or r.status >= 500,
        HubUnavailable,
        "{endpoint} has a problem ({status}{quoted}). Try again later.",
    ),
    _Rule("refused", lambda r: True, MlxkError, "{endpoint} rejected the request ({status}{quoted})."),
)


def _from_response(response: _Response) -> MlxkError:
    rule = next(rule for rule in _RULES if rule.applies(response))
    request = response.request
    details: dict[str, Any] = {
        "reason": rule.reason,
        "url": request.page,
        "repository": request.repository,
        "status": response.status,
    }
    if rule.token_url:
        details["token_url"] = request.token_page
    if rule.reason == "rate_limit":
        details["retry_after"] = retry_after(response.error)
    return rule.error(rule.text.format(**_fields(response)), **details)


def _fields(response: _Response) -> dict[str, object]:
    request = response.request
    after = retry_after(response.error)
    return {
        "name": request.repository,
        "revision": request.revision,
        "page": request.page,
        "token_page": request.token_page,
        "endpoint": request.endpoint,
        "log_in": log_in_hint(),
        "token_source": _token_source(),
        "status": response.status,
        "quoted": response.quoted,
        "wait": "later" if after is None else f"in {after:.0f} s",
    }


def _without_response(error: Exception, request: HubRequest) -> HubUnavailable:
    """Return the error for a request that got no response from the hub."""
    endpoint = request.endpoint
    proxy = proxy_for(endpoint)
    if isinstance(error, OfflineModeIsEnabled):
        name = offline_variable() or "HF_HUB_OFFLINE"
        return HubUnavailable(f"{name} is set, so no request was sent. Unset it to go online.", reason="offline_mode")
    if isinstance(error, (httpx2.InvalidURL, httpx2.UnsupportedProtocol)):
        return HubUnavailable(f"{endpoint} is not a web address. Check HF_ENDPOINT.", reason="bad_endpoint")
    if proxy and isinstance(error, (httpx2.ProxyError, httpx2.ConnectError, httpx2.ConnectTimeout)):
        return HubUnavailable(
            f"Cannot connect to {endpoint} through the proxy {proxy.address} ({_first_line(error)}). Check "
            f"{proxy.variable}.",
            reason="proxy",
        )
    if isinstance(error, httpx2.TimeoutException):
        return HubUnavailable(
            f"{endpoint} did not respond in time. Check the network, or raise HF_HUB_ETAG_TIMEOUT (seconds).",
            reason="timeout",
        )
    # The text is the operating system's ("Connection refused"); it never quotes a header.
    return HubUnavailable(
        f"Cannot connect to {endpoint} ({_first_line(error)}). Check the network.", reason="no_network"
    )


def _is_about_token(error: Exception) -> bool:
    """Return whether the text that cannot be encoded is the token, and not a file name for example."""
    token = get_token()
    return isinstance(error, UnicodeEncodeError) and token is not None and token in error.object


def _token_source() -> str:
    return "in HF_TOKEN" if os.environ.get("HF_TOKEN") else "of this machine's login"


def _server_message(error: HfHubHTTPError) -> str:
    message = _first_line(error.server_message or "", default="")
    return "" if message.startswith(("<", "{")) else message


def _first_line(text: object, *, default: str | None = None) -> str:
    lines = str(text).strip().splitlines()
    return lines[0].strip().rstrip(".")[:_MAX_QUOTE] if lines else (type(text).__name__ if default is None else default)
