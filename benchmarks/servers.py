"""Servers for benchmarks: on a free port of this machine, with a bounded life, ended by their own process id."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Served:
    """A server that listens on 127.0.0.1."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as response:
            return json.load(response)


@contextlib.contextmanager
def mlxk_serve(*args: str, environment: Mapping[str, str] | None = None, life: int = 900) -> Iterator[Served]:
    """`mlxk serve args…`. Fails if it does not end with 0 when it is told to."""
    command = [sys.executable, "-m", "mlxk_core", "serve", "--port", "0", "--json", "--log-level", "warning", *args]
    with _started(command, environment, life) as (process, log):
        document = ""
        assert process.stdout
        while not document.endswith("\n}\n"):
            line = process.stdout.readline().decode()
            if not line:
                raise SystemExit(log.read_text())
            document += line
        yield Served(json.loads(document)["data"]["port"], process, log)
        process.send_signal(signal.SIGTERM)
        if process.wait(timeout=60):
            raise SystemExit(f"mlxk serve ended with {process.returncode}:\n{log.read_text()}")


@contextlib.contextmanager
def mlx_lm_server(folder: Path, *, life: int = 900) -> Iterator[Served]:
    """`mlx_lm.server` with the model in `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlx_lm", "server", "--host", "127.0.0.1", "--port", str(port)]
    with _started([*command, "--model", str(folder), "--log-level", "WARNING"], None, life) as (process, log):
        served = Served(port, process, log)
        for _ in range(600):
            if process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                served.get("/health")
                yield served
                return
            time.sleep(0.1)
        raise SystemExit(f"mlx_lm.server does not answer:\n{log.read_text()}")


@contextlib.contextmanager
def _started(
    command: list[str], environment: Mapping[str, str] | None, life: int
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log.txt"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=dict(environment) if environment is not None else None,
                preexec_fn=lambda: signal.alarm(life),  # outlives the exec, and ends it if nobody else does
            )
        try:
            yield process, log
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
            process.communicate()
