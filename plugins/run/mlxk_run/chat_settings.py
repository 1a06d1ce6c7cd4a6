"""Settings that `/set` changes in a chat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import click

from mlxk_core.api.commands import number_in_words, value_problem
from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.generation import SAMPLING_LIMITS
from mlxk_core.api.settings import temperature_warning
from mlxk_run.chat_state import ChatState
from mlxk_run.input import Number

_Type: TypeAlias = Any
"""A click.ParamType, which is generic only from click 8.2 on."""
Change = Callable[[ChatState, Any], None]


@dataclass(frozen=True, kw_only=True)
class ChatSetting:
    """One name of `/set`: how its value is read, what it changes, and its current value."""

    summary: str
    type: _Type
    set: Change
    get: Callable[[ChatState], Any]


def _sampling(name: str, summary: str, type: _Type) -> ChatSetting:
    def change(state: ChatState, value: Any) -> None:
        state.options = state.options.with_sampling(**{name: value})

    return ChatSetting(summary=summary, type=type, set=change, get=lambda state: getattr(state.options.sampling, name))


def _option(name: str, summary: str, type: _Type, *, unset: Any = None) -> ChatSetting:
    def change(state: ChatState, value: Any) -> None:
        state.options = replace(state.options, **{name: unset if value is None else value})

    return ChatSetting(summary=summary, type=type, set=change, get=lambda state: getattr(state.options, name))


def _view(name: str, summary: str, *, inverted: bool = False) -> ChatSetting:
    def change(state: ChatState, value: Any) -> None:
        display = state.runner.display
        on = (not inverted) if value is None and inverted else bool(value)
        display.view = replace(display.view, **{name: on is not inverted})

    return ChatSetting(
        summary=summary,
        type=click.BOOL,
        set=change,
        get=lambda state: getattr(state.runner.display.view, name) is not inverted,
    )


def _set_system(state: ChatState, text: str | None) -> None:
    state.conversation.system = text or None


def _set_stop(state: ChatState, text: str | None) -> None:
    state.options = replace(state.options, stop=() if text is None else (*state.options.stop, text))


SETTINGS: Mapping[str, ChatSetting] = {
    "temperature": _sampling(
        "temperature", "0 always picks the most likely token", Number(*SAMPLING_LIMITS["temperature"])
    ),
    "top_p": _sampling("top_p", "nucleus sampling, up to 1", Number(min=0, max=1, min_open=True)),
    "top_k": _sampling("top_k", "sample from the K most likely tokens", click.IntRange(min=0)),
    "min_p": _sampling("min_p", "ignore tokens below this fraction of the top probability", Number(min=0, max=1)),
    "repetition_penalty": _sampling(
        "repetition_penalty", "above 1 discourages repetition", Number(*SAMPLING_LIMITS["repetition_penalty"])
    ),
    "seed": _sampling("seed", "random seed, for repeatable answers", click.IntRange(min=0)),
    "max_tokens": _option("max_tokens", "maximum length of an answer", click.IntRange(min=1)),
    "thinking": _option("thinking", "reasoning on or off, for models with a switch", click.BOOL),
    "thinking_budget": _option("thinking_budget", "end the reasoning after this many tokens", click.IntRange(min=0)),
    "loop_guard": _option("loop_guard", "stop an answer that repeats itself (on or off)", click.BOOL, unset=True),
    "system": ChatSetting(
        summary="system prompt", type=click.STRING, set=_set_system, get=lambda state: state.conversation.system
    ),
    "stop": ChatSetting(
        summary="one more text that ends an answer",
        type=click.STRING,
        set=_set_stop,
        get=lambda state: ", ".join(map(repr, state.options.stop)) or None,
    ),
    "markdown": _view("plain", "render Markdown (on or off)", inverted=True),
    "reasoning": _view("hide_reasoning", "show reasoning (on or off)", inverted=True),
    "verbose": _view("verbose", "token counts and timing after each answer (on or off)"),
}


# Settings of ollama, and their equivalents.
_SYNONYMS: Mapping[str, str] = {
    "think": "thinking on",
    "nothink": "thinking off",
    "quiet": "verbose off",
    "num_predict": "max_tokens",
    "repeat_penalty": "repetition_penalty",
    "wordwrap": "markdown on",
    "nowordwrap": "markdown off",
}


def change(state: ChatState, text: str) -> str:
    """Change a setting as `text` says (`NAME VALUE`, `NAME default`), and return the line to print.

    A name alone turns a switch on, and prints any other setting. Raises `InvalidOption`.
    """
    name, _, value = text.removeprefix("parameter ").strip().partition(" ")
    meaning = _SYNONYMS.get(name.lower(), name)
    name, _, implied = meaning.partition(" ")
    value = value.strip() or implied
    setting = find_setting(name)
    key = _key(name)
    if not value and setting.type is click.BOOL:
        value = "on"
    if not value:
        return f"{key} = {format_value(setting.get(state))}"
    if value.lower() == "default":
        setting.set(state, None)
        return f"{key} is back to its default."
    if isinstance(setting.type, (click.IntRange, click.FloatRange)):
        number_in_words(setting.type)
    try:
        converted = setting.type.convert(value, None, None)
    except click.BadParameter as error:
        problem = f"must be on or off, not {value!r}" if setting.type is click.BOOL else value_problem(error)
        raise InvalidOption("/set", f"{key} {problem}.") from error
    setting.set(state, converted)
    line = f"{key} = {format_value(setting.get(state))}"
    if key == "temperature" and (warning := temperature_warning(converted)):
        line += f"\nwarning: {warning}"
    return line


def find_setting(name: str, *, command: str = "/set") -> ChatSetting:
    """Return a setting by its name. Raises `InvalidOption`, of `command`, with the closest one."""
    setting = SETTINGS.get(_key(name))
    if setting is not None:
        return setting
    import difflib  # only for this sentence

    close = difflib.get_close_matches(_key(name), SETTINGS, n=1)
    hint = f" Did you mean `{close[0]}`?" if close else " /set lists the settings."
    raise InvalidOption(command, f"unknown setting `{name}`.{hint}")


def _key(name: str) -> str:
    return name.lower().replace("-", "_")


def format_value(value: Any) -> str:
    """Return a value as `/set` and `/show` print it."""
    if value is None:
        return "(default)"
    return {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)
