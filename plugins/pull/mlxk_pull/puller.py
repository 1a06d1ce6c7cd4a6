"""One pull: preflight, download or repair, verification, and the result."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mlxk_core.api.commands import Session, escape_control
from mlxk_core.api.errors import AccessDenied, BrokenModel, HubUnavailable, Interrupted, MlxkError, RevisionNotFound
from mlxk_core.api.models import Model, check_health
from mlxk_core.api.text import human_size, plural
from mlxk_hub.checksums import files_that_differ
from mlxk_hub.client import HubClient, RemoteFile
from mlxk_hub.errors import NotOnHub
from mlxk_hub.retry import RetryPolicy
from mlxk_pull.cleanup import remove_partial_files
from mlxk_pull.download import download, pending
from mlxk_pull.local_state import LocalRepository
from mlxk_pull.preflight import DownloadPlan, check_space, preflight
from mlxk_pull.progress import show_progress
from mlxk_pull.selection import Filter
from mlxk_pull.target import Target

_NOTHING = "Nothing was written."


@dataclass(frozen=True, slots=True)
class Options:
    """What to download of a model, and how."""

    filter: Filter
    dry_run: bool = False
    verify: bool = False
    force: bool = False
    progress_json: bool = False


class Puller:
    """Pulls models one after the other with the same options."""

    def __init__(self, session: Session, options: Options) -> None:
        self._session, self._options = session, options
        self._output = session.output

    def pull(self, name: str, target: Target) -> dict[str, Any]:
        """Make `target` complete in the cache, and return what `--json` prints. `name` is what the user typed."""
        if source := self._source_of(name):
            self._output.line(f"`{name}` comes with the source {source}; nothing to pull.")
            return {"model": name, "status": "already_there", "source": source}
        if "/" not in name:
            self._output.status(f"Using {target.repository}.")
        try:
            plan = self._preflight(target)
            if plan is None:
                return self._without_hub(target)
            redo = self._files_to_redo(plan)
            if self._options.dry_run:
                return self._dry_run(plan, redo)
            if redo or plan.states.missing:
                check_space(plan, pending(plan, redo).remaining)
        except KeyboardInterrupt:
            raise Interrupted(f"Stopped. {_NOTHING}") from None
        except MlxkError as error:
            raise error.with_hint(_NOTHING) from error
        except PermissionError as error:
            raise MlxkError(
                f"Permission denied: cannot read {error.filename}. {_NOTHING}", reason="not_readable"
            ) from error
        if plan.complete and not redo:
            return self._already_there(plan)
        return self._download(plan, redo)

    def _preflight(self, target: Target) -> DownloadPlan | None:
        """Return the plan; None if the hub is unavailable and the local copy is healthy."""
        options = self._options
        needs_hub = options.verify or options.force or not options.filter.is_default
        healthy_copy = not needs_hub and _has_healthy_copy(target)
        policy = RetryPolicy(tries=1) if healthy_copy else RetryPolicy(on_wait=self._output.status)
        try:
            return preflight(HubClient(policy), target, options.filter)
        except (AccessDenied, HubUnavailable, NotOnHub, RevisionNotFound) as error:
            if not healthy_copy:
                raise
            self._output.status(f"Cannot check for a newer revision: {error}")
            return None

    def _files_to_redo(self, plan: DownloadPlan) -> tuple[RemoteFile, ...]:
        """Return the existing files that must be downloaded again."""
        if self._options.force:
            return plan.files
        if plan.complete and (self._options.verify or not check_health(_model(plan)).healthy):
            if self._options.verify:
                self._output.status("Comparing checksums.")
            return files_that_differ(plan.repository.snapshot(plan.commit), plan.files)
        return plan.states.damaged

    def _already_there(self, plan: DownloadPlan) -> dict[str, Any]:
        # The cache may be read-only; a model that is complete needs no writing.
        with suppress(OSError):
            plan.repository.write_ref(plan.target.revision, plan.commit)
        self._remove_partial_files(plan.repository, plan.target)
        self._check_health(plan)
        verified = self._options.verify
        self._output.line(f"{plan.label} is already here and healthy{'; all checksums match' if verified else ''}.")
        return _data(plan, "already_there", verified=verified or None)

    def _download(self, plan: DownloadPlan, redo: tuple[RemoteFile, ...]) -> dict[str, Any]:
        options = self._options
        wanted = pending(plan, redo)
        repairing = not options.force and (bool(redo) or _lacks_only_links(plan, redo))
        self._output.status(f"{'Repairing' if repairing else 'Downloading'} {plan.label}: {_amount(plan, redo)}.")
        with show_progress(
            self._output,
            plan.target.repository,
            wanted.size,
            done=wanted.saved,
            revision=plan.commit if options.progress_json else None,
        ) as progress:
            download(plan, redo, progress)
            if options.verify:
                progress.note("Comparing checksums.")
                snapshot = plan.repository.snapshot(plan.commit)
                if differing := files_that_differ(snapshot, plan.files):
                    download(plan.refresh(), differing, progress)
                    _check_contents(plan, files_that_differ(snapshot, plan.files))
        plan = plan.refresh()
        self._check_health(plan)
        status = "repaired" if repairing else "downloaded"
        self._output.line(
            f"{status.capitalize()} {plan.label}: {plural(len(plan.files), 'file')}, {human_size(plan.size)}."
        )
        return _data(plan, status, downloaded=wanted.size, redo=redo, verified=options.verify or None)

    def _dry_run(self, plan: DownloadPlan, redo: tuple[RemoteFile, ...]) -> dict[str, Any]:
        wanted = pending(plan, redo)
        check_space(plan, wanted.remaining)
        digests = {file.digest for file in wanted.files}
        for file in plan.files:
            mark = "download" if file.digest in digests else "present"
            self._output.line(f"{human_size(file.size):>9}  {mark:8}  {escape_control(file.name)}")
        if wanted.files:
            self._output.line(f"Would download {plan.label}: {_amount(plan, redo)}.")
        else:
            self._output.line(f"{plan.label} is already here; nothing would be downloaded.")
        return _data(plan, "dry_run", downloaded=wanted.size, redo=redo)

    def _without_hub(self, target: Target) -> dict[str, Any]:
        """Report the healthy local copy, which a pull without the hub leaves unchanged."""
        repository = LocalRepository.of(target.repository)
        commit = repository.commit(target.revision)
        assert commit is not None  # the healthy copy is of this commit
        if not self._options.dry_run:
            self._remove_partial_files(repository, target)
        self._output.line(f"{target.reference} ({commit[:7]}) is already here and healthy.")
        model = repository.model(commit, target.variant)
        return {
            "model": target.repository,
            "revision": commit,
            "variant": target.variant,
            "status": "dry_run" if self._options.dry_run else "already_there",
            "path": str(model.path),
            "size_bytes": model.size,
            "downloaded_bytes": 0,
            "files": [{"name": file.name, "size_bytes": file.size, "download": False} for file in model.files],
            "verified": None,
        }

    def _remove_partial_files(self, repository: LocalRepository, target: Target) -> None:
        # Next to a variant, a partial file may be that of another one, which a later pull resumes.
        resumable = target.variant is None
        if removed := remove_partial_files(repository.blobs, repository.locks, resumable=resumable):
            self._output.status(f"Removed {plural(removed, 'partial file')} of an interrupted download.")

    def _check_health(self, plan: DownloadPlan) -> None:
        """Raise `BrokenModel` for a damaged model, unless the user's filter left files out."""
        if not self._options.filter.is_default:
            return
        health = check_health(_model(plan))
        if not health.healthy:
            raise BrokenModel(
                f"`{plan.target.reference}` matches the hub, but the published files are damaged: "
                f"{' '.join(problem.message for problem in health.problems)}",
                data=_data(plan, "downloaded"),
                model=plan.target.repository,
                revision=plan.commit,
            )

    def _source_of(self, name: str) -> str | None:
        for spec, source in self._session.host.model_sources():
            if name in source.names() and source.find(name) is not None:
                return spec.name
        return None


