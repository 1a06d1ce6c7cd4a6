"""Resolution: from what a user typed to a model on this machine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from mlxk_core._errors import AmbiguousModel, ModelError, ModelNotFound
from mlxk_core._host.specs import BackendSpec, CommandSpec, ModelSource, ModelSourceSpec, Verdict
from mlxk_core._models.cache import Repository, cached_repositories, cached_repository, unreadable_cache
from mlxk_core._models.local_paths import is_model_folder, model_at
from mlxk_core._models.model import Model
from mlxk_core._models.offers import Offer, listed_as, narrow, only_one, readings_of, with_origin
from mlxk_core._models.references import (
    NameReference,
    PathReference,
    full_name,
    natural_key,
    parse_name,
    parse_reference,
    short_name,
    without_hub,
)
from mlxk_core._models.revisions import snapshot_at
from mlxk_core._models.similar_names import similar_name
from mlxk_core._models.variant_choice import variant_to_run, with_variant
from mlxk_core._settings.settings import Settings

_HUB = "hub"


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
        return variant_to_run(self.find(reference), self._host.verdicts)

    def find(self, reference: str) -> Model:
        """Return the model to show or to delete: a repository of GGUF files as a whole, unless a variant is named.

        A name may be prefixed with its origin (`hub:NAME`, `SOURCE:NAME`), be a part of the full name, or have a tag
        that narrows it (`qwen3:0.6b`). The address of its page on the hub is a name too. Raises `ModelNotFound`,
        `AmbiguousModel` and `RevisionNotFound`.
        """
        return self._with_settings(self._find(without_hub(self._host.settings.expand(reference.strip()))))

    def _find(self, text: str) -> Model:
        offers = self._offers(cached_repositories(), _repositories_named(text))
        if exact := with_origin(text, offers):
            return exact[0].model(exact[1])
        whole = [offer for offer in offers if offer.name == text]
        parsed = NameReference(text) if whole else parse_reference(text)
        if isinstance(parsed, PathReference):
            return model_at(text, parsed.path)
        readings = [whole] if whole else list(readings_of(parsed.name, offers))
        matches = readings[0] if readings else []
        if parsed.revision is not None and len(matches) > 1:
            matches = [offer for offer in matches if offer.has(parsed.revision)] or matches
        if parsed.variant and matches:
            matches, parsed = narrow([matches, *readings[1:]], parsed, parsed.variant)
        if not matches:
            raise _not_found(text, parsed, offers, {command.name for command in self._host.commands()})
        return only_one(text, matches).model(parsed)

    def exact(self, name: str) -> Model | None:
        """Return the model to run of a listed name, `name@revision` or `name:VARIANT`; None if it is not listed.

        Paths and parts of names do not count, so a server can use it for names from clients. Raises as `resolve` does
        for a name that is listed but cannot be run.
        """
        found = self._exact(self._host.settings.expand(name))
        return None if found is None else variant_to_run(self._with_settings(found), self._host.verdicts)

    def _exact(self, name: str) -> Model | None:
        offers = self._offers(_repositories_named(name))
        if found := with_origin(name, offers):
            return found[0].model(found[1])
        parsed = NameReference(name)
        matches = [offer for offer in offers if offer.name == name]
        if not matches:
            parsed = parse_name(name)
            matches = listed_as(parsed.name, offers)
        return only_one(name, matches).model(parsed) if matches else None

    def _with_settings(self, model: Model) -> Model:
        return replace(model, settings=self._host.settings.for_model(model.name, model.variant))

    def runnable(self, model: Model) -> list[tuple[str, Model]]:
        """Return the names and models to run of a model that `all` returned: itself, or each runnable variant of a
        repository of GGUF files that has several. Raises as `resolve` does."""
        if not model.variants:
            return [(model.name, model)]
        verdicts = self._host.verdicts
        try:
            return [(model.name, variant_to_run(model, verdicts))]
        except AmbiguousModel as error:
            names = [name.removeprefix(f"{model.name}:") for name in error.candidates]
            variants = [variant_to_run(with_variant(model, name), verdicts) for name in names]
            return [(f"{model.name}:{variant.variant}", variant) for variant in variants]

    def all(self) -> list[Model]:
        """Return every model, sorted by name: of each repository the revision its bare name means, and what sources
        offer. A revision without files has none; a damaged model never raises here."""
        found = []
        for offer in self._offers(cached_repositories()):
            if offer.repository and (commit := offer.repository.main()):
                found.append(snapshot_at(offer.repository, commit))
            elif offer.source:
                try:
                    found.append(offer.model(NameReference(offer.name)))
                except ModelError:
                    continue  # a known name without files
        return sorted(map(self._with_settings, found), key=lambda model: natural_key(model.name))

    def names(self) -> list[str]:
        """Return the name of every model, sorted. Reads no model and no settings."""
        return sorted({offer.name for offer in self._offers(cached_repositories())}, key=natural_key)

    def unfinished(self) -> list[Model]:
        """Return the repositories that have nothing but partial downloads, as models without files, and those that
        cannot be read. Their names are not found by `find`, so that a run offers to pull them."""
        found = []
        for each in cached_repositories():
            if each.has_snapshots():
                continue
            if denied := each.unreadable():
                found.append(Model(name=each.name, path=denied, origin="hub"))
            elif each.partial_downloads():
                found.append(Model(name=each.name, path=each.snapshot(each.main() or "none"), origin="hub"))
        return found

    def _offers(self, *repositories: Sequence[Repository]) -> list[Offer]:
        """Return the offers of `repositories`, each one once, and of all sources."""
        named = {each.name: each for group in repositories for each in group}
        stored = [Offer(name, _HUB, repository=each) for name, each in named.items() if each.has_snapshots()]
        offered = [
            Offer(name, spec.name, source=source)
            for spec, source in self._host.model_sources()
            for name in dict.fromkeys(source.names())
        ]
        return stored + offered


def _repositories_named(text: str) -> list[Repository]:
    """Return the repositories whose full names `text` may have, with and without an origin before it."""
    rest = text.partition(":")[2]
    names = dict.fromkeys([text, parse_name(text).name, rest, parse_name(rest).name])
    found = (cached_repository(each) for name in names if name for each in dict.fromkeys([name, full_name(name)]))
    return [each for each in found if each is not None]


def _denied(name: str) -> Path | None:
    """Return the folder that would have to be read to know whether it has a model of that name."""
    named = (each for each in cached_repositories() if name.casefold() in each.name.casefold())
    return unreadable_cache() or next(filter(None, (each.unreadable() for each in named)), None)


def _not_found(
    text: str, reference: NameReference, offers: Sequence[Offer], commands: Collection[str]
) -> ModelNotFound:
    """Return the error, with a hint that uses only `commands` that are installed."""
    if is_model_folder(text):
        return ModelNotFound(text, hint=f"To use the folder of that name, write `./{text}`.")
    if denied := _denied(reference.name):
        return ModelNotFound(text, hint=f"Permission denied: cannot read {denied}.")
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
