"""Questions to a hub about one repository, none of which writes anything on this machine or there.

They go through huggingface_hub's session, headers and errors, but not through its `HfApi`: that takes 0.4 s to import,
and waits without any limit for some answers, or for as long as Retry-After says.
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

from mlxk_hub.errors import Asked, refuse
from mlxk_hub.retry import RetryPolicy

_T = TypeVar("_T")
MAIN = "main"
_DIGEST = re.compile(r"[\w:-]+", re.ASCII)  # it becomes the name of a file


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository. `digest` is what the cache calls its blob: the sha256 of a large file (`large`), else
    git's sha1."""

    name: str
    size: int
    digest: str
    large: bool


class HubClient:
    """One hub, asked with patience. A refusal is raised as one of our errors and says which case it is."""

    def __init__(self, patience: RetryPolicy | None = None) -> None:
        self._patience = patience or RetryPolicy()
        self.endpoint = constants.ENDPOINT

    @property
    def has_token(self) -> bool:
        """Requests are sent with a token of the user's."""
        return get_token() is not None

    def check_access(self, repository: str, *, write: bool = False) -> None:
        """Refuses unless the files of `repository` may be read (or written).

        Only this question and the files themselves see a gated repository: its description and its list of files are
        answered to anybody.
        """

        def ask() -> None:
            try:
                self._get(f"{self._route(repository)}/auth-check{'/write' if write else ''}")
            except HfHubHTTPError as error:
                unknown_route = error.response.status_code == 404 and not error.response.headers.get("X-Error-Code")
                if not unknown_route:
                    raise
                if not write:  # a mirror without this route: a file is asked for instead
                    self._check_file(repository)

        self.ask(ask, repository)

    def commit(self, repository: str, revision: str | None = None) -> tuple[str, str]:
        """The repository's name as the hub spells it, and the commit that `revision` (default: main) stands for."""

        def ask() -> tuple[str, str]:
            found = self._get(f"{self._route(repository)}/revision/{quote(revision or MAIN, safe='')}").json()
            return str(found["id"]), _commit(found["sha"])

        return self.ask(ask, repository, revision)

    def files(self, repository: str, commit: str) -> tuple[RemoteFile, ...]:
        """Every file of a commit, by name."""
        found = [file for page in self._tree(repository, commit) for file in page]
        return tuple(sorted(found, key=lambda file: file.name))

    def branches(self, repository: str) -> tuple[str, ...]:
        def ask() -> tuple[str, ...]:
            found = self._get(f"{self._route(repository)}/refs").json()
            return tuple(sorted(str(branch["name"]) for branch in found["branches"]))

        return self.ask(ask, repository)

    def _route(self, repository: str) -> str:
        return f"{self.endpoint}/api/models/{repository}"

    def _get(self, url: str) -> httpx2.Response:
        response: httpx2.Response = get_session().get(url, headers=build_hf_headers(), timeout=_timeout())
        hf_raise_for_status(response)
        return response

    def _tree(self, repository: str, commit: str) -> Iterator[list[RemoteFile]]:
        url: str | None = f"{self._route(repository)}/tree/{commit}?recursive=true"
        while url:
            page, url = self.ask(partial(self._tree_page, url), repository, commit)
            yield page

    def _tree_page(self, url: str) -> tuple[list[RemoteFile], str | None]:
        response = self._get(url)
        entries = response.json()
        if not isinstance(entries, list):
            raise ValueError("the list of files is no list")
        return [file for file in map(_file, entries) if file], response.links.get("next", {}).get("url")

    def _check_file(self, repository: str) -> None:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        try:
            url = hf_hub_url(repository, "config.json", endpoint=self.endpoint)
            get_hf_file_metadata(url, endpoint=self.endpoint)
        except RemoteEntryNotFoundError:
            pass  # the repository answers, it only has no such file

    def ask(self, call: Callable[[], _T], repository: str, revision: str | None = None) -> _T:
        """`call()` with patience, its refusals in our words. For calls that may be made twice."""

        try:
            return self._patience.ask(call)
        except Exception as error:
            refuse(error, Asked(repository, revision or MAIN, self.endpoint))


def _timeout() -> float:
    return float(constants.HF_HUB_ETAG_TIMEOUT)


def _commit(sha: object) -> str:
    if not isinstance(sha, str) or not sha:
        raise ValueError("no commit in the answer")
    return sha


def _file(entry: dict[str, Any]) -> RemoteFile | None:
    if entry["type"] != "file":
        return None
    name, lfs = entry["path"], entry.get("lfs")
    if not name or "\0" in name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise ValueError("a file outside of the repository")
    size, digest = (lfs or entry)["size"], (lfs or entry)["oid"]
    if not isinstance(size, int) or size < 0 or not _DIGEST.fullmatch(digest):
        raise ValueError("a file of no size, or without a checksum")
    return RemoteFile(name, size, digest, bool(lfs))
