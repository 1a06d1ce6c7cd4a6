"""Servers for tests: on real sockets, in this process (with a scripted engine) or in one of their own."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mlxk_core._host.host import Host
from mlxk_core._models.model import Model
from mlxk_serve.config import Limits, ServeConfig
from mlxk_serve.server import Server
from mlxk_testing.fake_engine import FakeBackend, fake_backend, fake_model
from mlxk_testing.tiny_models import in_hub_cache

PATIENCE = 180.0
"""How long a test waits for what must happen; nothing that works comes near."""


def until(holds: Callable[[], Any]) -> Any:
    """What `holds()` gives once it gives something true."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.005)
    raise AssertionError("it did not happen")


@dataclass
class Answer:
    """A response that was read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """The error object, which holds its four keys and nothing else."""
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error

    @property
    def text(self) -> str:
        return self.json["choices"][0]["message"]["content"]


class Events:
    """A stream of server-sent events as it comes in."""

    def __init__(self, response: http.client.HTTPResponse, sock: socket.socket) -> None:
        self.status = response.status
        self.headers = {k.lower(): v for k, v in response.getheaders()}
        self._response = response
        self._sock = sock
        self.comments = 0

    def __iter__(self) -> Iterator[Any]:
        """The data of each event as JSON, and "[DONE]" as it is. Comments are counted."""
        while line := self._response.readline():
            if line.startswith(b":"):
                self.comments += 1
            elif line.startswith(b"data: "):
                data = line[6:].strip()
                yield "[DONE]" if data == b"[DONE]" else json.loads(data)
            else:
                assert line == b"\n", line

    def skip_blank(self) -> None:
        """Read the blank line after an event."""
        assert self._response.readline() == b"\n"

    def wait_for_comment(self) -> None:
        """Reads one line, which must be a comment."""
        assert self._response.readline().startswith(b":")
        assert self._response.readline() == b"\n"

    def leave(self, *, rudely: bool = False) -> None:
        """Closes the connection; rudely, with a reset."""
        if rudely:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._response.close()
        self._sock.close()


@dataclass
class Client:
    """Talks HTTP to one server. `headers` go with every request."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)
    model: str = "fake"

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.request("POST", path, body, headers)

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        connection = self.connect()
        try:
            connection.request(method, path, *_encoded(body), self._headers(headers))
            return read(connection)
        finally:
            connection.close()

    def chat(self, content: str = "Hi", **fields: Any) -> Answer:
        return self.post("/v1/chat/completions", self.chat_body(content, **fields))

    def chat_body(self, content: str = "Hi", **fields: Any) -> dict[str, Any]:
        return {"model": self.model, "messages": [{"role": "user", "content": content}], **fields}

    @contextlib.contextmanager
    def stream(self, body: Mapping[str, Any], path: str = "/v1/chat/completions") -> Iterator[Events]:
        connection = self.connect()
        try:
            connection.request("POST", path, *_encoded({**body, "stream": True}), self._headers(None))
            sock = connection.sock
            response = connection.getresponse()
            yield Events(response, sock)
        finally:
            connection.close()

    @contextlib.contextmanager
    def chat_stream(self, content: str = "Hi", **fields: Any) -> Iterator[Events]:
        with self.stream(self.chat_body(content, **fields)) as events:
            yield events

    def streamed(self, content: str = "Hi", **fields: Any) -> list[Any]:
        """All events of a streamed chat."""
        with self.chat_stream(content, **fields) as events:
            assert events.status == 200
            return list(events)

    def begin(self, path: str, body: Any, **headers: str) -> socket.socket:
        """Sends a request and does not wait for its answer."""
        data = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in self._headers({"connection": "close", **headers}).items()]
        sock = socket.socket()
        # Set before it connects, or the systems' buffers on both sides grow to take 10 MB that nobody reads.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", self.port))
        sock.sendall("\r\n".join([*lines, "", ""]).encode() + data)
        return sock

    def begin_chat(self, content: str = "Hi", **fields: Any) -> socket.socket:
        return self.begin("/v1/chat/completions", self.chat_body(content, **fields))

    def raw(self, data: bytes) -> bytes:
        """What comes back for these bytes, until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as sock:
            sock.sendall(data)
            return everything(sock)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def status(self) -> Any:
        return self.get("/v1/status").json

    def metric(self, sample: str) -> float:
        """The value of a line of `/metrics`; 0 for one that is not there."""
        for line in self.get("/metrics").body.decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return 0.0

    def _headers(self, more: Mapping[str, str] | None) -> dict[str, str]:
        return {**self.headers, **{name.replace("_", "-"): value for name, value in (more or {}).items()}}


def everything(sock: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65536):
            received += data
    return received


def read(connection: http.client.HTTPConnection) -> Answer:
    response = connection.getresponse()
    return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def _encoded(body: Any) -> tuple[bytes | None]:
    return (None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode(),)


class Serving:
    """A server that turns its loop in a thread of this process."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.port: int = server.info["port"]
        self.client = Client(self.port)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._turn, name="test-server")
        server.http.listen()
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self.server.http.wake()
        self._thread.join()
        assert self.server.close(), "the engine thread did not end"

    def _turn(self) -> None:
        while not self._over.is_set():
            self.server.http.turn(1)


Serve = Callable[..., Serving]


@pytest.fixture
def serve(host: Host) -> Iterator[Serve]:
    """`serve(**config)`: a server on the fixture `host`; `limits` are laid over the default ones."""
    servings: list[Serving] = []

    def start(*, limits: Mapping[str, Any] | None = None, **config: Any) -> Serving:
        # Fewer threads than usual: starting them is most of what such a server costs.
        settings = ServeConfig(port=0, hosts=("127.0.0.1",), **{"concurrency": 8, "queue": 16, **config})
        laid_over = {"threads": 4, "close_time": PATIENCE, **(limits or {})}
        settings = replace(settings, limits=replace(Limits(), **laid_over))
        servings.append(Serving(Server(host, settings)))
        return servings[-1]

    yield start
    for serving in servings:
        serving.close()


@pytest.fixture
def engine(host: Host) -> FakeBackend:
    """The scripted engine behind the model `fake`: its `script` may be changed at any time."""
    backend = fake_backend("Hello, world.")
    host.register(backend, name="fake")
    cached_fake("fake")
    return backend


@pytest.fixture
def client(serve: Serve, engine: FakeBackend) -> Client:
    """A client of a server with the scripted model `fake`."""
    return serve().client


def cached_fake(name: str, *, kind: str = "fake", context: int = 4096) -> Model:
    """A scripted model in the hub cache."""

    def write(folder: Path) -> None:
        fake_model(folder, kind=kind, context=context)

    return Model(name=name, path=in_hub_cache(name, write), origin="hub")


class Kit:
    """What test modules need beside fixtures, which import nothing from here."""

    Client = Client
    until = staticmethod(until)
    everything = staticmethod(everything)
    read = staticmethod(read)
    cached_fake = staticmethod(cached_fake)


@pytest.fixture
def kit() -> type[Kit]:
    return Kit
