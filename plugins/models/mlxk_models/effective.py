"""Effective values of a request to a model that sets none, and where each comes from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlxk_core.api import Model, Sampling
from mlxk_core.api.errors import BrokenModel
from mlxk_core.api.generation import TERMINAL_SAMPLING, model_sampling
from mlxk_core.api.models import model_context_length
from mlxk_core.api.text import human_duration
from mlxk_models.entry import Entry

_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)
_ONLY_SETTINGS = ("max_tokens", "system", "stop", "thinking", "reasoning_effort", "thinking_budget", "ttl")
Source = Literal["settings", "model", "mlxk"]


@dataclass(frozen=True, kw_only=True)
class EffectiveValue:
    """A value and where it is from: the settings file, the model's own files (or its source), or mlxk's defaults.

    `origin` says which section, file or default that is.
    """

    name: str
    value: Any
    source: Source
    origin: str

    def as_json(self) -> Mapping[str, Any]:
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        if self.name == "ttl" and value == math.inf:
            value = "never"
        return {"name": self.name, "value": value, "source": self.source, "origin": self.origin}

    @property
    def text(self) -> str:
        """The value as text for the user."""
        match self.value:
            case bool():
                return "on" if self.value else "off"
            case float() | int():
                return human_duration(self.value) if self.name == "ttl" else f"{self.value:,g}"
            case tuple():
                return ", ".join(map(repr, self.value))
            case str():
                return repr(self.value) if self.name == "system" else self.value
        return str(self.value)


def effective_values(entry: Entry) -> Iterator[EffectiveValue]:
    """Yield every value that is set, and mlxk's own defaults of the others that have one."""
    yield from sampling_values(entry)
    for name in ("context_length", "chat_template", "reasoning_format", "backend"):
        if found := other_value(entry, name):
            yield found
    yield from settings_values(entry)


def declared_sampling(model: Model) -> Mapping[str, float]:
    """Return the sampling values of settings and model; none if the model's file is damaged, which health reports."""
    try:
        return model_sampling(model)
    except BrokenModel:
        return {}


def sampling_values(entry: Entry) -> Iterator[EffectiveValue]:
    """Yield the sampling values."""
    model = entry.model
    values = declared_sampling(model)
    neutral = Sampling()
    for name in _SAMPLING:
        if found := _from_settings(entry, name):
            yield found
        elif name in values:
            own = name in model.defaults or (name == "temperature" and "do_sample" in model.defaults)
            origin = f"source {model.source}" if own else "generation_config.json"
            yield EffectiveValue(name=name, value=values[name], source="model", origin=origin)
        elif name in TERMINAL_SAMPLING:
            origin = f"default of mlxk run; mlxk serve: {getattr(neutral, name):g}"
            yield EffectiveValue(name=name, value=TERMINAL_SAMPLING[name], source="mlxk", origin=origin)


def settings_values(entry: Entry) -> Iterator[EffectiveValue]:
    """Yield the other values that only the settings file can have."""
    for name in _ONLY_SETTINGS:
        if found := _from_settings(entry, name):
            yield found


def other_value(entry: Entry, name: str) -> EffectiveValue | None:
    """Return `context_length`, `chat_template`, `reasoning_format` or `backend`; None without one."""
    found = _from_settings(entry, name)
    model = entry.model
    match name:
        case "context_length":
            length = model_context_length(model)
            if length is not None and (found is None or length < found.value):
                origin = "GGUF header" if model.shared_gguf else "config.json"
                return _of_model(name, length, origin)
        case "chat_template" if found is None:
            try:
                return _of_model(name, model.chat_template_file, "the model's files")
            except BrokenModel:
                return None
        case "reasoning_format" if found is None:
            chosen = entry.host.reasoning_format(model)
            return _of_model(name, chosen[0].name, chosen[1].detail) if chosen and chosen[1] else None
        case "backend" if found is None:
            return _of_model(name, entry.backend, "the only backend that accepts the model")
    return found


def _of_model(name: str, value: Any, origin: str) -> EffectiveValue | None:
    return None if value is None else EffectiveValue(name=name, value=value, source="model", origin=origin)


def _from_settings(entry: Entry, name: str) -> EffectiveValue | None:
    model = entry.model
    value = getattr(model.settings, name)
    origin = entry.host.settings.origin(name, model.name, model.variant)
    if value is None or origin is None:
        return None
    return EffectiveValue(name=name, value=value, source="settings", origin=str(origin))
