"""Has the files of a plan downloaded, and leaves the cache tidy whatever happens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mlxk_core.api.errors import Interrupted, MlxkError
from mlxk_hub.client import RemoteFile
from mlxk_hub.subprocess_job import JobFailed, Worker
from mlxk_pull.cleanup import remove_parts, remove_shell
from mlxk_pull.preflight import Plan, check_space
from mlxk_pull.progress import Progress


def to_fetch(plan: Plan, again: Iterable[RemoteFile]) -> dict[str, int]:
    """The blobs to download, with their sizes; those of `again` whatever is here."""
    blobs = {file.digest: file.size for file in again}
    for file in plan.held.missing:
        blob = plan.place.blobs / file.digest
        if not blob.exists():
            blobs[file.digest] = file.size
    return blobs


def fetch(plan: Plan, again: tuple[RemoteFile, ...], progress: Progress) -> None:
    """Downloads what is missing, and the files in `again` anew. The revision is remembered when all of it is here."""
    blobs = to_fetch(plan, again)
    check_space(plan, sum(blobs.values()))
    place = plan.place
    job = {
        "repository": plan.wanted.repository,
        "revision": plan.wanted.revision,
        "commit": plan.commit,
        "cache": str(place.cache),
        "folder": str(place.folder),
        "locks": str(place.locks),
        "snapshot": str(place.snapshot(plan.commit)),
        "files": [file.name for file in plan.files],
        "again": {file.name: file.digest for file in again},
        "blobs": blobs,
    }
    first = not place.snapshot(plan.commit).parent.is_dir()
    with _tidied(plan):
        if first:
            # So that an interrupted first pull shows as what it is. An update is remembered at the end: until then the
            # name stands for the revision that is whole.
            place.remember(plan.wanted.revision, plan.commit)
        with Worker("mlxk_pull.download_worker", job) as worker:
            _follow(worker, progress)
    place.remember(plan.wanted.revision, plan.commit)


def _follow(worker: Worker, progress: Progress) -> None:
    for report in worker.reports():
        if "bytes" in report:
            progress.at(report["bytes"])
        elif "note" in report:
            progress.note(report["note"])
        elif "error" in report:
            raise JobFailed(report["error"])
        elif "done" in report:
            return
    raise MlxkError(f"The download ended unexpectedly: {worker.last_words()}.", reason="crashed")


@contextmanager
def _tidied(plan: Plan) -> Iterator[None]:
    """By the time of the clean-up the child has ended, and with it whatever wrote to the cache."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"Stopped. {_tidy(plan)}") from None
    except MlxkError as error:
        error.args = (f"{error} {_tidy(plan)}",)
        raise
    except OSError as error:
        raise MlxkError(
            f"{error.filename or plan.place.cache} cannot be written: {error.strerror or error}. {_tidy(plan)}",
            reason="not_writable",
        ) from error
    except BaseException:
        _tidy(plan)
        raise
    else:
        remove_parts(plan.place.blobs, plan.place.locks)


def _tidy(plan: Plan) -> str:
    """Removes what is of no use to a later run; says what is kept."""
    remove_parts(plan.place.blobs, plan.place.locks)
    remove_shell(plan.place.folder, plan.commit)
    whole = len(plan.looked_at_again().held.whole)
    if not whole:
        return "Nothing of it is kept."
    return (
        f"{whole} of {len(plan.files)} files are complete and stay in the cache; the next pull takes them over and "
        "starts the others from their beginning."
    )
