"""A third party's plugin for mlxk: the command `mlxk hello`, whole in this one file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import click

from mlxk_core.api import CommandSpec, SettingsSection, hookimpl, setting
from mlxk_core.api.commands import Session, json_option

__version__ = "0.1.0"


@hookimpl
def mlxk_commands() -> Iterable[CommandSpec]:
    yield CommandSpec(name="hello", summary="Greet someone.", target="mlxk_hello:hello")


@hookimpl
def mlxk_settings() -> Iterable[SettingsSection]:
    yield SettingsSection(name="hello", summary="The command `mlxk hello`.", type=HelloSettings)


@dataclass(frozen=True, kw_only=True)
class HelloSettings:
    """The section `[hello]` of the settings file."""

    word: str = setting("The first word of a greeting.", default="Hello")
    repeat: int = setting("How often the word is said.", default=1, least=1, most=3)


@click.command("hello")
@click.argument("name", default="world")
@json_option
@click.pass_obj
def hello(session: Session, name: str) -> object:
    """Greet someone.

    \b
    Examples:
      mlxk hello
      mlxk hello you
    """
    settings = session.host.settings.section(HelloSettings)
    greeting = f"{', '.join([settings.word] * settings.repeat)}, {name}!"
    if not session.output.json:
        session.output.line(greeting)
    return {"greeting": greeting}
