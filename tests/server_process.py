"""A real `mlxk serve` process for tests, with a home and a hub cache of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.prepared_command import prepared

LONGEST_SECONDS = 7200
"""No server outlives this, whatever becomes of the tests."""


class ServerProcess:
    """`mlxk serve`, listening. `close` ends it as a supervisor would and looks at what it leaves."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.folder = folder
        self._log = folder / "log.txt"
        command = [sys.executable, "-m", "mlxk_core", "serve", "--port", "0", "--json", *args]
        with self._log.open("wb") as log:
            self.popen = subprocess.Popen(
                prepared(command, seconds=LONGEST_SECONDS),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        document = ""
        assert self.popen.stdout
        while not document.endswith("\n}\n"):
            line = self.popen.stdout.readline()
            assert line, self._log.read_text()
            document += line
        self.base_url: str = json.loads(document)["data"]["base_url"]

    @property
    def variables(self) -> dict[str, str]:
        """All that a client is told: another base URL, and a key because it wants one."""
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": "none-needed"}

    @property
    def status(self) -> dict:
        with urllib.request.urlopen(f"{self.base_url}/status", timeout=180) as response:
            return json.load(response)

    def wait_until_idle(self) -> None:
        """Wait for the end of all requests: they are counted until after the last byte of their response."""
        for _ in range(2400):
            left = [self.status[name] for name in ("active", "waiting", "responses")]
            if not any(left):
                break
            time.sleep(0.05)
        assert not any(left), left

    def close(self) -> None:
        try:
            self.wait_until_idle()
            self.popen.send_signal(signal.SIGTERM)
            assert self.popen.wait(timeout=180) == 0
            assert "Traceback" not in self._log.read_text(), self._log.read_text()
        finally:
            self.kill()

    def kill(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.communicate()


@contextlib.contextmanager
def own_home(folder: Path) -> Iterator[None]:
    """Every test has a hub cache of its own; what lives for the session needs another."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name in ("HF_HUB_CACHE", "HF_TOKEN") or name.startswith("MLXK_"):
                patch.delenv(name)
        patch.setenv("HF_HOME", str(folder))
        patch.setenv("HF_HUB_OFFLINE", "1")
        for kind in ("CACHE", "CONFIG", "DATA", "STATE"):
            patch.setenv(f"XDG_{kind}_HOME", str(folder / kind.lower()))
        yield
