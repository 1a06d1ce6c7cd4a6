"""The command `mlxk config`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from mlxk_config.document import SettingsDocument, field_of, generic_key, known_keys, parse_key
from mlxk_core.api.commands import (
    Session,
    complete_backend,
    complete_model,
    complete_reasoning_format,
    json_option,
    open_editor,
)
from mlxk_core.api.errors import InvalidOption, MlxkError, UsageError
from mlxk_core.api.models import Resolver
from mlxk_core.api.paths import path_exists, replace_file
from mlxk_core.api.settings import (
    RESERVED_SECTIONS,
    SettingsError,
    alias_conflict,
    parse_settings,
    settings_file,
    settings_warnings,
)

_TEMPLATE = """\
# Settings of mlxk. `mlxk help environment` lists the environment variables.
# What is given on the command line or in a request comes before [models."NAME"],
# then [defaults], then the model's own files.

# [defaults]
# model = "smollm2"
# temperature = 0.7

# [aliases]
# small = "smollm2"

# [models."smollm2"]  # `mlxk config show --keys` lists every setting
# system = "Answer briefly."
"""


def _complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    session = ctx.find_object(Session)
    if session is None:
        return []
    keys = known_keys(session.host.settings_sections())
    return [CompletionItem(key) for key in keys if key.startswith(incomplete)]


def _complete_value(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the value of the preceding key."""
    session = ctx.find_object(Session)
    try:
        path = parse_key(ctx.params.get("key") or "")
    except MlxkError:
        return []
    if session is None:
        return []
    if path == ("defaults", "model") or path[0] == "aliases":
        return complete_model(ctx, param, incomplete)
    if path[-1] == "backend":
        return complete_backend(ctx, param, incomplete)
    if path[-1] == "reasoning_format":
        return complete_reasoning_format(ctx, param, incomplete)
    field = field_of(path, session.host.settings_sections())
    if field is None:
        return []
    if field.form == "file":
        return [CompletionItem(incomplete, type="file")]
    values = field.choices or (("true", "false") if field.type is bool else ())
    return [CompletionItem(value) for value in values if value.startswith(incomplete)]


@click.group("config")
@json_option
def config() -> None:
    """Show and change the settings file.

    `mlxk run`, `mlxk serve` and the other commands read it. What is given on the command line or in a request comes
    before [models.NAME], then [defaults], then the model's own files; `mlxk show MODEL` says where each value is from.

    KEY is the path of a setting, with dots: defaults.model, aliases.small, models.org/name.temperature.

    \b
    Examples:
      mlxk config set defaults.model smollm2
      mlxk config set models.smollm2.system "Answer briefly."
      mlxk config get defaults.model
      mlxk config show --keys
      mlxk config edit
    """


@config.command("path")
@json_option
@click.pass_obj
def path(session: Session) -> Any:
    """Print the path of the settings file.

    \b
    Example:
      mlxk config path
    """
    file = settings_file()
    if not session.output.json:
        session.output.line(str(file))
    return {"path": str(file), "exists": file.exists()}


@config.command("show")
@click.option("--keys", is_flag=True, help="List all settings with their meaning.")
@json_option
@click.pass_obj
def show(session: Session, keys: bool) -> Any:
    """Print the settings file, or list all settings.

    Fails with the line if something in the file is wrong. Warns about names that hide others or do not exist.

    \b
    Examples:
      mlxk config show
      mlxk config show --keys
    """
    sections = session.host.settings_sections()
    if keys:
        found = known_keys(sections)
        if not session.output.json:
            width = max(len(key) for key in found)
            for key, field in found.items():
                bounds = f" ({field.bounds})" if field.bounds else ""
                session.output.row(f"{key:<{width}}  ", f"{field.help}{bounds}")
        return {"keys": [{"key": key, "help": field.help} for key, field in found.items()]}
    document = SettingsDocument.read(settings_file())
    warnings = list(_warnings(session, document, _models(session)))
    for warning in warnings:
        session.output.note(f"warning: {warning}")
    if not session.output.json:
        if document.text.strip():
            session.output.write(document.text if document.text.endswith("\n") else document.text + "\n")
        else:
            session.output.note(f"No settings. `mlxk config edit` opens {document.file}.")
    return {"path": str(document.file), "settings": document.data(), "warnings": warnings}


def _warnings(session: Session, document: SettingsDocument, models: Sequence[str]) -> Iterator[str]:
    """Validate the document and yield its warnings. Raises `SettingsError`."""
    host = session.host
    settings = parse_settings(document.text, document.file, host.settings_sections(), complete=host.knows_all_sections)
    return settings_warnings(settings, models=models, commands=host.command_names())


def _warnings_before(session: Session, document: SettingsDocument, models: Sequence[str]) -> frozenset[str]:
    """Return the warnings that a change did not bring; none for an invalid file, which the change may repair."""
    try:
        return frozenset(_warnings(session, document, models))
    except SettingsError:
        return frozenset()


