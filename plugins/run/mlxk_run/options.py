"""Options of `run` as typed values."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlxk_core.api.generation import Constraint


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """Sampling values that the user chose; None means that of the settings, the model or the defaults."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None

    def given(self) -> dict[str, Any]:
        """Return the values that are set, as `Sampling` fields."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """Options of one answer; `/set` changes them during a chat.

    `thinking` None means the model's own default.
    """

    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    chat_stops: bool = True
    thinking: bool | None = None
    thinking_budget: int | None = None
    constraint: Constraint | None = None
    reasoning_format: str | None = None
    backend: str | None = None
    loop_guard: bool = True

    def with_sampling(self, **changes: Any) -> AnswerOptions:
        """Return a copy with other sampling values."""
        return replace(self, sampling=replace(self.sampling, **changes))


@dataclass(frozen=True, kw_only=True)
class View:
    """How answers are shown: `stream` False prints an answer when it is complete, `plain` does not render Markdown."""

    stream: bool = True
    hide_reasoning: bool = False
    plain: bool = False
    verbose: bool = False
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """How a chat keeps its conversation: `trim` drops the oldest turns when the context is full, `save` stores it."""

    system: str | None = None
    trim: bool = True
    save: bool = True
