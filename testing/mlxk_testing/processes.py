"""Real `mlxk` processes for tests; none of them outlives its test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Result:
    """The result of a run of `mlxk`."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON document."""
        return json.loads(self.stdout)


class Processes:
    """Starts `mlxk`: `mlxk("list", "--json")` waits for its end, `mlxk.start("serve")` does not."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def __call__(
        self,
        *args: str,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 300,
    ) -> Result:
        """Run `mlxk` to its end. `env` adds to this process' environment; standard input is empty without `input`."""
        done = subprocess.run(
            self.command(*args),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            env={**os.environ, **(env or {})},
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def start(self, *args: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start `mlxk` with pipes for all three streams. It is killed at the end of the test."""
        process = subprocess.Popen(
            self.command(*args),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogateescape",
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )
        self._started.append(process)
        return process

    @staticmethod
    def command(*args: str) -> list[str]:
        """Return the argv of `mlxk args…` under this Python."""
        return [sys.executable, "-m", "mlxk_core", *args]

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def mlxk() -> Iterator[Processes]:
    """Runs real `mlxk` processes with the installed plugins."""
    processes = Processes()
    yield processes
    processes.close()
