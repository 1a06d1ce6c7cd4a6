"""Resolution: from what a user typed to a model on this machine."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from mlxk_core._errors import AmbiguousModel, BrokenModel, ModelError, ModelNotFound, RevisionNotFound, UnsupportedModel
from mlxk_core._host.specs import BackendSpec, CommandSpec, ModelSource, ModelSourceSpec, Verdict
from mlxk_core._models.cache import Repository, cached_repositories
from mlxk_core._models.files import weight_format
from mlxk_core._models.model import Model
from mlxk_core._models.references import (
    NameReference,
    PathReference,
    full_name,
    natural_key,
    parse_name,
    parse_reference,
    short_name,
)
from mlxk_core._models.similar import similar_name, similarity
from mlxk_core._models.variants import Variant
from mlxk_core._settings.settings import Settings

_SHORT = 7
_HUB = "hub"
_COMMIT = re.compile(r"[0-9a-f]{1,40}")
_SEPARATORS = re.compile(r"[-_/\s]+")


class Plugins(Protocol):
    """What resolution needs from the host."""

    def commands(self) -> Sequence[CommandSpec]: ...

    def model_sources(self) -> Sequence[tuple[ModelSourceSpec, ModelSource]]: ...

    @property
    def settings(self) -> Settings: ...

    def verdicts(self, model: Model) -> Sequence[tuple[BackendSpec, Verdict]]: ...


class Resolver:
    """Finds models in the hub cache, in the sources of plugins, and at paths. Every call reads the disk."""

    def __init__(self, host: Plugins) -> None:
        self._host = host

    def resolve(self, reference: str) -> Model:
        """Return the model to run.

        For a repository of GGUF files, this is one variant: the one `reference` names, else the only one, else the one
        that a backend accepts. Raises `ModelNotFound`, `AmbiguousModel` (models, revisions or variants),
        `RevisionNotFound`, `BrokenModel` (files of the variant are missing) and `UnsupportedModel` (no backend accepts
        any of several variants).
        """
        return self._to_run(self.find(reference))

    def find(self, reference: str) -> Model:
        """Return the model to show or to delete: a repository of GGUF files as a whole, unless a variant is named.

        A name may be prefixed with its origin (`hub:NAME`, `SOURCE:NAME`), be a part of the full name, or have a tag
        that narrows it (`qwen3:0.6b`). Raises `ModelNotFound`, `AmbiguousModel` and `RevisionNotFound`.
        """
        return self._with_settings(self._find(self._host.settings.expand(reference.strip())))

    def _find(self, text: str) -> Model:
        offers = self._offers()
        if exact := _with_origin(text, offers):
            return exact[0].model(exact[1])
        whole = [offer for offer in offers if offer.name == text]
        parsed = NameReference(text) if whole else parse_reference(text)
        if isinstance(parsed, PathReference):
            return _at_path(text, parsed.path)
        readings = [whole] if whole else list(_readings(parsed.name, offers))
        matches = readings[0] if readings else []
        if parsed.revision is not None and len(matches) > 1:
            matches = [offer for offer in matches if offer.has(parsed.revision)] or matches
        if parsed.variant and matches:
            matches, parsed = _narrowed([matches, *readings[1:]], parsed, parsed.variant)
        if not matches:
            raise _not_found(text, parsed, offers, {command.name for command in self._host.commands()})
        return _one(text, matches).model(parsed)

    def exact(self, name: str) -> Model | None:
        """Return the model to run of a listed name, `name@revision` or `name:VARIANT`; None if it is not listed.

        Paths and parts of names do not count, so a server can use it for names from clients. Raises as `resolve` does
        for a name that is listed but cannot be run.
        """
        found = self._exact(self._host.settings.expand(name))
        return None if found is None else self._to_run(self._with_settings(found))

    def _exact(self, name: str) -> Model | None:
        offers = self._offers()
        if found := _with_origin(name, offers):
            return found[0].model(found[1])
        parsed = NameReference(name)
        matches = [offer for offer in offers if offer.name == name]
        if not matches:
            parsed = parse_name(name)
            matches = _listed(parsed.name, offers)
        return _one(name, matches).model(parsed) if matches else None

    def _with_settings(self, model: Model) -> Model:
        return replace(model, settings=self._host.settings.for_model(model.name, model.variant))

    def all(self) -> list[Model]:
        """Return every model, sorted by name: of each repository the revision its bare name means, and what sources
        offer. A revision without files has none; a damaged model never raises here."""
        found = []
        for offer in self._offers():
            if offer.repository and (commit := offer.repository.main()):
                found.append(_snapshot(offer.repository, commit))
            elif offer.source:
                try:
                    found.append(offer.model(NameReference(offer.name)))
                except ModelError:
                    continue  # a known name without files
        return sorted(map(self._with_settings, found), key=lambda model: natural_key(model.name))

    def names(self) -> list[str]:
        """Return the name of every model, sorted. Reads no model and no settings."""
        return sorted({offer.name for offer in self._offers()}, key=natural_key)

    def unfinished(self) -> list[Model]:
        """Return the repositories with nothing but partial downloads, as models without files.

        Their names are not found by `find`, so that a run offers to pull them.
        """
        found = [each for each in cached_repositories() if not each.commits() and each.partial_downloads()]
        return [Model(name=each.name, path=each.snapshot(each.main() or "none"), origin="hub") for each in found]

    def _offers(self) -> list[_Offer]:
        stored = [_Offer(each.name, _HUB, repository=each) for each in cached_repositories() if each.commits()]
        offered = [
            _Offer(name, spec.name, source=source)
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
                f"`{_spelled(model, chosen)}` is incomplete: it has {len(chosen.files)} of {chosen.shards} files."
                f"{_pull_hint(f'{model.name}:{chosen.name}', model)}",
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
            return variants[0]  # no backend is for GGUF files; the host's error says which one would be
        listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason)
        raise UnsupportedModel(
            f"No variant of `{model.name}` can run here. {listed}", model=model.name, reasons=reasons
        )

    def _accepted(self, model: Model) -> bool:
        return any(verdict.accepted for _, verdict in self._host.verdicts(model))


@dataclass(frozen=True, slots=True)
class _Offer:
    """A name and where its model is: a repository of the cache (origin `hub`), or a source (origin: its name)."""

    name: str
    origin: str
    repository: Repository | None = None
    source: ModelSource | None = None

    @property
    def qualified(self) -> str:
        return f"{self.origin}:{self.name}"

    def has(self, revision: str) -> bool:
        return self.repository is not None and bool(_commits(self.repository, revision))

    def has_variant(self, reference: NameReference) -> bool:
        """Whether the model has the GGUF variant that `reference` names."""
        try:
            return self.model(reference).gguf_variant is not None
        except ModelError:
            return False

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
            raise ModelNotFound(self.name, hint=f"The source {self.origin} lists it but does not have it.")
        return found


def _listed(name: str, offers: Sequence[_Offer]) -> list[_Offer]:
    """Return the offers that are listed as `name`."""
    return [offer for offer in offers if offer.name == name] or [
        offer for offer in offers if short_name(offer.name) == name
    ]


def _readings(name: str, offers: Sequence[_Offer]) -> Iterator[list[_Offer]]:
    """Yield the offers that `name` may mean, by each reading that matches any, the strictest first."""
    folded = name.casefold()
    tokens = _tokens(name)
    readings: tuple[Callable[[str], bool], ...] = (
        lambda full: full == name,
        lambda full: short_name(full) == name,
        lambda full: folded in (full.casefold(), short_name(full).casefold()),
        lambda full: full.casefold().rpartition("/")[2] == folded,
        lambda full: bool(folded) and folded in full.casefold(),
        lambda full: len(tokens) > 1 and _in_order(tokens, _tokens(full)),
    )
    for matches in readings:
        if found := [offer for offer in offers if matches(offer.name)]:
            yield found


def _with_origin(text: str, offers: Sequence[_Offer]) -> tuple[_Offer, NameReference] | None:
    """Return the offer of `ORIGIN:NAME[@REVISION][:VARIANT]`; the name must be complete."""
    origin, separator, rest = text.partition(":")
    of_origin = [offer for offer in offers if separator and offer.origin == origin]
    for parsed in (NameReference(rest), parse_name(rest)):
        for offer in of_origin:
            if parsed.name in (offer.name, short_name(offer.name)):
                return offer, parsed
    return None


def _narrowed(readings: Sequence[list[_Offer]], parsed: NameReference, tag: str) -> tuple[list[_Offer], NameReference]:
    """Return the matches that `tag` leaves of the strictest reading that it fits: those with a variant of that name,
    else those with it in their names. Without any, those of the first reading."""
    in_name = re.compile(rf"(?<![a-z0-9.]){re.escape(tag)}(?![a-z0-9])", re.IGNORECASE)
    for matches in readings:
        if with_variant := [offer for offer in matches if offer.has_variant(parsed)]:
            return with_variant, parsed
        if tagged := [offer for offer in matches if in_name.search(offer.name)]:
            return tagged, replace(parsed, variant=None)
    return readings[0], parsed


def _one(reference: str, matches: Sequence[_Offer]) -> _Offer:
    if len(matches) == 1:
        return matches[0]
    # The same name in two places needs its origin.
    count = Counter(offer.name for offer in matches)
    ranked = sorted(matches, key=lambda offer: (-similarity(reference, offer.name), natural_key(offer.name)))
    raise AmbiguousModel(reference, [offer.qualified if count[offer.name] > 1 else offer.name for offer in ranked])


def _tokens(name: str) -> list[str]:
    return [token for token in _SEPARATORS.split(name.casefold()) if token]


def _in_order(tokens: Iterable[str], of: Iterable[str]) -> bool:
    rest = iter(of)
    return all(token in rest for token in tokens)


def _snapshot(repository: Repository, commit: str) -> Model:
    return Model(name=repository.name, path=repository.snapshot(commit), origin="hub", revision=commit)


def _commit(repository: Repository, revision: str | None) -> str:
    """Return the commit that `revision` means (None: the main one). Raises unless its files are in the cache."""
    if revision is None:
        main = repository.main()
        if main and repository.snapshot(main).is_dir():
            return main
        raise RevisionNotFound(
            f"The files of `{repository.name}` at its current revision {(main or '')[:_SHORT]} are missing. Local "
            f"revisions: {_spelled_revisions(repository)}. Run `mlxk pull {repository.name}` to download it.",
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
            f"`{repository.name}` has no local revision `{revision}`. Local revisions: "
            f"{_spelled_revisions(repository)}. Run `mlxk pull {repository.name}@{revision}` to download it.",
            model=repository.name,
            revision=revision,
            available=list(repository.commits()),
        )
    return commits[0]


def _commits(repository: Repository, revision: str) -> list[str]:
    """Return the local commits that `revision` may mean: a branch or tag, or the beginning of a commit."""
    local = repository.commits()
    named = repository.refs().get(revision)
    if named in local:
        return [named]
    prefix = revision.lower()
    return [commit for commit in local if commit.startswith(prefix)] if _COMMIT.fullmatch(prefix) else []


def _spelled_revisions(repository: Repository) -> str:
    names: dict[str, list[str]] = {commit: [] for commit in repository.commits()}
    for ref, commit in repository.refs().items():
        if commit in names:
            names[commit].append(ref)
    return ", ".join(" = ".join([*refs, commit[:_SHORT]]) for commit, refs in names.items())


def _with_variant(model: Model, name: str) -> Model:
    for variant in model.variants:
        if variant.name.casefold() == name.casefold():
            return replace(model, variant=variant.name)
    reference = f"{model.name}:{name}"
    if not model.variants:
        raise ModelNotFound(reference, hint=f"`{model.name}` has no GGUF variants.")
    local = ", ".join(_spelled(model, variant) for variant in model.variants)
    hint = f"Local variants: {local}.{_pull_hint(reference, model)}"
    raise ModelNotFound(reference, hint=hint, pullable=model.origin == "hub")


def _spelled(model: Model, variant: Variant) -> str:
    """Return the reference of a variant."""
    if model.origin == "path":
        folder = model.path if model.path.is_dir() else model.path.parent
        return str(folder / variant.files[0])
    return f"{model.name}:{variant.name}"


def _is_variant_file(model: Model) -> bool:
    """Return whether the model is a single `.gguf` file, not a shard."""
    return not model.path.is_dir() and len(model.variants) == 1 and model.variants[0].shards == 1


def _at_path(text: str, path: Path) -> Model:
    path = path.absolute()
    if path.is_dir():
        if not _holds_model(path):
            raise ModelNotFound(text, hint="The folder has no config.json and no weights.")
        return Model(name=path.resolve().name, path=path)
    if path.is_file():
        if path.suffix.lower() == ".gguf":
            return Model(name=path.name, path=path)
        raise ModelNotFound(text, hint="It is neither a folder nor a .gguf file.")
    raise ModelNotFound(text, hint="No such file or folder.")


def _holds_model(folder: Path) -> bool:
    """Search the top and one level below only: the folder may be a home directory."""
    try:
        names = [path.name for path in folder.iterdir()]
    except PermissionError as error:
        raise BrokenModel(f"Permission denied: cannot read {folder}.", path=str(folder)) from error
    if "config.json" in names or any(weight_format(name) for name in names):
        return True
    return next(folder.glob("*/*.gguf"), None) is not None


def _not_found(
    text: str, reference: NameReference, offers: Sequence[_Offer], commands: Collection[str]
) -> ModelNotFound:
    """Return the error, with a hint that uses only `commands` that are installed."""
    if _is_model_folder(text):
        return ModelNotFound(text, hint=f"To use the folder of that name, write `./{text}`.")
    if "/" not in text and (similar := similar_name(reference.name, [offer.name for offer in offers])):
        return ModelNotFound(text, hint=f"Did you mean `{short_name(similar)}`?")
    if reference.is_hub_name:
        steps = {"pull": f"`mlxk pull {text}` downloads it from the hub"}
    else:
        reference = replace(reference, name=full_name(reference.name))
        steps = {
            "list": "`mlxk list --all` shows local models",
            "pull": "`mlxk pull ORG/NAME` downloads one from the hub",
        }
    hint = "; ".join(step for command, step in steps.items() if command in commands)
    return ModelNotFound(
        text, hint=f"{hint or 'Name a folder or a .gguf file by its path'}.", pullable=reference.is_hub_name
    )


def _is_model_folder(text: str) -> bool:
    try:
        return Path(text).is_dir() and _holds_model(Path(text))
    except OSError:  # too long for a file name, say
        return False
    except BrokenModel:
        return True


def _pull_hint(reference: str, model: Model) -> str:
    return f" Run `mlxk pull {reference}` to download it." if model.origin == "hub" else ""
