"""What hostile requests do to `mlxk serve`, `mlx_lm.server` and mlx-knife: the same cases against each, as one table.

    uv run python benchmarks/survival.py [--server mlxk|mlx_lm|mlx-knife]… [--case WORD]… [--python PYTHON] [--markdown]

Each case runs against a server process of its own that serves one tiny model. Meanwhile another process asks for
`/health` (or `/v1/models`) twenty times a second. A server survives a case if its process lives, its longest silence
is below a second, a greedy answer is the same before and after, and it keeps less than 200 MB more than before.
mlx-knife and mlx_lm need a Python that has them: `--python mlx-knife=/path/to/python`. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxk_testing.tiny_models import in_hub_cache, random_model

MEGABYTE = 1 << 20
PATIENCE = 90.0
"""Seconds that one request may take before its client gives up."""
LONGEST_SILENCE = 1.0
LARGEST_GROWTH = 200 * MEGABYTE
MOST_MEMORY = 6 << 30
WATCHER = Path(__file__).with_name("watcher.py")
MODEL = "mlx-community/survival-tiny"  # mlx-knife serves only what it takes for an MLX model


@dataclass
class Target:
    """A running server, seen from outside."""

    port: int
    process: subprocess.Popen[Any]
    health: str

    @property
    def processes(self) -> list[int]:
        """The ids of the process and of all that it started: mlx-knife serves in a child."""
        found = [self.process.pid]
        for id in found:
            for children in Path(f"/proc/{id}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    found += map(int, children.read_text().split())
        return found

    @property
    def memory(self) -> int:
        """Resident bytes; 0 after its end."""
        total = 0
        for id in self.processes:
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{id}/status").read_text()
                total += int(status.partition("VmRSS:")[2].split()[0]) * 1024 if "VmRSS:" in status else 0
        return total

    @property
    def cpu(self) -> float:
        """CPU seconds so far."""
        total = 0
        for id in self.processes:
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{id}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def signal(self, number: int) -> None:
        """Send a signal to all of its processes."""
        for id in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(id, number)

    def connect(self, timeout: float = PATIENCE) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def send(self, method: str, path: str, body: bytes | None = None) -> tuple[str, bytes]:
        """Return the status and the body of the response; what went wrong instead of a status."""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost:{self.port}\r\nConnection: close\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        try:
            with self.connect() as sock:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # rejected while it is sent
                    sock.sendall(head.encode() + b"\r\n" + (body or b""))
                received = b""
                with contextlib.suppress(ConnectionResetError):
                    while data := sock.recv(1 << 16):
                        received += data
        except TimeoutError:
            return "no answer", b""
        except OSError as error:
            return type(error).__name__, b""
        head, _, rest = received.partition(b"\r\n\r\n")
        words = head.split(b" ", 2)
        return (words[1].decode() if len(words) > 1 else "closed"), rest

    def post(self, body: Any, path: str = "/v1/chat/completions") -> str:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", path, data)[0]

    def chat(self, content: str = "Hi", **fields: Any) -> dict[str, Any]:
        return {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 4, **fields}

    def answer(self) -> str:
        """A greedy answer, or the status instead of one."""
        status, body = self.send("POST", "/v1/chat/completions", json.dumps(self.chat(temperature=0)).encode())
        if status != "200":
            return status
        with contextlib.suppress(ValueError, LookupError):
            start, end = body.index(b"{"), body.rindex(b"}") + 1
            return str(json.loads(body[start:end])["choices"][0]["message"]["content"])
        return "not an answer"


Case = Callable[[Target], str]
CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    def add(run: Case) -> Case:
        CASES[name] = run
        return run

    return add


def _tool(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "strict": True, "parameters": parameters}}


def _schema(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}}


@case("a pattern that backtracks without end")
def _pattern(target: Target) -> str:
    text = {"type": "string", "pattern": "^(a+)+$"}
    tool = _tool({"type": "object", "properties": {"x": text}, "required": ["x"]})
    return target.post(target.chat("a" * 40 + "!", tools=[tool], response_format=_schema(text)))


@case("references that multiply to a million nodes")
def _references(target: Target) -> str:
    defs: dict[str, Any] = {"l0": {"type": "integer"}}
    for i in range(1, 7):
        defs[f"l{i}"] = {"type": "object", "properties": {f"p{j}": {"$ref": f"#/$defs/l{i - 1}"} for j in range(10)}}
    return target.post(target.chat(response_format=_schema({"$ref": "#/$defs/l6", "$defs": defs})))


@case("an enum of 8,000 objects")
def _enum(target: Target) -> str:
    values = [{"a": i, "b": [i, str(i)]} for i in range(8000)]
    return target.post(target.chat(response_format=_schema({"enum": values})))


@case("references to what is not a schema")
def _wrong_references(target: Target) -> str:
    schemas = [{"$ref": "#/a", "a": value} for value in ("text", 3, [1])]
    return _counted(target.post(target.chat(response_format=_schema(schema))) for schema in schemas)


@case("regular expressions that overflow")
def _overflow(target: Target) -> str:
    patterns = ["a{99999999999}", "(" * 5000 + ")" * 5000, "((a{500}){500}){500}", "\\u{110000}"]
    schemas: list[Any] = [{"type": "string", "pattern": pattern} for pattern in patterns]
    schemas += [{"type": "object", "patternProperties": {pattern: {}}} for pattern in patterns]
    return _counted(target.post(target.chat(response_format=_schema(schema))) for schema in schemas)


@case("a prompt of 4 MB")
def _prompt(target: Target) -> str:
    return target.post(target.chat("word " * (4 * MEGABYTE // 5)))


@case("a prompt of 4 MB, n = 4")
def _prompts(target: Target) -> str:
    return target.post(target.chat("word " * (4 * MEGABYTE // 5), n=4))


@case("16 stop strings of 0.9 MB")
def _stops(target: Target) -> str:
    return target.post(target.chat(stop=[f"{i:x}" * (9 * MEGABYTE // 10) for i in range(16)]))


@case("15 MB of [] in an ignored field")
def _lists(target: Target) -> str:
    return target.post(_with(target, b"unheard_of", b"[" + b"[]," * (5 * MEGABYTE) + b"0]"))


@case("15 MB of {} in an ignored field")
def _objects(target: Target) -> str:
    return target.post(_with(target, b"unheard_of", b"[" + b"{}," * (5 * MEGABYTE) + b"0]"))


@case("a megabyte of nesting")
def _nesting(target: Target) -> str:
    bodies = (b"[" * MEGABYTE, b'{"a":' * MEGABYTE, _with(target, b"messages", b"[" * MEGABYTE))
    return _counted(target.post(body) for body in bodies)


@case("numbers without measure")
def _numbers(target: Target) -> str:
    huge = b"9" * 400_000
    fields = (b"max_tokens", b"temperature", b"seed", b"n", b"top_k", b"unheard_of")
    return _counted(target.post(_with(target, field, number)) for field in fields for number in (huge, b"1e999999999"))


@case("a body in chunks of one byte, 2 MB")
def _chunks(target: Target) -> str:
    with target.connect() as sock:
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(128):
                sock.sendall(b"1\r\nx\r\n" * 16384)
            sock.sendall(b"0\r\n\r\n")
        return _status_of(sock)


@case("8 MB of blank lines")
def _blank(target: Target) -> str:
    with target.connect() as sock, contextlib.suppress(OSError):
        for _ in range(16):
            sock.sendall(b"\r\n" * (MEGABYTE // 4))
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return _status_of(sock)
    return "closed"


@case("a million headers")
def _headers(target: Target) -> str:
    with target.connect() as sock:
        with contextlib.suppress(OSError):
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
            for i in range(0, 1_000_000, 10_000):
                sock.sendall(b"".join(b"x-%d: y\r\n" % n for n in range(i, i + 10_000)))
            sock.sendall(b"\r\n")
        return _status_of(sock)


@case("200 clients that never finish their request")
def _slow(target: Target) -> str:
    socks = [target.connect() for _ in range(200)]
    for sock in socks:
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
    try:
        return target.post(target.chat())
    finally:
        for sock in socks:
            sock.close()


@case("200 streams at once, all left")
def _streams(target: Target) -> str:
    body = json.dumps(target.chat(stream=True) | {"max_tokens": 400}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/json\r\n\r\n"
    socks = [target.connect() for _ in range(200)]
    for sock in socks:
        sock.sendall(head.encode() + body)
    time.sleep(2)
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
    return target.post(target.chat())


@case("a reader that reads nothing")
def _reader(target: Target) -> str:
    body = json.dumps(target.chat(stream=True) | {"max_tokens": 1500}).encode()
    socks = []
    for _ in range(20):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", target.port))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        sock.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        socks.append(sock)
    try:
        return target.post(target.chat())
    finally:
        for sock in socks:
            sock.close()


@case("two lengths for one body")
def _smuggling(target: Target) -> str:
    with target.connect() as sock:
        body = b"0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        head = f"POST /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        sock.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + body)
        return _status_of(sock)


@case("suspended for nearly a second")
def _suspended(target: Target) -> str:
    target.signal(signal.SIGSTOP)
    time.sleep(0.9)  # below the silence that counts: what matters is what comes after it
    target.signal(signal.SIGCONT)
    return target.post(target.chat())


def _with(target: Target, field: bytes, value: bytes) -> bytes:
    chat = target.chat()
    chat.pop(field.decode(), None)
    return json.dumps(chat).encode()[:-1] + b', "' + field + b'": ' + value + b"}"


def _status_of(sock: socket.socket) -> str:
    try:
        words = sock.recv(1 << 16).split(b" ", 2)
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return type(error).__name__
    return words[1].decode(errors="replace") if len(words) > 1 else "closed"


def _counted(statuses: Iterator[str]) -> str:
    seen: dict[str, int] = {}
    for status in statuses:
        seen[status] = seen.get(status, 0) + 1
    return ", ".join(f"{status} x {count}" for status, count in seen.items())


@dataclass
class Outcome:
    """What one case did to one server."""

    response: str
    seconds: float
    cpu: float
    silence: float
    failures: int
    peak: int
    kept: int
    alive: bool
    same_answer: bool

    @property
    def survived(self) -> bool:
        return (
            self.alive
            and self.same_answer
            and self.failures == 0
            and self.silence < LONGEST_SILENCE
            and self.kept < LARGEST_GROWTH
        )


def run(target: Target, attack: Case) -> Outcome:
    """Run one case against one server."""
    answer = target.answer()
    watcher = subprocess.Popen(
        [sys.executable, str(WATCHER), str(target.port), target.health], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    time.sleep(0.3)
    before, cpu, began = target.memory, target.cpu, time.monotonic()
    peak = [before]
    over = threading.Event()

    def weigh() -> None:
        while not over.wait(0.05):
            peak.append(target.memory)

    thread = threading.Thread(target=weigh)
    thread.start()
    try:
        response = attack(target)
    except OSError as error:
        response = type(error).__name__
    seconds = time.monotonic() - began
    same = target.answer() == answer
    time.sleep(6)  # idle: what can be given back is given back
    over.set()
    thread.join()
    spent, after = target.cpu - cpu, target.memory
    output, _ = watcher.communicate(b"")
    times, failures = json.loads(output)
    return Outcome(
        response, seconds, spent, times[-1] if times else 0.0, failures, max(peak) - before, after - before,
        target.process.poll() is None, same,
    )  # fmt: skip


def _bound() -> None:
    """End the server after a quarter of an hour, and let it fail rather than take the machine's memory."""
    signal.alarm(900)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))


