"""The models that can be named, and which of them a name means."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mlxk_core._errors import AmbiguousModel, ModelError, ModelNotFound, RevisionNotFound
from mlxk_core._host.specs import ModelSource
from mlxk_core._models.cache import Repository
from mlxk_core._models.model import Model
from mlxk_core._models.name_readings import readings
from mlxk_core._models.references import NameReference, natural_key, parse_name, short_name
from mlxk_core._models.revisions import local_commit, local_commits, snapshot_at
from mlxk_core._models.similar_names import similarity
from mlxk_core._models.variant_choice import with_variant


@dataclass(frozen=True, slots=True)
class Offer:
    """A name and where its model is: a repository of the cache (origin `hub`), or a source (origin: its name)."""

    name: str
    origin: str
    repository: Repository | None = None
    source: ModelSource | None = None

    @property
    def qualified(self) -> str:
        return f"{self.origin}:{self.name}"

    def has(self, revision: str) -> bool:
        """Return whether the revision is in the cache."""
        return self.repository is not None and bool(local_commits(self.repository, revision))

    def has_variant(self, reference: NameReference) -> bool:
        """Return whether the model has the GGUF variant that `reference` names."""
        try:
            return self.model(reference).gguf_variant is not None
        except ModelError:
            return False

    def model(self, reference: NameReference) -> Model:
        """Return the model at the revision and with the variant of `reference`. Raises if it has no such one."""
        if self.repository:
            model = snapshot_at(self.repository, local_commit(self.repository, reference.revision))
        else:
            model = self._from_source(reference)
        return model if reference.variant is None else with_variant(model, reference.variant)

    def _from_source(self, reference: NameReference) -> Model:
        if reference.revision is not None:
            raise RevisionNotFound(
                f"`{self.name}` comes from the source {self.origin} and has no revisions.", model=self.name
            )
        found = self.source.find(self.name) if self.source else None
        if found is None:
            raise ModelNotFound(self.name, hint=f"The source {self.origin} lists it but does not have it.")
        return found


def listed_as(name: str, offers: Sequence[Offer]) -> list[Offer]:
    """Return the offers that are listed as `name`."""
    return [offer for offer in offers if offer.name == name] or [
        offer for offer in offers if short_name(offer.name) == name
    ]


def readings_of(name: str, offers: Sequence[Offer]) -> Iterator[list[Offer]]:
    """Yield the offers that `name` may mean, by each reading that matches any, the strictest first."""
    for means in readings(name):
        if found := [offer for offer in offers if means(offer.name)]:
            yield found


def with_origin(text: str, offers: Sequence[Offer]) -> tuple[Offer, NameReference] | None:
    """Return the offer of `ORIGIN:NAME[@REVISION][:VARIANT]`; the name must be complete."""
    origin, separator, rest = text.partition(":")
    of_origin = [offer for offer in offers if separator and offer.origin == origin]
    for parsed in (NameReference(rest), parse_name(rest)):
        for offer in of_origin:
            if parsed.name in (offer.name, short_name(offer.name)):
                return offer, parsed
    return None


def narrow(readings: Sequence[list[Offer]], parsed: NameReference, tag: str) -> tuple[list[Offer], NameReference]:
    """Return the matches that `tag` leaves of the strictest reading that it fits: those with a variant of that name,
    else those with it in their names. Without any, those of the first reading."""
    in_name = re.compile(rf"(?<![a-z0-9.]){re.escape(tag)}(?![a-z0-9])", re.IGNORECASE)
    for matches in readings:
        if with_variant := [offer for offer in matches if offer.has_variant(parsed)]:
            return with_variant, parsed
        if tagged := [offer for offer in matches if in_name.search(offer.name)]:
            return tagged, replace(parsed, variant=None)
    return readings[0], parsed


def only_one(reference: str, matches: Sequence[Offer]) -> Offer:
    """Return the only match. Raises `AmbiguousModel`, the most similar names first."""
    if len(matches) == 1:
        return matches[0]
    # The same name in two places needs its origin.
    count = Counter(offer.name for offer in matches)
    ranked = sorted(matches, key=lambda offer: (-similarity(reference, offer.name), natural_key(offer.name)))
    raise AmbiguousModel(reference, [offer.qualified if count[offer.name] > 1 else offer.name for offer in ranked])
