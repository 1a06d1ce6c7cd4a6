"""A third party's reasoning format for mlxk, whole in this one file: models that write ⟦muse⟧ … ⟦/muse⟧."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api import (
    Channel,
    Delta,
    Evidence,
    ExtractorContext,
    Model,
    ReasoningExtractorSpec,
    Strength,
    hookimpl,
)

__version__ = "0.1.0"

OPENER, CLOSER = "⟦muse⟧", "⟦/muse⟧"


@hookimpl
def mlxk_reasoning_extractors() -> Iterable[ReasoningExtractorSpec]:
    yield ReasoningExtractorSpec(
        name="muse",
        summary=f"{OPENER} … {CLOSER}",
        matches=matches,
        target="mlxk_hello_format:MuseExtractor",
    )


def matches(model: Model) -> Evidence | None:
    if OPENER in (model.chat_template or ""):
        return Evidence(Strength.TEMPLATE, f"the chat template writes {OPENER}")
    if OPENER in model.added_tokens:
        return Evidence(Strength.VOCABULARY, f"the vocabulary has {OPENER}")
    return None


class MuseExtractor:
    """Splits one response. What may be the beginning of a marker waits until it is one, or is not."""

    def __init__(self, context: ExtractorContext) -> None:
        suffix = context.prompt_suffix
        self._musing = suffix.rfind(OPENER) > suffix.rfind(CLOSER)
        self._held = ""

    @property
    def channel(self) -> Channel | None:
        return None if self._held else self._now

    def feed(self, text: str, /) -> list[Delta]:
        text = self._held + text
        deltas = []
        while (marker := CLOSER if self._musing else OPENER) in text:
            before, _, text = text.partition(marker)
            deltas.append(Delta(self._now, before))
            self._musing = not self._musing
        begun = max(n for n in range(len(marker)) if text.endswith(marker[:n]))
        ready, self._held = text[: len(text) - begun], text[len(text) - begun :]
        deltas.append(Delta(self._now, ready))
        return [delta for delta in deltas if delta.text]

    def close(self) -> list[Delta]:
        return [Delta(self._now, self._held)] if self._held else []

    @property
    def _now(self) -> Channel:
        return Channel.REASONING if self._musing else Channel.CONTENT
