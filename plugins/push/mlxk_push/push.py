"""The command `mlxk push`: look at the folder, compare with the hub, and make one commit or none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from mlxk_core.api.commands import Output, Session, escape_control, json_option
from mlxk_core.api.errors import AccessDenied, BrokenModel, InvalidOption, MlxkError, RevisionNotFound
from mlxk_hub.client import MAIN, HubClient, RemoteFile
from mlxk_hub.errors import LOG_IN, NotOnHub
from mlxk_hub.names import check_branch, check_name
from mlxk_hub.retry import RetryPolicy
from mlxk_push.difference import Difference, difference
from mlxk_push.folder import Folder, read
from mlxk_push.upload import upload

_MOST_TOLD = 5  # problems in one sentence


@click.command("push")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("repository", metavar="REPO")
@click.option("--create", is_flag=True, help="Create the repository and the branch if they do not exist.")
@click.option("--private", is_flag=True, help="With --create: a new repository is private.")
@click.option("--branch", default=MAIN, show_default=True, metavar="NAME", help="The branch to commit to.")
@click.option("--commit", "message", default="Upload with mlxk push", show_default=True, help="The commit's message.")
@click.option("--check-only", is_flag=True, help="Look at the folder only: offline, without a token.")
@click.option("--dry-run", is_flag=True, help="Compare with the hub; change nothing there.")
@json_option
@click.pass_obj
def push(
    session: Session,
    folder: Path,
    repository: str,
    create: bool,
    private: bool,
    branch: str,
    message: str,
    check_only: bool,
    dry_run: bool,
) -> dict[str, Any]:
    """Upload the model in DIR to REPO (`org/name`) as one commit. Experimental.

    What .hfignore lists stays here, and so does every hidden file but .gitattributes. Files that are only on the hub
    are left alone: a push deletes nothing. Where nothing has changed, no commit is made.
    """
    check_name(repository, "REPO")
    check_branch(branch, "--branch")
    if check_only and dry_run:
        raise InvalidOption("--dry-run", "it compares with the hub, and --check-only asks none: leave one of them out.")
    if private and not create:
        raise InvalidOption("--private", "it acts on a new repository only; add --create.")
    if not message.strip():
        raise InvalidOption("--commit", "the message is empty.")
    output = session.output
    found = read(folder)
    data = {
        "repository": repository,
        "branch": branch,
        "folder": str(folder),
        "files": len(found.files),
        "size_bytes": found.size,
        "hidden": list(found.hidden),
        "problems": [{"code": each.code, "message": each.message, "file": each.file} for each in found.problems],
    }
    if found.hidden:
        _note(output, f"{_hidden(len(found.hidden))} here (see them with --check-only --json).")
    if found.problems:
        raise _broken(found, data)
    if check_only:
        _say(output, f"{folder} is whole: {len(found.files)} files would be compared with the hub's.")
        return {**data, "status": "checked"}

    hub = _Hub(HubClient(RetryPolicy(waiting=lambda text: _note(output, text))), repository, branch)
    try:
        there = hub.look(create=create, dry_run=dry_run)
        if private and there.commit:
            _note(output, f"{repository} exists already: --private changes nothing about it.")
        changes = difference(found.files, there.files)
        data |= _changes(there, changes)
        if dry_run:
            for mark, files in (("new", changes.added), ("changed", changes.modified)):
                for file in files:
                    _say(output, f"{mark:7}  {escape_control(file.name)}")
            _say(output, _foretold(repository, branch, there, changes))
            return {**data, "status": "dry_run"}
        hub.prepare(there, private=private)
        if not changes.changed:
            _say(output, f"{repository} ({branch}) has all of it already: no commit was made.")
            return {**data, "status": "no_changes"} | ({"commit": there.commit} if there.commit else {})
        _note(output, f"Uploading {len(changes.changed)} files to {repository} ({branch}).")
        hub.uploading = True
        made = upload(
            {
                "repository": repository,
                "branch": branch,
                "message": message,
                "parent": there.commit,
                "files": [(file.name, str(file.path.resolve())) for file in changes.changed],
            },
            bars=output.stderr_is_terminal and not output.json,
        )
    except MlxkError as error:
        error.args = (f"{error} {hub.so_far()}".strip(),)
        raise
    _say(output, f"{repository} ({branch}) is at {made.sha[:7]}: {_counted(changes)}. {made.url}")
    return {**data, "status": "pushed", "commit": made.sha, "url": made.url}


@dataclass(frozen=True, slots=True)
class _There:
    """The branch as it is. No commit: the repository (or only the branch) is to be created."""

    commit: str | None
    files: tuple[RemoteFile, ...] = ()
    creates_repository: bool = False
    creates_branch: bool = False


@dataclass
class _Hub:
    """The steps of a push on the hub, and what they have changed there so far."""

    client: HubClient
    repository: str
    branch: str
    created: list[str] = field(default_factory=list)
    uploading: bool = False

    def look(self, *, create: bool, dry_run: bool) -> _There:
        """Asks for everything that could refuse the push, and changes nothing."""
        if not self.client.has_token and not dry_run:
            raise AccessDenied(
                f"A push needs a token that may write to `{self.repository}`, and there is none. Make one at "
                f"{self.client.endpoint}/settings/tokens, then {LOG_IN}.",
                reason="no_token",
                repository=self.repository,
            )
        try:
            self.client.check_access(self.repository)
        except NotOnHub as error:
            if create:
                return _There(None, creates_repository=True, creates_branch=self.branch != MAIN)
            raise NotOnHub(f"{error} --create makes it.", **error.details) from error
        if self.client.has_token:
            self.client.check_access(self.repository, write=True)
        try:
            _, commit = self.client.commit(self.repository, self.branch)
        except RevisionNotFound as error:
            _, start = self.client.commit(self.repository)
            if create:
                return _There(None, self.client.files(self.repository, start), creates_branch=True)
            names = ", ".join(self.client.branches(self.repository))
            raise RevisionNotFound(
                f"`{self.repository}` has no branch `{self.branch}`; it has {names}. --create makes it.",
                **error.details,
            ) from error
        return _There(commit, self.client.files(self.repository, commit))

    def prepare(self, there: _There, *, private: bool) -> None:
        """Creates what is missing."""
        from huggingface_hub import HfApi  # takes 0.4 s, and most looks at a repository need none of it

        api = HfApi()
        if there.creates_repository:
            self._do(lambda: api.create_repo(self.repository, private=private, exist_ok=True))
            self.created.append(f"the repository {self.repository}")
        if there.creates_branch:
            self._do(lambda: api.create_branch(self.repository, branch=self.branch, exist_ok=True))
            self.created.append(f"the branch {self.branch}")

    def so_far(self) -> str:
        """What a failed push leaves on the hub."""
        if self.created:
            return f"Created on the hub: {' and '.join(self.created)}."
        # A commit whose answer was lost may have been made.
        return "" if self.uploading else "Nothing was changed on the hub."

    def _do(self, call: Callable[[], object]) -> None:
        self.client.ask(call, self.repository, self.branch)


def _broken(found: Folder, data: dict[str, Any]) -> BrokenModel:
    told = " ".join(each.message for each in found.problems[:_MOST_TOLD])
    if more := len(found.problems[_MOST_TOLD:]):
        told += f" And {more} more, which --check-only --json lists."
    error = BrokenModel(f"{found.path} is not a whole model, so it is not pushed: {told}", folder=str(found.path))
    error.data = {**data, "status": "checked"}
    return error


def _hidden(count: int) -> str:
    return "1 hidden file stays" if count == 1 else f"{count} hidden files stay"


def _changes(there: _There, changes: Difference) -> dict[str, Any]:
    return {
        "creates_repository": there.creates_repository,
        "creates_branch": there.creates_branch,
        "added": [file.name for file in changes.added],
        "modified": [file.name for file in changes.modified],
        "only_on_hub": list(changes.only_there),
    }


def _foretold(repository: str, branch: str, there: _There, changes: Difference) -> str:
    if not changes.changed:
        return f"{repository} ({branch}) has all of it already: no commit would be made."
    first = "It would be created first. " if there.creates_repository or there.creates_branch else ""
    return f"{repository} ({branch}): {first}{_counted(changes)} would be pushed."


def _counted(changes: Difference) -> str:
    kept = f" (left alone: {len(changes.only_there)} only on the hub)" if changes.only_there else ""
    return f"{len(changes.added)} new and {len(changes.modified)} changed files{kept}"


def _note(output: Output, text: str) -> None:
    if not output.json:
        output.note(text)


def _say(output: Output, text: str) -> None:
    if not output.json:
        output.line(text)
