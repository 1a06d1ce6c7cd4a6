"""One turn of the event loop: waits for events of sockets and handles them, newcomers before a flood."""

from __future__ import annotations

import select
import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Any

from waitress import wasyncore

from mlxk_serve.http.connection import Connection
from mlxk_serve.http.new_connection import NewConnection
from mlxk_serve.http.turns import Turns

_SENDING, _NEW, _OTHERS = 0.02, 0.04, 0.02
"""Seconds of a turn for each kind of connection. What is ready and not handled then is ready in the next turn too."""
_LOOKING = 0.01
"""Seconds of a turn for looking which of the new connections are probes."""

Event = tuple[Connection, int]
"""A connection, and its events as `poll` reports them."""


class Rotation:
    """The order of connections that take turns: it goes on after the `last` one that had its turn."""

    def __init__(self) -> None:
        self.last = 0

    def ordered(self, events: list[Event]) -> list[Event]:
        events.sort(key=_serial)
        start = bisect_right(events, self.last, key=_serial)
        return events[start:] + events[:start]


class EventLoop:
    """Handles the events of `sockets` (listeners, and what wakes the loop) and of `connections`.

    First come connections that send a response or close, then what new connections send first (a probe is usually one),
    then all others in turn. Listeners accept before each of these: of those who connect faster than they are accepted,
    the system tells some to try again in a second.
    """

    def __init__(self, sockets: Mapping[int, Any], connections: Mapping[int, Connection], turns: Turns) -> None:
        self._sockets = sockets
        self._connections = connections
        self._turns = turns
        self._sending = Rotation()
        self._others = Rotation()

    def turn(self, timeout: float) -> None:
        """Wait for events for at most `timeout` seconds and handle them."""
        poll = select.poll()
        for number, sock in self._sockets.items():
            if sock.readable():
                poll.register(number, select.POLLIN)
        connections = list(self._connections.items())
        unparsed = []
        for number, each in connections:
            poll.register(number, each.interest)
            if each.parsable:
                unparsed.append(number)
        ready = dict(poll.poll(0 if unparsed else int(timeout * 1000)))
        for number in unparsed:
            ready[number] = ready.get(number, 0) | select.POLLIN
        for number, each in connections:
            each.quiet = number not in ready
        if ready:
            with self._turns.of_loop():
                self._handle_all(ready, connections)

    def _handle_all(self, ready: Mapping[int, int], connections: Iterable[tuple[int, Connection]]) -> None:
        sending: list[Event] = []
        new: list[Event] = []
        others: list[Event] = []
        for number, each in connections:
            if flags := ready.get(number):
                kind = sending if flags & select.POLLOUT else new if isinstance(each, NewConnection) else others
                kind.append((each, flags))
        sockets = [sock for number, sock in self._sockets.items() if number in ready]
        _read(sockets)
        listeners = [sock for sock in sockets if sock.accepting]
        self._handle(self._sending.ordered(sending), _SENDING, self._sending)
        _read(listeners)
        self._handle(_ordered(new), _NEW)
        _read(listeners)
        self._handle(self._others.ordered(others), _OTHERS, self._others)

    def _handle(self, events: Iterable[Event], seconds: float, rotation: Rotation | None = None) -> None:
        end = time.monotonic() + seconds
        for each, flags in events:
            # A connection that was closed in this turn may have left its number to a new one.
            if each._fileno is not None and self._connections.get(each._fileno) is each:
                each.handle(flags)
            if rotation is not None:
                rotation.last = each.serial
            if time.monotonic() > end:
                return


def _read(sockets: Iterable[Any]) -> None:
    for sock in sockets:
        wasyncore.readwrite(sock, select.POLLIN)


def _ordered(new: list[Event]) -> list[Event]:
    """Return new connections in order: probes first, then from both ends, since who connects before, during or after a
    flood need not wait until the flood is over."""
    new.sort(key=_serial)
    new = [new[i // 2] if i % 2 else new[-1 - i // 2] for i in range(len(new))]
    end = time.monotonic() + _LOOKING

    def last(event: Event) -> bool:
        return time.monotonic() > end or not (isinstance(event[0], NewConnection) and event[0].probing)

    return sorted(new, key=last)


def _serial(event: Event) -> int:
    return event[0].serial
