"""The command config."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from mlxk_config.document import SettingsDocument, known_keys, parse_key
from mlxk_core.api.commands import Session, json_option
from mlxk_core.api.errors import MlxkError
from mlxk_core.api.settings import parse_settings, settings_file

_TEMPLATE = """\
# Settings of mlxk. `mlxk help environment` lists the environment variables.
# What is given on the command line or in a request comes before [models."NAME"],
# then [defaults], then the model's own files.

# [defaults]
# model = "smollm2"
# temperature = 0.7

# [aliases]
# small = "smollm2"

# [models."smollm2"]
# system = "Answer briefly."
"""


def _complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    session = ctx.find_object(Session)
    if session is None:
        return []
    keys = known_keys(session.host.settings_sections())
    return [CompletionItem(key) for key in keys if key.startswith(incomplete)]


@click.group("config")
@json_option
def config() -> None:
    """Show and change the settings file.

    KEY is the path of a setting, with dots: `defaults.model`, `aliases.small`, `models."org/name".temperature`.

    \b
    Examples:
      mlxk config set defaults.model smollm2
      mlxk config set 'models."smollm2".system' "Answer briefly."
      mlxk config get defaults.model
      mlxk config edit
    """


@config.command("path")
@json_option
@click.pass_obj
def path(session: Session) -> Any:
    """Print the path of the settings file."""
    file = settings_file()
    if not session.output.json:
        session.output.line(str(file))
    return {"path": str(file), "exists": file.exists()}


@config.command("show")
@click.option("--keys", is_flag=True, help="List every setting there is, with its meaning.")
@json_option
@click.pass_obj
def show(session: Session, keys: bool) -> Any:
    """Print the settings file, or every setting there is.

    Fails if something in the file is wrong, with the line.
    """
    sections = session.host.settings_sections()
    if keys:
        found = known_keys(sections)
        if not session.output.json:
            width = max(len(key) for key in found)
            for key, field in found.items():
                session.output.line(f"{key.ljust(width)}  {field.help}")
        return {"keys": [{"key": key, "help": field.help} for key, field in found.items()]}
    document = SettingsDocument.read(settings_file())
    parse_settings(document.text, document.file, sections)
    if not session.output.json:
        if document.text.strip():
            session.output.write(document.text if document.text.endswith("\n") else document.text + "\n")
        else:
            session.output.note(f"No settings. `mlxk config edit` opens {document.file}.")
    return {"path": str(document.file), "settings": document.data()}


@config.command("get")
@click.argument("key", shell_complete=_complete_key)
@json_option
@click.pass_obj
def get(session: Session, key: str) -> Any:
    """Print one setting. Fails if the file does not set it."""
    document = SettingsDocument.read(settings_file())
    parse_settings(document.text, document.file, session.host.settings_sections())
    value = document.get(parse_key(key))
    if value is None:
        raise MlxkError(f"`{key}` is not set.", key=key)
    if not session.output.json:
        session.output.line(value if isinstance(value, str) else document.toml(value))
    return {"key": key, "value": value}


@config.command("set")
@click.argument("key", shell_complete=_complete_key)
@click.argument("value")
@json_option
@click.pass_obj
def set_command(session: Session, key: str, value: str) -> Any:
    """Set one setting; comments and order of the file stay.

    VALUE is a TOML value (`0.5`, `true`, `["END"]`); anything else is a text. Nothing is written if it is not allowed.
    """
    document = SettingsDocument.read(settings_file())
    stored = document.set(parse_key(key), value, session.host.settings_sections())
    document.write()
    session.output.note(f"{key} = {document.toml(stored)}")
    return {"key": key, "value": stored, "path": str(document.file)}


@config.command("unset")
@click.argument("key", shell_complete=_complete_key)
@json_option
@click.pass_obj
def unset(session: Session, key: str) -> Any:
    """Remove one setting from the file."""
    document = SettingsDocument.read(settings_file())
    if not document.unset(parse_key(key)):
        raise MlxkError(f"`{key}` is not set.", key=key)
    document.write()
    session.output.note(f"{key} is removed.")
    return {"key": key, "path": str(document.file)}


@config.command("edit")
@click.pass_obj
def edit(session: Session) -> None:
    """Open the settings file in $VISUAL or $EDITOR, and check it afterwards."""
    file = settings_file()
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_TEMPLATE, encoding="utf-8")
        subprocess.run([*shlex.split(command), str(file)], check=True)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise MlxkError(f"The editor `{command}` failed: {error}. Set $EDITOR to another one.") from error
    parse_settings(Path(file).read_text(encoding="utf-8-sig"), file, session.host.settings_sections())
    session.output.note(f"{file} is valid.")
