"""The parser of a constrained answer."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core._generation.events import Channel, Delta, ExtractorEvent
from mlxk_core._generation.extractor import Cuttable, Extractor


class VerbatimAnswer:
    """Passes the answer on unchanged; `inner` reads the reasoning before it.

    A constrained value may contain any text, even what would be a marker elsewhere.
    """

    def __init__(self, inner: Extractor) -> None:
        self._inner: Extractor | None = inner

    @property
    def channel(self) -> Channel | None:
        return Channel.CONTENT if self._inner is None else self._inner.channel

    def feed(self, text: str, /) -> Iterable[ExtractorEvent]:
        if self._inner is None:
            if text:
                yield Delta(Channel.CONTENT, text)
            return
        answered = False
        for event in self._inner.feed(text):
            yield event
            answered = answered or (
                isinstance(event, Delta) and event.channel is Channel.CONTENT and not event.text.isspace()
            )
        if answered:
            yield from self.close()

    def cut(self) -> None:
        if isinstance(self._inner, Cuttable):
            self._inner.cut()

    def close(self) -> Iterable[ExtractorEvent]:
        inner, self._inner = self._inner, None
        return () if inner is None else inner.close()
