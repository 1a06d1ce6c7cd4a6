"""One push: inspect the branch, compare, create what is missing, and make one commit or none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlxk_core.api.commands import Output, escape_control
from mlxk_core.api.errors import AccessDenied, MlxkError, RevisionNotFound
from mlxk_hub.client import MAIN, HubClient, RemoteFile
from mlxk_hub.errors import NotOnHub, log_in_hint
from mlxk_hub.retry import RetryPolicy
from mlxk_push.difference import Difference, difference
from mlxk_push.folder import Folder
from mlxk_push.upload import UploadFile, UploadJob, upload


@dataclass(frozen=True, slots=True)
class BranchState:
    """The branch before the push. Without a commit, the repository or the branch must be created."""

    commit: str | None
    files: tuple[RemoteFile, ...] = ()
    creates_repository: bool = False
    creates_branch: bool = False


class Pusher:
    """Pushes folders to one branch, and keeps track of what it changed on the hub."""

    def __init__(self, output: Output, repository: str, branch: str) -> None:
        self._output, self._repository, self._branch = output, repository, branch
        self._client = HubClient(RetryPolicy(on_wait=self._output.status))
        self._created: list[str] = []
        self._uploading = False

    def push(self, folder: Folder, *, message: str, create: bool, private: bool, dry_run: bool) -> dict[str, Any]:
        """Update the branch with the folder's files, and return the result for `--json`."""
        try:
            return self._push(folder, message=message, create=create, private=private, dry_run=dry_run)
        except MlxkError as error:
            raise error.with_hint(self._changes_so_far()) from error

    def _push(self, folder: Folder, *, message: str, create: bool, private: bool, dry_run: bool) -> dict[str, Any]:
        place = f"{self._repository} ({self._branch})"
        state = self._branch_state(create=create, dry_run=dry_run)
        if private and state.commit:
            self._output.status(f"{self._repository} exists; --private has no effect.")
        changes = difference(folder.files, state.files)
        data = _as_json(state, changes)
        if dry_run:
            for mark, files in (("new", changes.added), ("changed", changes.modified)):
                for file in files:
                    self._output.line(f"{mark:7}  {escape_control(file.name)}")
            self._output.line(_prediction(place, state, changes))
            return {**data, "status": "dry_run"}
        self._create_missing(state, private=private)
        if not changes.changed:
            self._output.line(f"{place} is up to date; no commit was made.")
            return {**data, "status": "no_changes"} | ({"commit": state.commit} if state.commit else {})
        self._output.status(f"Uploading {len(changes.changed)} files to {place}.")
        self._uploading = True
        commit = upload(
            UploadJob(
                repository=self._repository,
                branch=self._branch,
                message=message,
                parent=state.commit,
                files=tuple(UploadFile(file.name, str(file.path.resolve())) for file in changes.changed),
                show_bars=self._output.stderr_is_terminal and not self._output.json,
            )
        )
        self._output.line(f"Pushed {_summary(changes)} to {place}: {commit.sha[:7]}. {commit.url}")
        return {**data, "status": "pushed", "commit": commit.sha, "url": commit.url}

    def _branch_state(self, *, create: bool, dry_run: bool) -> BranchState:
        """Return the branch's state after every check that could stop the push. Changes nothing."""
        client, repository = self._client, self._repository
        if not client.has_token and not dry_run:
            raise AccessDenied(
                f"A push needs a token that may write to `{repository}`. Create one at "
                f"{client.endpoint}/settings/tokens, then {log_in_hint()}.",
                reason="no_token",
                repository=repository,
            )
        try:
            client.check_access(repository)
        except NotOnHub as error:
            if create:
                return BranchState(None, creates_repository=True, creates_branch=self._branch != MAIN)
            raise error.with_hint("Use --create to create it.") from error
        if client.has_token:
            client.check_access(repository, write=True)
        try:
            _, commit = client.commit(repository, self._branch)
        except RevisionNotFound as error:
            _, start = client.commit(repository)
            if create:
                return BranchState(None, client.files(repository, start), creates_branch=True)
            names = ", ".join(client.branches(repository))
            raise RevisionNotFound(
                f"`{repository}` has no branch `{self._branch}`. Its branches: {names}. Use --create to create it.",
                **error.details,
            ) from error
        return BranchState(commit, client.files(repository, commit))

    def _create_missing(self, state: BranchState, *, private: bool) -> None:
        from huggingface_hub import HfApi  # takes 0.4 s, and most pushes create nothing

        api, repository, branch = HfApi(), self._repository, self._branch
        if state.creates_repository:
            self._call(lambda: api.create_repo(repository, private=private, exist_ok=True))
            self._created.append(f"repository {repository}")
        if state.creates_branch:
            self._call(lambda: api.create_branch(repository, branch=branch, exist_ok=True))
            self._created.append(f"branch {branch}")

    def _changes_so_far(self) -> str:
        """Return a sentence about what a failed push changed on the hub."""
        if self._created:
            return f"Created on the hub: {', '.join(self._created)}."
        # A commit whose response was lost may exist.
        return "" if self._uploading else "Nothing was changed on the hub."

    def _call(self, function: Callable[[], object]) -> None:
        self._client.call(function, self._repository, self._branch)


def _as_json(state: BranchState, changes: Difference) -> dict[str, Any]:
    return {
        "creates_repository": state.creates_repository,
        "creates_branch": state.creates_branch,
        "added": [file.name for file in changes.added],
        "modified": [file.name for file in changes.modified],
        "only_on_hub": list(changes.only_on_hub),
    }


def _prediction(place: str, state: BranchState, changes: Difference) -> str:
    if not changes.changed:
        return f"{place} is up to date; no commit would be made."
    created = " after creating it" if state.creates_repository or state.creates_branch else ""
    return f"Would push {_summary(changes)} to {place}{created}."


def _summary(changes: Difference) -> str:
    kept = f" ({len(changes.only_on_hub)} only on the hub, left alone)" if changes.only_on_hub else ""
    return f"{len(changes.added)} new and {len(changes.modified)} changed files{kept}"
