"""A third party's plugin for mlxk: the command `mlxk hello`, whole in this one file."""

from __future__ import annotations

from collections.abc import Iterable

import click

from mlxk_core.api import CommandSpec, hookimpl
from mlxk_core.api.commands import Session, json_option

__version__ = "0.1.0"


@hookimpl
def mlxk_commands() -> Iterable[CommandSpec]:
    yield CommandSpec(name="hello", summary="Greet someone.", target="mlxk_hello:hello")


@click.command("hello")
@click.argument("name", default="world")
@json_option
@click.pass_obj
def hello(session: Session, name: str) -> object:
    """Greet someone."""
    greeting = f"Hello, {name}!"
    if not session.output.json:
        session.output.line(greeting)
    return {"greeting": greeting}
