"""A complete reasoning format in one file, as a third party would write it: models that write ⟦muse⟧ … ⟦/muse⟧."""

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
from mlxk_core.api.text import MarkerScanner, Piece, markers

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
    """Splits one response. The scanner holds back what may be the beginning of a marker until that is decided."""

    def __init__(self, context: ExtractorContext) -> None:
        suffix = context.prompt_suffix
        self._musing = suffix.rfind(OPENER) > suffix.rfind(CLOSER)
        self._scanner = MarkerScanner(CLOSER if self._musing else OPENER)

    @property
    def channel(self) -> Channel | None:
        return None if self._scanner.held else self._now

    def feed(self, text: str, /) -> list[Delta]:
        return self._deltas(self._scanner.feed(text))

    def close(self) -> list[Delta]:
        return self._deltas(self._scanner.close())

    def _deltas(self, pieces: Iterable[Piece]) -> list[Delta]:
        deltas = []
        for piece in pieces:
            if piece.is_marker:
                self._musing = not self._musing
                self._scanner.markers = markers(CLOSER if self._musing else OPENER)
            else:
                deltas.append(Delta(self._now, piece.text))
        return deltas

    @property
    def _now(self) -> Channel:
        return Channel.REASONING if self._musing else Channel.CONTENT
