"""What a hub refuses, in our words: which case it is, the page that helps, and how to log in."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import NoReturn

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

_HUB_ERRORS = (HfHubHTTPError, FileMetadataError, httpx2.RequestError, httpx2.InvalidURL, OfflineModeIsEnabled)
LOG_IN = "log in with `hf auth login` or set HF_TOKEN"


class NotOnHub(ModelError):
    """The hub has no such repository, or hides it."""

    kind = Kind("not_on_hub", 1, 404)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request was about."""

    repository: str
    revision: str
    endpoint: str

    @property
    def page(self) -> str:
        return f"{self.endpoint}/{self.repository}"

    @property
    def token_page(self) -> str:
        return f"{self.endpoint}/settings/tokens"


def refuse(error: Exception, asked: Asked) -> NoReturn:
    """Raises what `error` means for `asked`; an error that no hub and no network made is raised as it is."""
    cause = hub_error(error)
    if isinstance(cause, HfHubHTTPError):
        raise _answer(cause, asked) from error
    if isinstance(cause or error, httpx2.LocalProtocolError) or _is_about_token(error):
        # The token is all we put into a header. Its text is in the error, so that is not told on.
        raise AccessDenied(
            f"The token ({_token_source()}) holds characters that no token has, so nothing was sent. Make a new one at "
            f"{asked.token_page}, then {LOG_IN}.",
            reason="bad_token",
            url=asked.page,
            token_url=asked.token_page,
        ) from None
    if isinstance(cause or error, (FileMetadataError, ValueError, KeyError, TypeError)) and not isinstance(
        error, UnicodeEncodeError
    ):
        # Not JSON, JSON of another kind, or without a hub's headers: a captive portal, a proxy's page, a mirror that is
        # none.
        raise HubUnavailable(
            f"{asked.endpoint} answered with something that is no hub's answer. Check HF_ENDPOINT and the network "
            "(a login page in between?).",
            reason="no_hub",
            url=asked.endpoint,
        ) from error
    if cause is not None:
        raise _no_answer(cause, asked) from error
    raise error


def hub_error(error: BaseException) -> Exception | None:
    """The hub's or the network's error behind `error`, or None: huggingface_hub hides a refusal (403) behind
    "check your connection"."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if isinstance(current, _HUB_ERRORS):
            return current
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return None


def _answer(error: HfHubHTTPError, asked: Asked) -> MlxkError:
    status = error.response.status_code
    said = _said(error)
    refusal: MlxkError
    if isinstance(error, RevisionNotFoundError):
        refusal = RevisionNotFound(
            f"`{asked.repository}` has no revision `{asked.revision}`. Its branches and tags are at {asked.page}; "
            "a commit is named with all its 40 characters.",
            reason="revision_not_found",
            url=asked.page,
        )
    elif isinstance(error, GatedRepoError):
        refusal = _gated(error, asked, said)
    elif isinstance(error, DisabledRepoError):
        refusal = AccessDenied(
            f"Access to `{asked.repository}` has been disabled, by its owner or by the hub. See {asked.page}.",
            reason="disabled",
            url=asked.page,
        )
    elif status == 401 and _token_sent(error):
        refusal = _bad_token(asked, said)
    elif isinstance(error, RepositoryNotFoundError) or status in (401, 404):
        refusal = _not_there(error, asked)
    elif status == 403:
        refusal = _forbidden(error, asked, said)
    elif status == 429:
        after = retry_after(error)
        when = f"in {after:.0f} s" if after is not None else "later"
        refusal = HubUnavailable(
            f"{asked.endpoint} takes no more requests for now (429, rate limit). Try again {when}; with a token the "
            f"limit is higher ({LOG_IN}).",
            reason="rate_limit",
            retry_after=after,
        )
    elif status == 408 or status >= 500:
        refusal = HubUnavailable(
            f"{asked.endpoint} has trouble of its own ({status}{_quoted(said)}). Try again later.",
            reason="server_error",
        )
    else:
        refusal = MlxkError(f"{asked.endpoint} refused ({status}{_quoted(said)}).", reason="refused")
    refusal.details = {**refusal.details, "repository": asked.repository, "status": status}
    return refusal


def _gated(error: HfHubHTTPError, asked: Asked, said: str) -> AccessDenied:
    name, page = asked.repository, asked.page
    if not _token_sent(error):
        return AccessDenied(
            f"`{name}` is gated, and no token was sent. Accept its terms at {page}, then {LOG_IN}.",
            reason="gated_no_token",
            url=page,
        )
    if error.response.status_code == 401:
        return _bad_token(asked, said)
    if _about_scope(said):
        return _scope(asked)
    if "awaiting" in said.lower() or "pending" in said.lower():
        return AccessDenied(
            f"`{name}` is gated, and your request for access waits for its authors' review. Its state is at {page}.",
            reason="gated_pending",
            url=page,
        )
    if "rejected" in said.lower():
        return AccessDenied(
            f"`{name}` is gated, and its authors have rejected your request for access. See {page}, or {LOG_IN} with "
            "another account's token.",
            reason="gated_rejected",
            url=page,
        )
    return AccessDenied(
        f"`{name}` is gated, and the account of the token that was sent is not on its list. Accept the terms (or ask "
        f"for access) at {page} with that account, or {LOG_IN} with another account's token.",
        reason="gated_not_on_list",
        url=page,
    )


def _scope(asked: Asked) -> AccessDenied:
    return AccessDenied(
        f"`{asked.repository}` is gated, and the token that was sent lacks the scope for gated repositories. Switch on "
        f'"read access to contents of all public gated repos you can access" for it at {asked.token_page}, or {LOG_IN} '
        f"with another token. The terms are accepted at {asked.page}.",
        reason="token_scope",
        url=asked.page,
        token_url=asked.token_page,
    )


def _forbidden(error: HfHubHTTPError, asked: Asked, said: str) -> AccessDenied:
    if _about_scope(said):
        return _scope(asked)
    if not _token_sent(error):
        return AccessDenied(
            f"The hub forbids access to `{asked.repository}` (403{_quoted(said)}), and no token was sent. See "
            f"{asked.page}, then {LOG_IN}.",
            reason="forbidden_no_token",
            url=asked.page,
        )
    why = f" ({said})" if said else ", without saying why"
    return AccessDenied(
        f"The hub forbids access to `{asked.repository}` with the token that was sent (403){why}: usually it lacks a "
        f"scope, for gated repositories or for this one. See {asked.token_page} for its scopes and {asked.page} for "
        f"terms to accept, or {LOG_IN} with another token.",
        reason="forbidden",
        url=asked.page,
        token_url=asked.token_page,
    )


def _bad_token(asked: Asked, said: str) -> AccessDenied:
    return AccessDenied(
        f"The hub does not accept the token that was sent ({_token_source()}; 401{_quoted(said)}). Make a new one at "
        f"{asked.token_page}, then {LOG_IN}; or send none (`hf auth logout`, unset HF_TOKEN). The repository's page is "
        f"{asked.page}.",
        reason="bad_token",
        url=asked.page,
        token_url=asked.token_page,
    )


def _is_about_token(error: Exception) -> bool:
    """Other texts that cannot be sent are of the caller's: names of files, say."""
    token = get_token()
    return isinstance(error, UnicodeEncodeError) and token is not None and token in error.object


