"""One turn of the event loop: waits for events of sockets and handles them, newcomers before a flood."""

from __future__ import annotations

import select
import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Any

from waitress import wasyncore

from mlxk_serve.http.connection import HANGUP, Connection
from mlxk_serve.http.new_connection import NewConnection
from mlxk_serve.http.turns import Turns

_SENDING, _NEW, _OTHERS = 0.02, 0.04, 0.02
"""Seconds of a turn for each kind of connection. What is ready and not handled then is ready in the next turn too."""
_LOOKING = 0.01
"""Seconds of a turn for looking which of the new connections are probes."""

Event = tuple[Any, int]
"""A socket of the loop, and its events as `poll` reports them."""


class Rotation:
    """The order of connections that take turns: it goes on after the `last` one that had its turn."""

    def __init__(self) -> None:
        self.last = 0

    def ordered(self, events: list[Event]) -> list[Event]:
        events.sort(key=_serial)
        start = bisect_right(events, self.last, key=_serial)
        return events[start:] + events[:start]


class EventLoop:
    """Handles the events of the sockets in `map`: listeners first, then connections that send a response or close, then
    what new connections send first (a probe is usually one), then all others in turn."""

    def __init__(self, map: Mapping[int, Any], turns: Turns) -> None:
        self._map = map
        self._turns = turns
        self._sending = Rotation()
        self._others = Rotation()

    def turn(self, timeout: float) -> None:
        """Wait for events for at most `timeout` seconds and handle them."""
        poll = select.poll()
        polled: dict[int, Any] = {}
        unparsed: set[int] = set()
        for number, each in list(self._map.items()):
            if isinstance(each, Connection):
                if each.parsable:
                    unparsed.add(number)
                poll.register(number, each.interest)
            elif each.readable():
                poll.register(number, select.POLLIN)
            else:
                continue
            polled[number] = each
        ready = dict(poll.poll(0 if unparsed else int(timeout * 1000)))
        for number in unparsed:
            ready[number] = ready.get(number, 0) | select.POLLIN
        for number, each in polled.items():
            each.quiet = number not in ready
        if ready:
            with self._turns.of_loop():
                self._handle_all([(polled[number], flags) for number, flags in ready.items()])

    def _handle_all(self, events: Iterable[Event]) -> None:
        sending: list[Event] = []
        new: list[Event] = []
        others: list[Event] = []
        for event in events:
            each, flags = event
            if not isinstance(each, Connection):
                self._handle(event)
            elif flags & select.POLLOUT:
                sending.append(event)
            elif isinstance(each, NewConnection):
                new.append(event)
            else:
                others.append(event)
        self._handle_some(self._sending.ordered(sending), _SENDING, self._sending)
        self._handle_some(_ordered(new), _NEW)
        self._handle_some(self._others.ordered(others), _OTHERS, self._others)

    def _handle_some(self, events: Iterable[Event], seconds: float, rotation: Rotation | None = None) -> None:
        end = time.monotonic() + seconds
        for event in events:
            self._handle(event)
            if rotation is not None:
                rotation.last = event[0].serial
            if time.monotonic() > end:
                return

    def _handle(self, event: Event) -> None:
        each, flags = event
        # A connection that was closed in this turn may have left its number to a new one.
        if self._map.get(each._fileno) is not each:
            return
        if isinstance(each, NewConnection):
            if (channel := each.receive()) is not None:
                wasyncore.readwrite(channel, select.POLLIN)
        elif isinstance(each, Connection) and flags & HANGUP and not flags & (select.POLLIN | select.POLLOUT):
            each.handle_close()
        else:
            wasyncore.readwrite(each, flags)


def _ordered(new: list[Event]) -> list[Event]:
    """Return new connections in order: probes first, then from both ends, since who connects before, during or after a
    flood need not wait until the flood is over."""
    new.sort(key=_serial)
    new = [new[i // 2] if i % 2 else new[-1 - i // 2] for i in range(len(new))]
    end = time.monotonic() + _LOOKING
    return sorted(new, key=lambda event: time.monotonic() > end or not event[0].probing)


def _serial(event: Event) -> int:
    serial: int = event[0].serial
    return serial
