"""Warnings about settings that are valid but probably mistakes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial

from mlxk_core._models.name_readings import may_mean
from mlxk_core._models.references import PathReference, parse_name, parse_reference, short_name, without_hub
from mlxk_core._paths import expand_user, is_file, path_exists
from mlxk_core._settings.sections import ModelSettings
from mlxk_core._settings.settings import ALIASES, DEFAULTS, MODELS, Settings, line_of

_HIGHEST_TEMPERATURE = 2.0
"""The highest temperature of OpenAI's API. Higher ones are allowed, and give noise."""


def alias_conflict(alias: str, target: str, *, models: Collection[str], commands: Collection[str]) -> str | None:
    """Return why `alias` is a bad name: it hides one of the `models` (listed names), or is a command; None if not."""
    if alias in commands:
        return f"`{alias}` is a command of mlxk."
    hidden = next((name for name in models if alias in (name, name.rpartition("/")[2]) and name != target), None)
    return f"`{alias}` hides the model `{hidden}`." if hidden else None


def settings_warnings(settings: Settings, *, models: Collection[str], commands: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each name of a model that is missing, alias that hides something, missing template file,
    and temperature that gives noise. `models` are the listed names."""

    def place(*path: str) -> str:
        line = line_of(settings.text, path)
        return f" (line {line})" if line else ""

    for alias, target in settings.aliases.items():
        if conflict := alias_conflict(alias, target, models=models, commands=commands):
            yield f"alias {conflict} Rename the alias."
        elif not _is_local(target, models):
            yield f"alias `{alias}`{place(ALIASES, alias)}: no local model is named `{target}`."
    if (default := settings.default_model) and not _is_local(settings.expand(default), models):
        yield f"[defaults]{place(DEFAULTS, 'model')}: no local model is named `{default}`."
    yield from _value_warnings("[defaults]", partial(place, DEFAULTS), settings.defaults)
    listed = {*models, *map(short_name, models)}
    for name, values in settings.models.items():
        section = f'[models."{name}"]'
        if not {name, name.partition(":")[0]} & listed:
            meant = next((each for each in models if each.endswith(f"/{name}")), None)
            hint = f' Write [models."{meant}"].' if meant else ""
            yield f"{section}{place(MODELS, name)}: no local model has that name.{hint}"
        yield from _value_warnings(section, partial(place, MODELS, name), values)


def _value_warnings(section: str, place: Callable[[str], str], values: ModelSettings) -> Iterator[str]:
    if values.chat_template and not is_file(values.chat_template):
        yield f"{section}{place('chat_template')}: no such file: {values.chat_template}."
    if warning := temperature_warning(values.temperature):
        yield f"{section}{place('temperature')}: {warning}"


def temperature_warning(temperature: float | None) -> str | None:
    """Return the warning about a temperature that makes noise, None for any other."""
    if temperature is None or temperature <= _HIGHEST_TEMPERATURE:
        return None
    return f"temperature {temperature:g} is above {_HIGHEST_TEMPERATURE:g}; answers become random text."


def _is_local(name: str, models: Collection[str]) -> bool:
    """Return whether `name` may mean a model of this machine: one of the listed names, or a path that exists."""
    if name in models:
        return True
    reference = parse_reference(without_hub(name))
    if isinstance(reference, PathReference):
        return path_exists(expand_user(reference.path))
    _, _, after_origin = name.partition(":")  # `hub:org/name`; the rest must be a complete name then
    return may_mean(reference.name, models) or parse_name(after_origin).name in {*models, *map(short_name, models)}