@contextlib.contextmanager
def serve(name: str, python: str, folder: Path) -> Iterator[Target]:
    """Start a server on a free port; end it by its own process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = ["--host", "127.0.0.1", "--port", str(port)]
    command = {
        "mlxk": [python, "-m", "mlxk_core", "serve", *common, "--log-level", "error"],
        "mlx_lm": [python, "-m", "mlx_lm", "server", *common, "--model", str(folder), "--log-level", "ERROR"],
        "mlx-knife": [str(Path(python).with_name("mlxk")), "serve", *common, "--model", MODEL, "--log-level", "error"],
    }[name]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=_bound,
    )  # fmt: skip
    target = Target(port, process, "/health")
    try:
        for _ in range(900):
            if process.poll() is not None or target.send("GET", "/health")[0] == "200":
                break
            time.sleep(0.1)
        if process.poll() is not None:
            raise SystemExit(f"{name} does not start: {' '.join(command)}")
        yield target
    finally:
        target.signal(signal.SIGKILL)
        process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", action="append", choices=("mlxk", "mlx_lm", "mlx-knife"))
    parser.add_argument("--case", action="append", default=[])
    parser.add_argument("--python", action="append", default=[], metavar="SERVER=PYTHON")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    pythons = dict(pair.split("=", 1) for pair in options.python)
    servers = options.server or ["mlxk"]
    chosen = {n: c for n, c in CASES.items() if not options.case or any(word in n for word in options.case)}
    results: dict[str, dict[str, Outcome]] = {}
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(HF_HOME=home, HF_HUB_OFFLINE="1", XDG_CACHE_HOME=home)
        os.environ.pop("HF_HUB_CACHE", None)
        folder = in_hub_cache(MODEL, lambda folder: random_model(folder) and None)
        for name, attack in chosen.items():
            for server in servers:
                with serve(server, pythons.get(server, sys.executable), folder) as target:
                    outcome = run(target, attack)
                results.setdefault(name, {})[server] = outcome
                if not options.markdown:
                    print(f"{name:<48} {server:<10} {'ok' if outcome.survived else 'BAD':<4} {outcome}", flush=True)
    if options.markdown:
        print(table(results, servers))
    return 0 if all(outcome.survived for row in results.values() for outcome in row.values()) else 1


def table(results: dict[str, dict[str, Outcome]], servers: list[str]) -> str:
    """Return the results as a table for the docs."""
    lines = ["| what comes in | " + " | ".join(servers) + " |", "|---" * (len(servers) + 1) + "|"]
    for name, row in results.items():
        lines.append(f"| {name} | " + " | ".join(_cell(row[server]) for server in servers) + " |")
    return "\n".join(lines)


def _cell(outcome: Outcome) -> str:
    found = [outcome.response]
    if not outcome.alive:
        found.append("**the process ended**")
    elif not outcome.same_answer:
        found.append("**no answer, or another one, afterwards**")
    if outcome.silence >= LONGEST_SILENCE:
        found.append(f"**`/health` silent for {outcome.silence:.0f} s**")
    elif outcome.failures:
        found.append("**`/health` failed**")
    if outcome.kept >= LARGEST_GROWTH:
        found.append(f"**keeps {outcome.kept // MEGABYTE:,} MB**")
    elif outcome.peak >= LARGEST_GROWTH:
        found.append(f"takes {outcome.peak // MEGABYTE:,} MB for a while")
    return "; ".join(found)


if __name__ == "__main__":
    sys.exit(main())
