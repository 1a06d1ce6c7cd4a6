"""An empty host for tests, and a command line that runs against it in this process."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from mlxk_core.cli import run
from mlxk_core.host import Host
from mlxk_core.testing.processes import Result


@pytest.fixture
def host() -> Host:
    """A host without any plugin; `host.register(plugin, name="mine")` adds one. It is strict: a failure raises."""
    return Host(strict=True)


@pytest.fixture
def cli(host: Host, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`cli("hello", "--json", input="")`: one run of `mlxk` in this process, against the fixture `host`."""
    default = host

    def invoke(*args: str, input: str | bytes = "", host: Host | None = None) -> Result:
        data = input.encode() if isinstance(input, str) else input
        stdout, stderr = io.BytesIO(), io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
            patch.setattr(sys, "stdout", io.TextIOWrapper(stdout, encoding="utf-8", write_through=True))
            patch.setattr(sys, "stderr", io.TextIOWrapper(stderr, encoding="utf-8", write_through=True))
            code = run(args, host=host or default)
            # Read here: the wrappers close these buffers when they go.
            return Result(code, stdout.getvalue().decode(), stderr.getvalue().decode())

    return invoke
