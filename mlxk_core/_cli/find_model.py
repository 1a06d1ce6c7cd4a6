"""The model that a command works on, pulled first if the user agrees."""

from __future__ import annotations

import click

from mlxk_core._cli.confirm import can_ask, confirm
from mlxk_core._cli.session import Session
from mlxk_core._errors import ModelNotFound
from mlxk_core._models.model import Model
from mlxk_core._models.references import full_name
from mlxk_core._models.resolve import Resolver


def find_or_pull(ctx: click.Context, reference: str) -> Model:
    """Return the model that `reference` names. At a terminal, offer to pull it if it is not in the local cache.

    Raises `ModelNotFound` and the other errors of `Resolver.resolve`.
    """
    session: Session = ctx.obj
    resolver = Resolver(session.host)
    try:
        return resolver.resolve(reference)
    except ModelNotFound as missing:
        if not missing.pullable or not _offers_pull(session, reference):
            raise
    puller = session.host.load(session.host.command("pull").target)
    with puller.make_context("pull", [reference], parent=ctx) as inner:
        puller.invoke(inner)
    return resolver.resolve(reference)


def _offers_pull(session: Session, reference: str) -> bool:
    if not can_ask(session) or not any(spec.name == "pull" for spec in session.host.commands()):
        return False
    name = full_name(reference) if "/" not in reference else reference
    return confirm(session, f"`{name}` is not in the local cache. Pull it?", otherwise="Nothing was pulled.")
