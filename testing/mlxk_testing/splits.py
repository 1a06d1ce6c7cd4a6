"""Contract of extractors: the events of a response do not depend on how its text was cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from mlxk_core.api.formats import Extractor
from mlxk_core.api.generation import Channel, Delta, ExtractorEvent, ToolCallDelta


@dataclass(frozen=True)
class Extracted:
    """The joined events of one response. `runs` is all of it in order: (channel or call, text)."""

    runs: tuple[tuple[Channel | int, str], ...]
    tool_calls: tuple[tuple[str, str], ...] = ()
    """(name, arguments) of each call."""
    channel: Channel | None = None
    """The channel of the extractor before it was closed."""

    @property
    def content(self) -> str:
        return "".join(text for where, text in self.runs if where is Channel.CONTENT)

    @property
    def reasoning(self) -> str:
        return "".join(text for where, text in self.runs if where is Channel.REASONING)


def extract(extractor: Extractor, pieces: Iterable[str]) -> Extracted:
    """Feed `pieces`, close, and return the joined events. Raises `AssertionError` for an invalid event."""
    events: list[ExtractorEvent] = []
    for piece in pieces:
        before = extractor.channel
        given = _given(partial(extractor.feed, piece), f"feed({piece!r})")
        _assert_went_to(before, piece, given)
        events += given
    channel = extractor.channel
    events += _given(extractor.close, "close()")
    runs: list[tuple[Channel | int, str]] = []
    names: list[str] = []
    identifiers: set[str] = set()
    for event in events:
        if isinstance(event, Delta):
            assert event.text and isinstance(event.text, str), f"an empty delta: {event}"
            assert isinstance(event.channel, Channel), f"the channel of a delta is a Channel: {event}"
            where: Channel | int = event.channel
            text = event.text
        else:
            assert isinstance(event, ToolCallDelta), f"an extractor returns Delta and ToolCallDelta, not {event!r}"
            where, text = event.index, event.arguments
            if event.index == len(names):
                assert event.id and event.name, f"the first delta of a call has an id and a name: {event}"
                assert event.id not in identifiers, f"two calls have the id {event.id}"
                identifiers.add(event.id)
                names.append(event.name)
            else:
                assert 0 <= event.index < len(names), f"calls are counted from 0 without gaps: {event}"
                assert event.id is None and event.name is None, f"the id and the name come once: {event}"
        if runs and runs[-1][0] == where:
            runs[-1] = (where, runs[-1][1] + text)
        else:
            runs.append((where, text))
    calls = tuple(
        (name, "".join(text for where, text in runs if where == index and isinstance(where, int)))
        for index, name in enumerate(names)
    )
    return Extracted(tuple(runs), calls, channel)


def assert_split_invariant(make_extractor: Callable[[], Extractor], text: str) -> Extracted:
    """Extract `text` whole, character by character and in every two pieces, each time with a new extractor.

    Return the result. Raises `AssertionError` if the results differ.
    """
    whole = extract(make_extractor(), [text])
    single = extract(make_extractor(), text)
    assert single == whole, f"{text!r} gives {whole} as a whole, but {single} character by character"
    for cut in range(len(text) + 1):
        pieces = [text[:cut], text[cut:]]
        halves = extract(make_extractor(), pieces)
        assert halves == whole, f"{text!r} gives {whole} as a whole, but {halves} as {pieces}"
    return whole


def _given(step: Callable[[], Iterable[ExtractorEvent]], name: str) -> list[ExtractorEvent]:
    try:
        events = step()
        assert events is not None, f"{name} returned None; without events it must return an empty list"
        return list(events)
    except Exception as error:
        error.add_note(f"It came out of {name}.")
        raise


def _assert_went_to(channel: Channel | None, character: str, events: list[ExtractorEvent]) -> None:
    """Assert that `character` went to `channel`, which the extractor stated before it was fed."""
    if channel is None or len(character) != 1 or not events:
        return
    last = events[-1]
    if isinstance(last, Delta) and last.text.endswith(character):
        assert last.channel is channel, f"channel was {channel.value}, but {character!r}, fed next, went to {last}"
