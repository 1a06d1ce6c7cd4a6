"""Choice of the model that an agent uses."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from mlxk_core.api.commands import Session
from mlxk_core.api.errors import InvalidOption, ModelNotFound
from mlxk_core.api.models import Resolver
from mlxk_launch.server import ServedModel


def choose_served(session: Session, models: Sequence[ServedModel], name: str | None) -> ServedModel:
    """Return the model of that name, else the default one, the only one that is loaded, or the only one there is."""
    default = session.host.settings.default_model
    if name is None and default is not None:
        default = session.host.settings.expand(default)
        name = next((m.name for m in models if m.name in (default, f"mlx-community/{default}")), None)
    if name is not None:
        name = session.host.settings.expand(name)
        found = [m for m in models if m.name == name] or [m for m in models if m.name.rpartition("/")[2] == name]
        if len(found) != 1:
            names = ", ".join([m.name for m in models][:10]) or "no models"
            raise ModelNotFound(name, hint=f"The running server has: {names}.")
        return found[0]
    candidates = [m for m in models if m.loaded] or list(models)
    chosen = _choose(session, [m.name for m in candidates])
    return next(m for m in candidates if m.name == chosen)


def choose_local(session: Session, name: str | None) -> str:
    """Return the name of the model to serve: the one that was named, the default one, or the only one there is."""
    resolver = Resolver(session.host)
    name = name or session.host.settings.default_model
    return resolver.resolve(name).name if name is not None else _choose(session, [m.name for m in resolver.all()])


def _choose(session: Session, names: Sequence[str]) -> str:
    """Return the only name, or the one that the user picks at a terminal. Raises `InvalidOption`."""
    if len(names) == 1:
        return names[0]
    if not names:
        raise InvalidOption("--model", "there is no model yet; `mlxk pull` downloads one")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        raise InvalidOption("--model", f"name one of {listed}")
    for number, name in enumerate(names, start=1):
        session.output.note(f"{number:>3}  {name}")
    picked: int = click.prompt("Model", type=click.IntRange(1, len(names)), err=True)
    return names[picked - 1]
