"""Resolution: the one place where what a user typed becomes a model on this machine."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from mlxk_core._errors import AmbiguousModel, BrokenModel, ModelError, ModelNotFound, RevisionNotFound, UnsupportedModel
from mlxk_core._host.specs import BackendSpec, CommandSpec, ModelSource, ModelSourceSpec, Verdict
from mlxk_core._models.cache import Repository, cached_repositories
from mlxk_core._models.files import weight_format
from mlxk_core._models.model import Model
from mlxk_core._models.references import NameReference, PathReference, parse_name, parse_reference
from mlxk_core._models.variants import Variant

_SHORT = 7
_DEFAULT_OWNER = "mlx-community/"
_COMMIT = re.compile(r"[0-9a-f]{1,40}")


class Plugins(Protocol):
    """What resolution asks of the host."""

    def commands(self) -> Sequence[CommandSpec]: ...

    def model_sources(self) -> Sequence[tuple[ModelSourceSpec, ModelSource]]: ...

    def verdicts(self, model: Model) -> Sequence[tuple[BackendSpec, Verdict]]: ...


class Resolver:
    """Finds models in the hub cache, in the sources of plugins, and at paths. The disk is read at every call."""

    def __init__(self, host: Plugins) -> None:
        self._host = host

    def resolve(self, reference: str) -> Model:
        """The model to run. Of a repository of GGUF files it is one variant: the one `reference` names, else the only
        one, else the one that a backend accepts.

        Raises `ModelNotFound`, `AmbiguousModel` (models, revisions or variants), `RevisionNotFound`, `BrokenModel` (the
        variant's files are not all there) and `UnsupportedModel` (none of several variants can be run).
        """
        return self._to_run(self.find(reference))

    def find(self, reference: str) -> Model:
        """The model as it lies there, to look at or to delete: a repository of GGUF files stays whole, unless
        `reference` names a variant. Raises `ModelNotFound`, `AmbiguousModel` and `RevisionNotFound`."""
        text = reference.strip()
        offers = self._offers()
        whole = [offer for offer in offers if offer.name == text]
        parsed = NameReference(text) if whole else parse_reference(text)
        if isinstance(parsed, PathReference):
            return _at_path(text, parsed.path)
        fitting = whole or _fitting(parsed.name, offers)
        if parsed.revision is not None and len(fitting) > 1:
            fitting = [offer for offer in fitting if offer.has(parsed.revision)] or fitting
        if not fitting:
            raise _not_found(text, parsed, {command.name for command in self._host.commands()})
        return _one(text, fitting).model(parsed)

    def exact(self, name: str) -> Model | None:
        """The model to run of that listed name, `name@revision` or `name:VARIANT`; None if no list has it. A path or a
        part of a name means nothing here, so a server can take it from strangers. Raises as `resolve` does for a name
        that is listed but cannot be had."""
        offers = self._offers()
        parsed = NameReference(name)
        fitting = [offer for offer in offers if offer.name == name]
        if not fitting:
            parsed = parse_name(name)
            fitting = _fitting(parsed.name, offers, listed=True)
        return self._to_run(_one(name, fitting).model(parsed)) if fitting else None

    def all(self) -> list[Model]:
        """Every model here by name: of each repository the revision its bare name stands for (its files may be missing:
        then the model has none), and what sources can offer now. A damaged one never raises here."""
        found = []
        for offer in self._offers():
            if offer.repository and (commit := offer.repository.main()):
                found.append(_snapshot(offer.repository, commit))
            elif offer.source:
                try:
                    found.append(offer.model(NameReference(offer.name)))
                except ModelError:
                    continue  # its name is known, its files are not here
        return sorted(found, key=lambda model: (model.name.casefold(), model.name))

    def unfinished(self) -> list[Model]:
        """The repositories of which there is nothing but parts of a download: models without files, to be told about.
        Whoever wants to run one finds nothing under its name, so that it is pulled."""
        found = [each for each in cached_repositories() if not each.commits() and each.parts()]
        return [Model(name=each.name, path=each.snapshot(each.main() or "none"), origin="hub") for each in found]

    def _offers(self) -> list[_Offer]:
        stored = [_Offer(each.name, repository=each) for each in cached_repositories() if each.commits()]
        offered = [
            _Offer(name, source=source, origin=spec.name)
            for spec, source in self._host.model_sources()
            for name in dict.fromkeys(source.names())
        ]
        return stored + offered

    def _to_run(self, model: Model) -> Model:
        if not model.variants or _is_variant_file(model):
            return model
        if model.gguf_variant is None:
            if model.has_other_weights and self._accepted(model):
                return model
            model = replace(model, variant=self._variant_to_run(model).name)
        chosen = model.gguf_variant
        if chosen and not chosen.complete:
            raise BrokenModel(
                f"`{_spelled(model, chosen)}` is not complete: {len(chosen.files)} of its {chosen.shards} files are "
                f"here.{_pull_hint(f'{model.name}:{chosen.name}', model)}",
                model=model.name,
                variant=chosen.name,
            )
        return model

    def _variant_to_run(self, model: Model) -> Variant:
        variants = [each for each in model.variants if each.complete] or list(model.variants)
        if len(variants) == 1:
            return variants[0]
        reasons = {}
        accepted = []
        for variant in variants:
            verdicts = self._host.verdicts(replace(model, variant=variant.name))
            if any(verdict.accepted for _, verdict in verdicts):
                accepted.append(variant)
            refused = [verdict.reason for _, verdict in verdicts if verdict.answer == "no"]
            reasons[variant.name] = "; ".join(refused)
        if len(accepted) == 1:
            return accepted[0]
        if accepted:
            raise AmbiguousModel(model.name, [_spelled(model, each) for each in accepted], what="variants")
        if not any(reasons.values()):
            return variants[0]  # nothing here is for GGUF files at all; the host says what would be
        told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason)
        raise UnsupportedModel(
            f"None of the variants of `{model.name}` can be run here. {told}", model=model.name, reasons=reasons
        )

    def _accepted(self, model: Model) -> bool:
        return any(verdict.accepted for _, verdict in self._host.verdicts(model))


@dataclass(frozen=True, slots=True)
class _Offer:
    """A name, and who has the model: a repository of the cache or a source."""

    name: str
    repository: Repository | None = None
    source: ModelSource | None = None
    origin: str = ""

    @property
    def label(self) -> str:
        return f"{self.name} ({f'source {self.origin}' if self.source else 'hub cache'})"

    def has(self, revision: str) -> bool:
        return self.repository is not None and bool(_commits(self.repository, revision))

    def model(self, reference: NameReference) -> Model:
        if self.repository:
            model = _snapshot(self.repository, _commit(self.repository, reference.revision))
        else:
            model = self._from_source(reference)
        return model if reference.variant is None else _with_variant(model, reference.variant)

    def _from_source(self, reference: NameReference) -> Model:
        if reference.revision is not None:
            raise RevisionNotFound(
                f"`{self.name}` comes from the source {self.origin} and has no revisions.", model=self.name
            )
        found = self.source.find(self.name) if self.source else None
        if found is None:
            raise ModelNotFound(self.name, hint=f"The source {self.origin} names it but does not have it.")
        return found


def _fitting(name: str, offers: Sequence[_Offer], *, listed: bool = False) -> list[_Offer]:
    """The offers that `name` means, by the strictest reading under which it means any. `listed`: only as lists have
    it."""
    folded = name.casefold()
    readings: tuple[Callable[[str], bool], ...] = (
        lambda full: full == name,
        lambda full: _short(full) == name,
        lambda full: folded in (full.casefold(), _short(full).casefold()),
        lambda full: bool(folded) and folded in full.casefold(),
    )
    for fits in readings[:2] if listed else readings:
        if found := [offer for offer in offers if fits(offer.name)]:
            return found
    return []


def _one(reference: str, fitting: Sequence[_Offer]) -> _Offer:
    if len(fitting) == 1:
        return fitting[0]
    # The same name from two places can only be told apart by the place.
    seen = Counter(offer.name for offer in fitting)
    raise AmbiguousModel(reference, [offer.label if seen[offer.name] > 1 else offer.name for offer in fitting])


def _short(name: str) -> str:
    return name.removeprefix(_DEFAULT_OWNER)


def _snapshot(repository: Repository, commit: str) -> Model:
    return Model(name=repository.name, path=repository.snapshot(commit), origin="hub", revision=commit)


def _commit(repository: Repository, revision: str | None) -> str:
    """The one commit of `repository` that `revision` means (None: its main one) and whose files are here."""
    if revision is None:
        main = repository.main()
        if main and repository.snapshot(main).is_dir():
            return main
        raise RevisionNotFound(
            f"`{repository.name}` is at {(main or '')[:_SHORT]}, and the files of that revision are not here. "
            f"Here are: {_spelled_revisions(repository)}. `mlxk pull {repository.name}` gets the others.",
            model=repository.name,
            revision=main,
            available=list(repository.commits()),
        )
    commits = _commits(repository, revision)
    if len(commits) > 1:
        raise AmbiguousModel(
            f"{repository.name}@{revision}",
            [f"{repository.name}@{commit[:12]}" for commit in commits],
            what="revisions",
        )
    if not commits:
        raise RevisionNotFound(
            f"`{repository.name}` has no revision `{revision}` on this machine. Here are: "
            f"{_spelled_revisions(repository)}. `mlxk pull {repository.name}@{revision}` asks the hub for it.",
            model=repository.name,
            revision=revision,
            available=list(repository.commits()),
        )
    return commits[0]


def _commits(repository: Repository, revision: str) -> list[str]:
    """The commits whose files are here and that `revision` may mean: a branch or tag, or the beginning of a commit."""
    here = repository.commits()
    named = repository.refs().get(revision)
    if named in here:
        return [named]
    prefix = revision.lower()
    return [commit for commit in here if commit.startswith(prefix)] if _COMMIT.fullmatch(prefix) else []


def _spelled_revisions(repository: Repository) -> str:
    names: dict[str, list[str]] = {commit: [] for commit in repository.commits()}
    for ref, commit in repository.refs().items():
        if commit in names:
            names[commit].append(ref)
    return ", ".join(" = ".join([*refs, commit[:_SHORT]]) for commit, refs in names.items())


def _with_variant(model: Model, asked: str) -> Model:
    for variant in model.variants:
        if variant.name.casefold() == asked.casefold():
            return replace(model, variant=variant.name)
    reference = f"{model.name}:{asked}"
    if not model.variants:
        raise ModelNotFound(reference, hint=f"`{model.name}` is here, but holds no GGUF variants.")
    here = ", ".join(_spelled(model, variant) for variant in model.variants)
    hint = f"Here are: {here}.{_pull_hint(reference, model)}"
    raise ModelNotFound(reference, hint=hint, pullable=model.origin == "hub")


def _spelled(model: Model, variant: Variant) -> str:
    """How a user names that variant."""
    if model.origin == "path":
        folder = model.path if model.path.is_dir() else model.path.parent
        return str(folder / variant.files[0])
    return f"{model.name}:{variant.name}"


def _is_variant_file(model: Model) -> bool:
    """A `.gguf` file that stands for itself, and is no shard of several."""
    return not model.path.is_dir() and len(model.variants) == 1 and model.variants[0].shards == 1


def _at_path(text: str, path: Path) -> Model:
    path = path.absolute()
    if path.is_dir():
        if not _holds_model(path):
            raise ModelNotFound(text, hint="That folder holds no config.json and no weights.")
        return Model(name=path.resolve().name, path=path)
    if path.is_file():
        if path.suffix.lower() == ".gguf":
            return Model(name=path.name, path=path)
        raise ModelNotFound(text, hint="That is neither a folder nor a .gguf file.")
    raise ModelNotFound(text, hint="There is no such file or folder.")


def _holds_model(folder: Path) -> bool:
    """Looked for at the top and one level deeper only: the folder may be somebody's home."""
    try:
        names = [path.name for path in folder.iterdir()]
    except PermissionError as error:
        raise BrokenModel(f"{folder} may not be read.", path=str(folder)) from error
    if "config.json" in names or any(weight_format(name) for name in names):
        return True
    return next(folder.glob("*/*.gguf"), None) is not None


def _not_found(text: str, reference: NameReference, commands: Collection[str]) -> ModelNotFound:
    """What to do next is told with those of mlxk's `commands` that are here."""
    if _is_model_folder(text):
        return ModelNotFound(
            text, hint=f"There is a folder of that name here: a path begins with `./`, as in `./{text}`."
        )
    if reference.is_hub_name:
        steps = {"pull": f"`mlxk pull {text}` downloads it from the hub"}
    else:
        reference = replace(reference, name=_DEFAULT_OWNER + reference.name)
        steps = {
            "list": "`mlxk list --all` shows what is here",
            "pull": "`mlxk pull ORG/NAME` downloads a model from the hub",
        }
    told = ", ".join(step for command, step in steps.items() if command in commands)
    hint = f"{told or 'A folder or a .gguf file is named by its path'}."
    return ModelNotFound(text, hint=hint, pullable=reference.is_hub_name)


def _is_model_folder(text: str) -> bool:
    try:
        return Path(text).is_dir() and _holds_model(Path(text))
    except OSError:  # too long for a file name, say
        return False
    except BrokenModel:
        return True


def _pull_hint(reference: str, model: Model) -> str:
    return f" `mlxk pull {reference}` downloads it." if model.origin == "hub" else ""
