"""The child that uploads, and its parent's side: one commit, or none at all.

It is a process of its own so that Ctrl-C stops it at once: huggingface_hub would first finish the files in flight.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from mlxk_core.api.errors import Interrupted, MlxkError
from mlxk_hub.subprocess_job import Job, JobFailed, Report, Worker, as_report, serve


@dataclass(frozen=True, slots=True)
class Commit:
    sha: str
    url: str


def upload(job: Job, *, bars: bool) -> Commit:
    """Uploads the files of `job` and commits them. With `bars` huggingface_hub draws its own on standard error."""
    committing = False
    try:
        with Worker("mlxk_push.upload", {**job, "bars": bars}, show_stderr=bars) as worker:
            for report in worker.reports():
                committing = committing or "committing" in report
                if "error" in report:
                    raise JobFailed(report["error"])
                if "sha" in report:
                    return Commit(report["sha"], report["url"])
            raise MlxkError(f"The upload ended unexpectedly: {worker.last_words()}.", reason="crashed")
    except KeyboardInterrupt:
        if committing:
            raise Interrupted(
                "Stopped while the commit was being sent: it may have been made or not; push again to see."
            ) from None
        raise Interrupted("Stopped. Nothing was committed.") from None


def work(job: Job, report: Report) -> None:
    from huggingface_hub import constants

    from mlxk_hub.errors import Asked, refuse

    try:
        _upload(job, report)
    except Exception as error:
        told: Exception
        if isinstance(error, ValueError) and "README.md" in str(error):
            told = MlxkError(f"The hub does not accept README.md: {' '.join(str(error).split())}", reason="bad_readme")
        else:
            try:
                refuse(error, Asked(job["repository"], job["branch"], constants.ENDPOINT))
            except Exception as refusal:
                told = refusal
        report({"error": as_report(told)})


def _upload(job: Job, report: Report) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.utils import disable_progress_bars

    if not job["bars"]:
        disable_progress_bars()
    api = HfApi()
    additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in job["files"]]
    api.preupload_lfs_files(job["repository"], additions, revision=job["branch"])
    report({"committing": True})
    made = api.create_commit(
        job["repository"],
        additions,
        commit_message=job["message"],
        revision=job["branch"],
        parent_commit=job["parent"],
    )
    report({"sha": made.oid, "url": made.commit_url})


def orphaned(job: Job) -> list[str]:
    """There is nothing to tidy up: what was uploaded and not committed is nobody's file."""
    return [sys.executable, "-c", ""]


if __name__ == "__main__":
    serve(work, orphaned=orphaned)
