"""One process that keeps many hostile connections to a server of this machine open, with bare sockets and epoll.

    python attacker.py CASE PORT OPEN SECONDS NICE

Prints the number of connections that it made, as JSON. Linux only.
"""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import struct
import sys
import time
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from itertools import count

RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: the connection ends with a reset."""
_EVENTS_AT_ONCE = 512
_CONNECTS_AT_ONCE = 64
_numbers = count()
_WAIT = 0.05
"""Longest wait for events, in seconds."""


class Then(Enum):
    """What a client does when it has sent its first bytes. It connects again when its connection ends."""

    READ = auto()
    IGNORE = auto()
    """Never read."""
    HALF_CLOSE = auto()
    """End the own direction, and read."""
    CLOSE = auto()
    RESET = auto()


@dataclass(frozen=True)
class Attack:
    """What each client sends first (with its number for `NUMBER`), what it does then, and what it sends again and again
    every `interval` seconds."""

    first: bytes = b""
    then: Then = Then.READ
    more: bytes = b""
    interval: float = 0.0


def _get(path: str, connection: str = "keep-alive") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n".encode()


def _chat() -> bytes:
    body = json.dumps({"model": "fake", "messages": [{"role": "user", "content": "Hello"}], "stream": True})
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


NUMBER = b"{number}"
_HALF_A_BODY = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 100000\r\n\r\n{"
)
_CHUNKED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
ATTACKS = {
    "idle": Attack(),
    "slow headers": Attack(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", more=b"a", interval=1.0),
    "half-closes": Attack(then=Then.HALF_CLOSE),
    "connects and closes": Attack(then=Then.CLOSE),
    "resets": Attack(then=Then.RESET),
    "pipelines, closed": Attack(_get("/livez") * 200, then=Then.CLOSE),
    "pipelines, kept": Attack(_get("/livez") * 200),
    "unread responses": Attack(_get("/openapi.json") * 50, then=Then.IGNORE),
    "header floods": Attack(b"GET / HTTP/1.1\r\n", more=b"x: y\r\n" * 100),
    "GET storm": Attack(_get("/v1/models", "close")),
    "probe storm": Attack(_get("/livez", "close")),
    "different probes": Attack(_get("/livez", "close\r\nX-Number: {number}")),
    "half bodies": Attack(_HALF_A_BODY + b" " * 50_000),
    "one-byte chunks": Attack(_CHUNKED, more=b"1\r\n \r\n" * 100),
    "chats": Attack(_chat()),
}


class Client:
    """One connection of an attack."""

    def __init__(self, attack: Attack, port: int) -> None:
        self.attack = attack
        self.unsent = attack.first.replace(NUMBER, b"%d" % next(_numbers))
        self.began = False
        """Whether the connection was made, and the first bytes were sent."""
        self.due: float | None = None
        """When to send more, once what was begun is sent."""
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.connect_ex(("127.0.0.1", port))

    @property
    def sends(self) -> bool:
        """Whether the client waits until it can send."""
        return not self.began or bool(self.unsent)

    @property
    def interest(self) -> int:
        """Return the epoll events that the client waits for."""
        reads = select.EPOLLIN if self.attack.then is not Then.IGNORE else select.EPOLLRDHUP
        return reads | (select.EPOLLOUT if self.sends else 0)

    def handle(self, flags: int, now: float) -> bool:
        """Go on; return whether the connection is still open."""
        if flags & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP):
            return False
        try:
            if flags & select.EPOLLIN and not self.sock.recv(1 << 16):
                return False
            return not flags & select.EPOLLOUT or self._send(now)
        except BlockingIOError:
            return True
        except OSError:
            return False

    def send_more(self, now: float) -> bool:
        """Send what is due; return whether the connection is still open."""
        self.unsent = self.attack.more
        try:
            return self._send(now)
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _send(self, now: float) -> bool:
        if self.unsent:
            self.unsent = self.unsent[self.sock.send(self.unsent) :]
        if not self.unsent and self.attack.more:
            self.due = now + self.attack.interval
        if self.began or self.unsent:
            return True
        self.began = True
        match self.attack.then:
            case Then.HALF_CLOSE:
                self.sock.shutdown(socket.SHUT_WR)
            case Then.RESET:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return self.attack.then not in (Then.CLOSE, Then.RESET)


class Attackers:
    """The clients of one attack: `most` at a time."""

    def __init__(self, attack: Attack, port: int, most: int) -> None:
        self._attack, self._port, self._most = attack, port, most
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._ended = 0
        self._due = deque[Client]()  # in order: the interval is the same for all

    def run(self, seconds: float) -> int:
        """Attack for some seconds; return how many connections were made."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            for _ in range(min(_CONNECTS_AT_ONCE, self._most - len(self._clients))):
                client = Client(self._attack, self._port)
                self._clients[client.sock.fileno()] = client
                self._epoll.register(client.sock, client.interest)
            waits = len(self._clients) >= self._most and not self._is_due(now)
            for number, flags in self._epoll.poll(_WAIT if waits else 0, _EVENTS_AT_ONCE):
                client = self._clients[number]
                before = client.interest, client.due
                self._go_on(client, client.handle(flags, now), *before)
            for _ in range(_EVENTS_AT_ONCE):
                if not self._is_due(now):
                    break
                client = self._due.popleft()
                if client.sock.fileno() >= 0:
                    client.due = None
                    before = client.interest, client.due
                    self._go_on(client, client.send_more(now), *before)
        return self._ended + sum(client.began for client in self._clients.values())

    def _is_due(self, now: float) -> bool:
        return bool(self._due) and (self._due[0].due or 0.0) <= now

    def _go_on(self, client: Client, is_open: bool, interest: int, due: float | None) -> None:
        if not is_open:
            self._ended += client.began
            del self._clients[client.sock.fileno()]
            client.sock.close()
            return
        if client.interest != interest:
            self._epoll.modify(client.sock, client.interest)
        if client.due is not None and due is None:
            self._due.append(client)


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    case, port, most, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    os.nice(int(sys.argv[5]))
    sys.stdout.write(json.dumps(Attackers(ATTACKS[case], port, most).run(seconds)))
    sys.stdout.flush()
    os._exit(0)  # the system closes thousands of sockets faster


if __name__ == "__main__":
    main()
