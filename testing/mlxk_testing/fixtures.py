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
    """A host without any plugin; `host.register(plugin, name="mine")` adds one. It is strict: a failure raises."""
    return Host(strict=True)


@pytest.fixture
def cli(host: Host) -> Callable[..., Result]:
    """`cli("hello", "--json", input="")`: one run of `mlxk` in this process, against the fixture `host`."""
    return partial(run_in_process, host=host)


def run_in_process(*args: str, input: str | bytes = "", host: Host | None = None) -> Result:
    """One run of `mlxk` in this process with streams of its own; `host` None: the installed plugins."""
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
        # Read before the wrappers go: they close these buffers.
        return Result(code, stdout.getvalue().decode(), stderr.getvalue().decode())
    finally:
        vars(sys).update(kept)