def _model(plan: DownloadPlan) -> Model:
    return plan.repository.model(plan.commit, plan.target.variant)


def _has_healthy_copy(target: Target) -> bool:
    repository = LocalRepository.of(target.repository)
    commit = repository.commit(target.revision)
    if not commit or not repository.snapshot(commit).is_dir():
        return False
    return check_health(repository.model(commit, target.variant)).healthy


def _lacks_only_links(plan: DownloadPlan, redo: tuple[RemoteFile, ...]) -> bool:
    return not pending(plan, redo).files and plan.repository.snapshot(plan.commit).is_dir()


def _check_contents(plan: DownloadPlan, differing: Iterable[RemoteFile]) -> None:
    if names := [file.name for file in differing]:
        raise BrokenModel(
            f"`{plan.target.reference}`: the hub's files differ from its own checksums: {', '.join(names)}.",
            model=plan.target.repository,
            revision=plan.commit,
            files=names,
        )


def _amount(plan: DownloadPlan, redo: tuple[RemoteFile, ...]) -> str:
    """Return the size of a download as text: `62.9 MB to download`."""
    wanted = pending(plan, redo)
    if not wanted.files:
        return "only links are missing"
    text = f"{human_size(wanted.remaining)} to download"
    present = plan.size - wanted.remaining
    return f"{text}, {human_size(present)} already here" if present > 0 else text


def _data(
    plan: DownloadPlan,
    status: str,
    *,
    downloaded: int = 0,
    redo: tuple[RemoteFile, ...] = (),
    verified: bool | None = None,
) -> dict[str, Any]:
    digests = {file.digest for file in pending(plan, redo).files} if status == "dry_run" else set()
    return {
        "model": plan.target.repository,
        "revision": plan.commit,
        "variant": plan.target.variant,
        "status": status,
        "path": str(plan.repository.snapshot(plan.commit)),
        "size_bytes": plan.size,
        "downloaded_bytes": downloaded,
        "files": [
            {"name": file.name, "size_bytes": file.size, "download": file.digest in digests} for file in plan.files
        ],
        "verified": verified,
    }
