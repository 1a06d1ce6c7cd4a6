"""The models that list and health show: those in the cache and of sources, and unfinished downloads."""

from __future__ import annotations

from mlxk_core.api import Model
from mlxk_core.api.models import NameReference, Resolver, full_name, natural_key, parse_reference, short_name


def all_models(resolver: Resolver) -> list[Model]:
    """Return all models, in the natural order of their short names."""
    found = [*resolver.all(), *resolver.unfinished()]
    return sorted(found, key=lambda model: (natural_key(short_name(model.name)), model.name))


def unfinished_download(resolver: Resolver, reference: str) -> Model | None:
    """Return the model of that full name if it has nothing but partial downloads, else None."""
    parsed = parse_reference(reference)
    if not isinstance(parsed, NameReference) or parsed.revision or parsed.variant:
        return None
    names = {parsed.name.casefold(), full_name(parsed.name).casefold()}
    return next((model for model in resolver.unfinished() if model.name.casefold() in names), None)


def was_downloaded(model: Model) -> bool:
    """Return whether the files came from a hub. `mlxk convert` writes into the cache too, without blobs and links."""
    if model.origin != "hub":
        return False
    try:
        blobs = (model.path.parent.parent / "blobs").is_dir()
        return blobs or any((model.path / file.name).is_symlink() for file in model.files)
    except PermissionError:  # of a folder; `health` reports it
        return True