def _token_source() -> str:
    return "from HF_TOKEN" if os.environ.get("HF_TOKEN") else "from the login of this machine"


def _not_there(error: HfHubHTTPError, asked: Asked) -> NotOnHub:
    if _token_sent(error):
        why = "or it is private and the account of the token that was sent may not see it"
    else:
        why = f"or it is private: no token was sent; {LOG_IN} if it is yours"
    return NotOnHub(
        f"`{asked.repository}` does not exist at {asked.endpoint}, {why}. Its page would be {asked.page}.",
        reason="not_found",
        url=asked.page,
    )


def _no_answer(error: BaseException, asked: Asked) -> HubUnavailable:
    if isinstance(error, OfflineModeIsEnabled):
        return HubUnavailable(
            "HF_HUB_OFFLINE is set, so the hub is not asked. Unset it to go online.", reason="offline_mode"
        )
    if isinstance(error, httpx2.TimeoutException):
        return HubUnavailable(
            f"{asked.endpoint} did not answer in time. Check the network, or try again later (HF_HUB_ETAG_TIMEOUT "
            "makes it wait longer).",
            reason="timeout",
        )
    if isinstance(error, httpx2.ProxyError):
        return HubUnavailable(f"The proxy refuses: {error}. Check HTTPS_PROXY.", reason="proxy")
    if isinstance(error, (httpx2.InvalidURL, httpx2.UnsupportedProtocol)):
        return HubUnavailable(f"{asked.endpoint} is no address of a hub. Check HF_ENDPOINT.", reason="bad_endpoint")
    # The text of other errors is the operating system's ("Connection refused"); none of them quotes a header.
    return HubUnavailable(
        f"{asked.endpoint} cannot be reached ({_first_line(str(error)) or type(error).__name__}). Check the network.",
        reason="no_network",
    )


def _token_sent(error: HfHubHTTPError) -> bool:
    request = error.response.request
    return request is not None and "authorization" in request.headers


def _about_scope(said: str) -> bool:
    return "fine-grained" in said.lower() or "public gated" in said.lower()


def _said(error: HfHubHTTPError) -> str:
    """The server's own words, on one line."""
    said = _first_line(error.server_message or "")
    return "" if said.startswith(("<", "{")) else said


def _quoted(said: str) -> str:
    return f", {said}" if said else ""


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0].strip().rstrip(".")[:200] if lines else ""


def retry_after(error: HfHubHTTPError) -> float | None:
    """The seconds the server asks to wait, by Retry-After (seconds or a date) or its rate limit's reset; None if it
    does not say."""
    headers = error.response.headers
    given = headers.get("Retry-After", "").strip()
    if given.isdigit():
        return float(given)
    if given:
        try:
            return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
        except ValueError:
            pass
    limit = parse_ratelimit_headers(headers)
    return float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else None
