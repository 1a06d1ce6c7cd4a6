"""The service as a launch agent of macOS."""

from __future__ import annotations

import os
import plistlib
import re
from collections.abc import Sequence
from typing import Literal

from mlxk_core.api.paths import home_folder
from mlxk_service.definition import Definition
from mlxk_service.manager import ServiceCommandFailed, ServiceState, run

LABEL = "io.github.mlxk.serve"
_FIELD = re.compile(r"^\s*(state|pid|last exit code) = (.+)$", re.MULTILINE)


class Launchd:
    """Service manager that uses `launchctl` in the session of the logged-in user."""

    name = "launchd"

    def __init__(self) -> None:
        home = home_folder()
        self.unit_path = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
        self._log = home / "Library" / "Logs" / "mlxk-serve.log"
        self._domain = f"gui/{os.getuid()}"
        self._service = f"{self._domain}/{LABEL}"

    def unit(self, definition: Definition) -> str:
        data = {
            "Label": LABEL,
            "ProgramArguments": list(definition.command),
            "EnvironmentVariables": dict(definition.environment),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 5,
            "ProcessType": "Interactive",  # otherwise macOS throttles it
            "StandardOutPath": str(self._log),
            "StandardErrorPath": str(self._log),
        }
        return plistlib.dumps(data).decode()

    def check(self) -> None:
        run(["launchctl", "print", self._domain])

    def enable(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        run(["launchctl", "enable", self._service])

    def disable(self) -> None:
        self.stop()

    def forget(self) -> None:
        pass

    def start(self) -> None:
        # launchd reads the file only when it loads it, so a running agent is unloaded first.
        self.stop()
        run(["launchctl", "bootstrap", self._domain, str(self.unit_path)])

    def stop(self) -> None:
        if self._print() is not None:
            run(["launchctl", "bootout", self._service])

    def state(self) -> ServiceState:
        text = self._print()
        if text is None:
            return ServiceState(state="stopped", detail="not loaded", pid=None, enabled=True)
        found = {match[1]: match[2] for match in _FIELD.finditer(text)}
        state: Literal["running", "stopped", "failed"] = "stopped"
        if found.get("state") == "running":
            state = "running"
        elif found.get("last exit code", "0").split(":")[0] not in ("0", "(never exited)"):
            state = "failed"
        pid = found.get("pid", "")
        return ServiceState(
            state=state, detail=found.get("state", "unknown"), pid=int(pid) if pid.isdigit() else None, enabled=True
        )

    def log_command(self, *, lines: int, follow: bool) -> Sequence[str]:
        if not self._log.exists():
            raise ServiceCommandFailed(f"There is no log yet: {self._log} does not exist.", path=str(self._log))
        return ["tail", "-n", str(lines), *(["-f"] if follow else []), str(self._log)]

    def hint(self) -> str | None:
        return None

    def _print(self) -> str | None:
        """Return launchd's description of the agent, None if it is not loaded."""
        done = run(["launchctl", "print", self._service], may_fail=True)
        return None if done.returncode else done.stdout
