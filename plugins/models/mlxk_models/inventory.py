"""Which models list and health look at: those that are here, and those of which only a download was begun."""

from __future__ import annotations

from mlxk_core.api import Model
from mlxk_core.api.models import NameReference, Resolver, parse_reference

_OWNER = "mlx-community/"


def every(resolver: Resolver) -> list[Model]:
    """All of them, by name."""
    found = [*resolver.all(), *resolver.unfinished()]
    return sorted(found, key=lambda model: (model.name.casefold(), model.name))


def begun(resolver: Resolver, reference: str) -> Model | None:
    """The model of that whole name of which there are only parts."""
    parsed = parse_reference(reference)
    if not isinstance(parsed, NameReference) or parsed.revision or parsed.variant:
        return None
    asked = {parsed.name.casefold(), (_OWNER + parsed.name).casefold()}
    return next((model for model in resolver.unfinished() if model.name.casefold() in asked), None)
