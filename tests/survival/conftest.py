"""A real server process that must survive what a test sends: watched while it does, and compared before and after."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from tests.prepared_command import prepared
from tests.serve.conftest import Client, cached_fake, everything, until

SCRIPTED = Path(__file__).parents[1] / "serve" / "scripted_mlxk.py"
LONGEST_SILENCE = 1.0
"""Seconds in which `/health` must answer throughout; more only by what the machine itself delays the watcher."""
WATCHER = """
import http.client, json, sys, threading, time
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
silence, delay, failures = 0.0, 0.0, []
while True:
    began = time.monotonic()
    if over.wait(0.05):
        break
    delay = max(delay, time.monotonic() - began - 0.05)
    began = time.monotonic()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=180)
        connection.request("GET", "/health")
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        if response.status != 200:
            failures.append(body)
    except OSError as error:
        failures.append(repr(error))
    silence = max(silence, time.monotonic() - began)
print(json.dumps([silence, delay, failures]))
"""
"""In a process of its own: what a test sends is made in this one, which delays its threads."""
LONGEST_LIFE = 3600


class Survivor:
    """A server process with the scripted model `fake`, or with real ones, of which clients use `model`."""

    def __init__(
        self,
        args: list[str],
        *,
        files: int | None = None,
        largest_file: int | None = None,
        stack: int | None = None,
        log: int | None = None,
        script: dict[str, Any] | None = None,
        model: str = "fake",
        python: str = sys.executable,
    ) -> None:
        given = {"RLIMIT_NOFILE": files, "RLIMIT_FSIZE": largest_file, "RLIMIT_STACK": stack}
        limits = {name: value for name, value in given.items() if value}
        scripted = [str(SCRIPTED), json.dumps(script or {"answer": "Hello, world."})]
        command = [python, *(scripted if model == "fake" else ("-m", "mlxk_core")), "serve", *args, "--json"]
        self.popen = subprocess.Popen(
            prepared(command, seconds=LONGEST_LIFE, limits=limits),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if log is None else log,
            text=True,
        )
        document = ""
        assert self.popen.stdout
        while not document.endswith("\n}\n"):
            line = self.popen.stdout.readline()
            assert line, "the server did not start"
            document += line
        self.info: dict[str, Any] = json.loads(document)["data"]
        self.client = Client(self.info["port"] or 0, model=model)

    @property
    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    @property
    def peak(self) -> int:
        """The most resident bytes since `reset_peak`."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def reset_peak(self) -> int:
        """Return the resident bytes from which `peak` counts now."""
        Path(f"/proc/{self.popen.pid}/clear_refs").write_text("5")
        return self.memory

    @property
    def descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.popen.pid}/fd").iterdir())

    @property
    def threads(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.popen.pid}/task").iterdir())

    def end(self) -> int:
        """End it as a supervisor would, and return its exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(180)


class Watch:
    """Within the context `/health` answers all the time, and an answer is the same before and after."""

    def __init__(self, server: Survivor, longest: float = LONGEST_SILENCE) -> None:
        self._server = server
        self._longest = longest

    def __enter__(self) -> Watch:
        self._answer = self._server.client.chat(temperature=0).text
        command = [sys.executable, "-c", WATCHER, str(self._server.client.port)]
        self._watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        output, _ = self._watcher.communicate(b"")
        if error is not None:
            return
        silence, delay, failures = json.loads(output)
        assert self._server.popen.poll() is None, "the server has ended"
        assert failures == []
        assert silence < self._longest + 10 * delay
        assert self._server.client.chat(temperature=0).text == self._answer
        until(lambda: self._server.client.status()["responses"] == 0)


@pytest.fixture
def launch() -> Iterator[Any]:
    """`launch("--queue", "3", files=64)`: a server process. With a `model` it serves the real ones in the cache."""
    cached_fake("fake")
    servers: list[Survivor] = []

    def start(*args: str, **options: Any) -> Survivor:
        port = [] if "--unix" in args else ["--port", "0"]
        servers.append(Survivor([*port, *args], **options))
        return servers[-1]

    yield start
    for server in servers:
        if server.popen.poll() is None:
            server.popen.kill()
        server.popen.wait()
        for stream in (server.popen.stdout, server.popen.stderr):
            if stream:
                stream.close()


@pytest.fixture
def server(launch: Any) -> Survivor:
    return launch()


@contextlib.contextmanager
def no_threads(server: Survivor) -> Iterator[None]:
    """Leave the server too little memory for the stack of a thread."""
    taken = int(Path(f"/proc/{server.popen.pid}/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.prlimit(server.popen.pid, resource.RLIMIT_AS)
    resource.prlimit(server.popen.pid, resource.RLIMIT_AS, (taken + (4 << 20), limits[1]))
    try:
        yield
    finally:
        resource.prlimit(server.popen.pid, resource.RLIMIT_AS, limits)


class Kit:
    """What test modules need beside fixtures."""

    Client = Client
    Watch = Watch
    until = staticmethod(until)
    no_threads = staticmethod(no_threads)
    everything = staticmethod(everything)
    cached_fake = staticmethod(cached_fake)


@pytest.fixture
def kit() -> type[Kit]:
    return Kit
