"""Warnings about settings that are valid but probably mistakes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from mlxk_core._settings.settings import MODELS, Settings, line_of


def alias_conflict(alias: str, target: str, *, models: Collection[str], commands: Collection[str]) -> str | None:
    """Return why `alias` is a bad name: it hides one of the `models` (listed names), or is a command; None if not."""
    if alias in commands:
        return f"`{alias}` is a command of mlxk."
    hidden = next((name for name in models if alias in (name, name.rpartition("/")[2]) and name != target), None)
    return f"`{alias}` hides the model `{hidden}`." if hidden else None


def settings_warnings(settings: Settings, *, models: Collection[str], commands: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each alias that hides something, section of an unknown model, and missing template file."""
    short = {name.rpartition("/")[2] for name in models}
    for alias, target in settings.aliases.items():
        if conflict := alias_conflict(alias, target, models=models, commands=commands):
            yield f"alias {conflict} Rename the alias."
    for name, values in settings.models.items():
        bare = name.partition(":")[0]
        line = line_of(settings.text, (MODELS, name))
        if not {name, bare} & {*models, *short}:
            yield f'[models."{name}"] (line {line}): no local model has that name.'
        if values.chat_template and not Path(values.chat_template).is_file():
            yield f'[models."{name}"] (line {line}): no such file: {values.chat_template}.'
    if settings.defaults.chat_template and not Path(settings.defaults.chat_template).is_file():
        yield f"[defaults]: no such file: {settings.defaults.chat_template}."
