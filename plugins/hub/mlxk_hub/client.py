"""Read-only requests to a hub about one repository.

They use huggingface_hub's session, headers and errors, but not its `HfApi`: that takes 0.4 s to import, and has no
limit for some waits, or takes Retry-After as the limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError
from huggingface_hub.utils import build_hf_headers, get_session, get_token, hf_raise_for_status

from mlxk_core.api.errors import HubUnavailable
from mlxk_hub.bounded_body import read_bounded
from mlxk_hub.errors import HubRequest, translate
from mlxk_hub.retry import RetryPolicy

_T = TypeVar("_T")
MAIN = "main"
_DIGEST = re.compile(r"[\w:-]{1,128}", re.ASCII)  # it becomes a file name
_COMMIT = re.compile(r"[0-9a-f]{40,64}")  # it becomes a folder
_LARGEST_ANSWER = 32 << 20
"""Bytes of one answer of the hub's API. A page of 1,000 files is about 300 kB."""
_MOST_FILES = 100_000
_MOST_PAGES = 1_000


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository: path, size in bytes, and digest.

    `digest` names the blob in the cache: the sha256 of a file in large-file storage (`large`), else git's sha1.
    """

    name: str
    size: int
    digest: str
    large: bool


class HubClient:
    """Client of the hub that HF_ENDPOINT names. Every failure is raised as one of mlxk's errors."""

    def __init__(self, policy: RetryPolicy | None = None) -> None:
        self._policy = policy or RetryPolicy()
        self.endpoint = constants.ENDPOINT

    @property
    def has_token(self) -> bool:
        """Whether requests carry a token."""
        return get_token() is not None

    def check_access(self, repository: str, *, write: bool = False) -> None:
        """Raise unless the files of `repository` may be read (or written).

        Only this request and downloads notice that a repository is gated: the hub shows its description and its list
        of files to everyone.
        """

        def send() -> None:
            try:
                self._get(f"{self._route(repository)}/auth-check{'/write' if write else ''}")
            except HfHubHTTPError as error:
                unknown_route = error.response.status_code == 404 and not error.response.headers.get("X-Error-Code")
                if not unknown_route:
                    raise
                if not write:  # a mirror without this route: request a file instead
                    self._check_file(repository)

        self.call(send, repository)

    def commit(self, repository: str, revision: str | None = None) -> tuple[str, str]:
        """Return the repository's name as the hub spells it, and the commit of `revision` (default: main)."""

        def send() -> tuple[str, str]:
            found = self._get(f"{self._route(repository)}/revision/{quote(revision or MAIN, safe='')}").json()
            return str(found["id"]), _commit(found["sha"])

        return self.call(send, repository, revision)

    def files(self, repository: str, commit: str) -> tuple[RemoteFile, ...]:
        """Return every file of a commit, sorted by name."""
        found: list[RemoteFile] = []
        for page in self._tree(repository, commit):
            found += page
            if len(found) > _MOST_FILES:
                raise self._too_many_files(repository)
        return tuple(sorted(found, key=lambda file: file.name))

    def branches(self, repository: str) -> tuple[str, ...]:
        """Return the names of the branches, sorted."""

        def send() -> tuple[str, ...]:
            found = self._get(f"{self._route(repository)}/refs").json()
            return tuple(sorted(str(branch["name"]) for branch in found["branches"]))

        return self.call(send, repository)

    def call(self, function: Callable[[], _T], repository: str, revision: str | None = None) -> _T:
        """Return `function()` with retries, its errors translated. `function` may run several times."""
        try:
            return self._policy.call(function)
        except Exception as error:
            translated = translate(error, HubRequest(repository, revision or MAIN, self.endpoint))
            if translated is error:
                raise
            raise translated from error

    def _route(self, repository: str) -> str:
        return f"{self.endpoint}/api/models/{repository}"

    def _get(self, url: str) -> httpx2.Response:
        with get_session().stream("GET", url, headers=build_hf_headers(), timeout=_timeout()) as stream:
            response = read_bounded(stream, _LARGEST_ANSWER)
        hf_raise_for_status(response)
        return response

    def _tree(self, repository: str, commit: str) -> Iterator[list[RemoteFile]]:
        url = f"{self._route(repository)}/tree/{commit}?recursive=true"
        for _ in range(_MOST_PAGES):
            page, following = self.call(partial(self._tree_page, url), repository, commit)
            yield page
            if following is None:
                return
            url = following
        raise self._too_many_files(repository)  # or a page that refers to itself

    def _too_many_files(self, repository: str) -> HubUnavailable:
        return HubUnavailable(
            f"{self.endpoint} lists more than {_MOST_FILES:,} files of `{repository}`, or does not end the list.",
            reason="too_many_files",
        )

    def _tree_page(self, url: str) -> tuple[list[RemoteFile], str | None]:
        response = self._get(url)
        entries = response.json()
        if not isinstance(entries, list):
            raise ValueError("the tree is not a JSON array")
        return [file for file in map(_file, entries) if file], response.links.get("next", {}).get("url")

    def _check_file(self, repository: str) -> None:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        try:
            url = hf_hub_url(repository, "config.json", endpoint=self.endpoint)
            get_hf_file_metadata(url, endpoint=self.endpoint)
        except RemoteEntryNotFoundError:
            pass  # the repository is readable, it only lacks this file


def _timeout() -> float:
    return float(constants.HF_HUB_ETAG_TIMEOUT)


def _commit(sha: object) -> str:
    if not isinstance(sha, str) or not _COMMIT.fullmatch(sha):
        raise ValueError("no commit in the response")
    return sha


def _file(entry: dict[str, Any]) -> RemoteFile | None:
    if entry["type"] != "file":
        return None
    name, lfs = entry["path"], entry.get("lfs")
    if not name or "\0" in name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise ValueError("a file outside of the repository")
    if not _is_text(name):
        raise ValueError("a file name with half a character")
    size, digest = (lfs or entry)["size"], (lfs or entry)["oid"]
    if type(size) is not int or not 0 <= size < 1 << 63 or not _DIGEST.fullmatch(digest):
        raise ValueError("a file without a size or a digest")
    return RemoteFile(name, size, digest, bool(lfs))


def _is_text(name: str) -> bool:
    """Whether `name` has no half of a character, which no file system takes."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
