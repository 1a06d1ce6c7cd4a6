"""Download of a plan's files in a child process, and the state of the cache afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from mlxk_core.api.errors import Interrupted, MlxkError
from mlxk_hub.client import MAIN, RemoteFile
from mlxk_hub.subprocess_job import JobProcess
from mlxk_pull.cleanup import despite_cleanups, remove_empty_repository, remove_locks, remove_partial_files
from mlxk_pull.disk_errors import write_error
from mlxk_pull.messages import Downloaded, DownloadJob, JobFile, Report
from mlxk_pull.preflight import DownloadPlan, check_space
from mlxk_pull.progress import Progress, file_size


@dataclass(frozen=True, slots=True)
class Pending:
    """The files to download, one for each content. `saved`: bytes of them that an interrupted pull left."""

    files: tuple[RemoteFile, ...]
    saved: int

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def remaining(self) -> int:
        return self.size - self.saved


def pending(plan: DownloadPlan, redo: Iterable[RemoteFile]) -> Pending:
    """Return what a download of the plan fetches: its missing files, and those in `redo` whatever the cache has."""
    files = {file.digest: file for file in redo}
    for file in plan.states.missing:
        if not (plan.repository.blobs / file.digest).exists():
            files[file.digest] = file
    saved = sum(min(file_size(plan.repository.partial(file)), file.size) for file in files.values())
    return Pending(tuple(files.values()), saved)


def download(plan: DownloadPlan, redo: tuple[RemoteFile, ...], progress: Progress) -> None:
    """Download what is missing and the files in `redo`. The revision's reference is written when all are complete."""
    wanted = pending(plan, redo)
    check_space(plan, wanted.remaining)
    repository, again = plan.repository, {file.name for file in redo}
    digests = {file.digest for file in wanted.files}
    complete = sum({file.digest: file.size for file in plan.files if file.digest not in digests}.values())
    job = DownloadJob(
        repository=plan.target.repository,
        revision=plan.target.revision or MAIN,
        commit=plan.commit,
        cache=str(repository.cache),
        folder=str(repository.folder),
        locks=str(repository.locks),
        files=tuple(
            JobFile(file.name, file.size, file.digest, file.large, redo=file.name in again) for file in plan.files
        ),
    )
    first = not repository.snapshot(plan.commit).parent.is_dir()
    with _cleaning_up(plan):
        if first:
            # An interrupted first pull can then be recognized. An update is recorded at the end: until then the name
            # refers to the complete revision.
            despite_cleanups(lambda: repository.write_ref(plan.target.revision, plan.commit))
        process: JobProcess[Report] = JobProcess("mlxk_pull.download_worker", job, Report)
        with process:
            for report in process.reports():
                if isinstance(report, Downloaded):
                    progress.update(max(0, report.bytes - complete))
                else:
                    progress.note(report.text)
    despite_cleanups(lambda: repository.write_ref(plan.target.revision, plan.commit))


@contextmanager
def _cleaning_up(plan: DownloadPlan) -> Iterator[None]:
    """Clean up after the child has ended, and add a sentence about what is kept to an error."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"Stopped. {_clean_up(plan)}") from None
    except OSError as error:
        raise write_error(error, plan.repository.cache).with_hint(_clean_up(plan)) from error
    except MlxkError as error:
        raise error.with_hint(_clean_up(plan)) from error
    except BaseException:
        _clean_up(plan)
        raise
    else:
        _clean_up(plan)


def _clean_up(plan: DownloadPlan) -> str:
    """Remove what no later pull can use, and return a sentence about what is kept."""
    repository = plan.repository
    with suppress(OSError):
        remove_partial_files(repository.blobs, repository.locks)
        remove_locks(repository.locks)
        remove_empty_repository(repository.folder, repository.locks, plan.commit)
    complete = len(plan.refresh().states.complete)
    partial = [file for file in plan.files if file_size(repository.partial(file))]
    if not complete and not partial:
        return "Nothing was kept."
    kept = f"{complete} of {len(plan.files)} files are saved"
    if partial:
        kept += f", and part of {partial[0].name if len(partial) == 1 else f'{len(partial)} more'}"
    return f"{kept}. Run the same command to download the rest."
