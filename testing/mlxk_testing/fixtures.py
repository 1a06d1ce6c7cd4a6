"""An empty host for tests, and a command line that runs against it in this process."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from functools import partial

import pytest

from mlxk_core.api.commands import run
from mlxk_core.api.host import Host
from mlxk_testing.processes import Result


@pytest.fixture
def host() -> Host:
    """A host without plugins; `host.register(plugin, name="mine")` adds one. It is strict: a failure is raised."""
    return Host(strict=True)


@pytest.fixture
def cli(host: Host) -> Callable[..., Result]:
    """A function that runs `mlxk` in this process with the fixture `host`: `cli("hello", "--json", input="")`."""
    return partial(run_in_process, host=host)


def run_in_process(*args: str, input: str | bytes = "", host: Host | None = None) -> Result:
    """Run `mlxk` in this process with its own streams. `host` None: the installed plugins."""
    data = input.encode() if isinstance(input, str) else input
    stdout, stderr = io.BytesIO(), io.BytesIO()
    streams = {
        "stdin": io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"),
        "stdout": io.TextIOWrapper(stdout, encoding="utf-8", write_through=True),
        "stderr": io.TextIOWrapper(stderr, encoding="utf-8", write_through=True),
    }
    kept = {name: getattr(sys, name) for name in streams}
    try:
        vars(sys).update(streams)
        code = run(args, host=host)
        # Read now: the wrappers close these buffers when they are deleted.
        return Result(code, stdout.getvalue().decode(), stderr.getvalue().decode())
    finally:
        vars(sys).update(kept)
