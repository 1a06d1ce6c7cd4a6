"""The command `mlxk push`: its options, and the checks that need no hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mlxk_core.api.commands import Session, json_option
from mlxk_core.api.errors import BrokenModel, InvalidOption
from mlxk_hub.names import check_branch, check_name
from mlxk_hub.settings import check_settings
from mlxk_push.folder import Folder, read_folder

_MAX_PROBLEMS = 5  # in one message


@click.command("push")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("repository", metavar="REPO")
@click.option("--create", is_flag=True, help="Create the repository and the branch if they do not exist.")
@click.option("--private", is_flag=True, help="With --create: make a new repository private.")
@click.option("--branch", default="main", show_default=True, metavar="NAME", help="Branch to commit to.")
@click.option("--commit", "message", default="Upload with mlxk push", show_default=True, help="Commit message.")
@click.option("--check-only", is_flag=True, help="Check the folder only, offline and without a token.")
@click.option("--dry-run", is_flag=True, help="Compare with the hub; change nothing.")
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

    Files listed in .hfignore and hidden files (except .gitattributes) are not uploaded. Nothing is deleted on the hub.
    Without changes no commit is made.

    \b
    Examples:
      mlxk push ./model org/name --check-only
      mlxk push ./model org/name --create --private
    """
    check_settings()
    check_name(repository, "REPO")
    check_branch(branch, "--branch")
    if check_only and dry_run:
        raise InvalidOption("--dry-run", "cannot be used with --check-only, which does not connect to the hub.")
    if private and not create:
        raise InvalidOption("--private", "requires --create; it applies to a new repository only.")
    if not message.strip():
        raise InvalidOption("--commit", "the message is empty.")
    found = read_folder(folder)
    data = {
        "repository": repository,
        "branch": branch,
        "folder": str(folder),
        "files": len(found.files),
        "size_bytes": found.size,
        "hidden": list(found.hidden),
        "problems": [{"code": each.code, "message": each.message, "file": each.file} for each in found.problems],
    }
    if found.hidden and not session.output.json:
        count = "1 hidden file is" if len(found.hidden) == 1 else f"{len(found.hidden)} hidden files are"
        session.output.note(f"{count} not uploaded (list: --check-only --json).")
    if found.problems:
        raise _incomplete(found, data)
    if check_only:
        if not session.output.json:
            session.output.line(f"{folder} is a complete model: {len(found.files)} files to compare with the hub.")
        return {**data, "status": "checked"}
    # Imported here: it imports huggingface_hub, which reads the settings.
    from mlxk_push.pusher import Pusher

    pusher = Pusher(session.output, repository, branch)
    return {**data, **pusher.push(found, message=message, create=create, private=private, dry_run=dry_run)}


def _incomplete(found: Folder, data: dict[str, Any]) -> BrokenModel:
    text = " ".join(each.message for each in found.problems[:_MAX_PROBLEMS])
    if more := len(found.problems[_MAX_PROBLEMS:]):
        text += f" {more} more problems: see --check-only --json."
    return BrokenModel(
        f"{found.path} is not a complete model; nothing was pushed. {text}",
        data={**data, "status": "checked"},
        folder=str(found.path),
    )
