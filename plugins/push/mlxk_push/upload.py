"""Upload of files as one commit, in a child process, because huggingface_hub finishes files in flight before Ctrl-C.

Run with `python -m`, this module is the child.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import msgspec

from mlxk_core.api.errors import Interrupted, MlxkError
from mlxk_hub.subprocess_job import JobProcess, serve_job


class UploadFile(msgspec.Struct, frozen=True):
    """A file to upload: its path in the repository and its absolute local path."""

    name: str
    path: str


class UploadJob(msgspec.Struct, frozen=True):
    """A commit to make. `parent`: the commit it must follow, None in a new repository."""

    repository: str
    branch: str
    message: str
    parent: str | None
    files: tuple[UploadFile, ...]
    show_bars: bool


class Committing(msgspec.Struct, tag="committing", frozen=True):
    """The files are uploaded; the commit is being sent."""


class Committed(msgspec.Struct, tag="committed", frozen=True):
    """The commit exists."""

    sha: str
    url: str


def upload(job: UploadJob) -> Committed:
    """Upload the files of `job` and commit them. With `show_bars` huggingface_hub draws its bars on standard error."""
    committing = False
    process: JobProcess[Committing | Committed] = JobProcess(
        "mlxk_push.upload", job, Committing | Committed, show_stderr=job.show_bars
    )
    try:
        with process:
            for report in process.reports():
                if isinstance(report, Committed):
                    return report
                committing = True
            raise MlxkError("The upload ended without a commit.", reason="crashed")
    except KeyboardInterrupt:
        if committing:
            raise Interrupted("Stopped while sending the commit; it may exist. Push again to check.") from None
        raise Interrupted("Stopped. Nothing was committed.") from None


def work(job: UploadJob, report: Callable[[msgspec.Struct], None]) -> None:
    from huggingface_hub import constants

    from mlxk_hub.errors import HubRequest, translate

    try:
        _upload(job, report)
    except Exception as error:
        if isinstance(error, ValueError) and "README.md" in str(error):
            text = " ".join(str(error).split())
            raise MlxkError(f"The hub does not accept README.md: {text}", reason="bad_readme") from error
        raise translate(error, HubRequest(job.repository, job.branch, constants.ENDPOINT)) from error


def _upload(job: UploadJob, report: Callable[[msgspec.Struct], None]) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.utils import disable_progress_bars

    if not job.show_bars:
        disable_progress_bars()
    api = HfApi()
    additions = [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file.path) for file in job.files]
    api.preupload_lfs_files(job.repository, additions, revision=job.branch)
    report(Committing())
    commit = api.create_commit(
        job.repository, additions, commit_message=job.message, revision=job.branch, parent_commit=job.parent
    )
    report(Committed(commit.oid, commit.commit_url))


def _nothing_to_clean_up(job: UploadJob) -> list[str]:
    """Return a command that does nothing: the hub discards uploads without a commit."""
    return [sys.executable, "-c", ""]


if __name__ == "__main__":
    serve_job(UploadJob, work, orphan_command=_nothing_to_clean_up)