def _models(session: Session) -> list[str]:
    """Return the names of the local models; a command needs them once, since they are read from the disk.

    None if the cache cannot be used: settings can be changed all the same.
    """
    try:
        return Resolver(session.host).names()
    except MlxkError:
        return []


@config.command("get")
@click.argument("key", shell_complete=_complete_key)
@json_option
@click.pass_obj
def get(session: Session, key: str) -> Any:
    """Print one setting. Fails if the file does not set it.

    \b
    Example:
      mlxk config get defaults.model
    """
    document = SettingsDocument.read(settings_file())
    host = session.host
    parse_settings(document.text, document.file, host.settings_sections(), complete=host.knows_all_sections)
    value = document.get(document.path(key))
    if value is None:
        raise _not_set(session, key)
    if not session.output.json:
        session.output.line(value if isinstance(value, str) else document.toml(value))
    return {"key": key, "value": value}


def _not_set(session: Session, key: str) -> MlxkError:
    return MlxkError(f"`{key}` is not set.{_suggestion(session, key)}", key=key)


def _suggestion(session: Session, key: str) -> str:
    """Return the hint to a key that is close to `key`; empty if there is one of that name."""
    path, known = parse_key(key), known_keys(session.host.settings_sections())
    form = generic_key(path)
    if form in known:
        return ""
    close = difflib.get_close_matches(form, known, n=1)
    return f" Did you mean `{close[0].replace('NAME', path[1])}`?" if close else ""


@config.command("set")
@click.argument("key", shell_complete=_complete_key)
@click.argument("value", shell_complete=_complete_value)
@json_option
@click.pass_obj
def set_command(session: Session, key: str, value: str) -> Any:
    """Change one setting; the file keeps its comments and order.

    VALUE is a TOML value (0.5, true, ["END"]); anything else is text. An invalid value is not written.

    \b
    Examples:
      mlxk config set defaults.model smollm2
      mlxk config set defaults.ttl 15m
      mlxk config set aliases.small smollm2
      mlxk config set models.smollm2.temperature 0.5
      mlxk config set models.smollm2.stop '["END"]'
    """
    path = parse_key(key)
    _check_key(session, key, path)
    models = _models(session)
    with SettingsDocument.change(settings_file(), create=True) as document:
        before = _warnings_before(session, document, models)
        stored = document.set(path, value, session.host.settings_sections(), complete=session.host.knows_all_sections)
        _check_names(session, path, stored, models)
    session.output.note(f"{key} = {document.toml(stored)}")
    for warning in _warnings(session, document, models):
        if warning not in before:
            session.output.note(f"warning: {warning}")
    return {"key": key, "value": stored, "path": str(document.file)}


def _check_key(session: Session, key: str, path: tuple[str, ...]) -> None:
    """Raise for a key that no section has. The section of a plugin that is not loaded may have any key."""
    sections = session.host.settings_sections()
    names = {*RESERVED_SECTIONS, *(section.name for section in sections)}
    if field_of(path, sections) is None and (path[0] in names or session.host.knows_all_sections):
        hint = _suggestion(session, key) or " `mlxk config show --keys` lists the settings."
        raise UsageError(f"`{key}` is not a setting.{hint}", key=key)


def _check_names(session: Session, path: tuple[str, ...], value: Any, models: Sequence[str]) -> None:
    """Raise for a name that no plugin has, and for an alias that hides something."""
    host = session.host
    if path[-1] == "backend" and value not in (names := [spec.name for spec in host.backends()]):
        raise InvalidOption("backend", f"`{value}` is unknown; available: {', '.join(names)}.")
    if path[-1] == "reasoning_format" and value not in (formats := host.reasoning_format_names()):
        raise InvalidOption("reasoning_format", f"`{value}` is unknown; available: {', '.join(formats)}.")
    if path[0] == "aliases":
        conflict = alias_conflict(path[1], value, models=models, commands=session.host.command_names())
        if conflict:
            raise InvalidOption(".".join(path), f"{conflict} Choose another name.")


@config.command("unset")
@click.argument("key", shell_complete=_complete_key)
@json_option
@click.pass_obj
def unset(session: Session, key: str) -> Any:
    """Remove one setting from the file.

    \b
    Example:
      mlxk config unset models.smollm2.temperature
    """
    with SettingsDocument.change(settings_file()) as document:
        if not document.unset(document.path(key)):
            raise _not_set(session, key)
    session.output.note(f"{key} is removed.")
    return {"key": key, "path": str(document.file)}


@config.command("edit")
@click.pass_obj
def edit(session: Session) -> None:
    """Open the settings file in $VISUAL or $EDITOR, and check it afterwards.

    \b
    Example:
      mlxk config edit
    """
    file = settings_file()
    if not path_exists(file):
        replace_file(file, _TEMPLATE)
    open_editor(file)
    warnings = list(_warnings(session, SettingsDocument.read(file), _models(session)))
    session.output.note(f"{file} is valid.")
    for warning in warnings:
        session.output.note(f"warning: {warning}")
