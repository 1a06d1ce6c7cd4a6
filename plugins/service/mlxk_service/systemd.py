"""The service as a user unit of systemd."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mlxk_core.api.paths import user_folder
from mlxk_service.definition import Definition
from mlxk_service.manager import NoServiceManager, ServiceState, run

UNIT = "mlxk.service"
_LINGER = Path("/var/lib/systemd/linger")


class Systemd:
    """Service manager that uses `systemctl --user`."""

    name = "systemd"

    def __init__(self) -> None:
        self.unit_path = user_folder("XDG_CONFIG_HOME", "~/.config") / "systemd" / "user" / UNIT

    def unit(self, definition: Definition) -> str:
        command = " ".join(_quote(word, expands=True) for word in definition.command)
        environment = "".join(
            f"Environment={_quote(f'{name}={value}')}\n" for name, value in definition.environment.items()
        )
        return (
            "[Unit]\n"
            "Description=mlxk, a server for local language models\n"
            "Documentation=https://github.com/mlxk/mlxk\n"
            "\n"
            "[Service]\n"
            f"ExecStart={command}\n"
            f"{environment}"
            "Restart=on-failure\n"
            "RestartSec=5\n"
            "\n"
            "[Install]\n"
            "WantedBy=default.target\n"
        )

    def check(self) -> None:
        done = run(["systemctl", "--user", "show", "--property=Version"], may_fail=True)
        if done.returncode:
            reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            raise NoServiceManager(
                f"systemd does not run services for this user ({reason}). Run `mlxk serve` in another way, and use "
                "`mlxk service install --print` to see the command.",
                program="systemctl",
            )

    def enable(self) -> None:
        run(["systemctl", "--user", "daemon-reload"])
        run(["systemctl", "--user", "enable", UNIT])

    def disable(self) -> None:
        run(["systemctl", "--user", "disable", "--now", UNIT])

    def forget(self) -> None:
        run(["systemctl", "--user", "daemon-reload"])

    def start(self) -> None:
        run(["systemctl", "--user", "restart", UNIT])

    def stop(self) -> None:
        run(["systemctl", "--user", "stop", UNIT])

    def state(self) -> ServiceState:
        properties = ("ActiveState", "SubState", "MainPID", "UnitFileState")
        done = run(["systemctl", "--user", "show", UNIT, f"--property={','.join(properties)}"])
        found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        active = found.get("ActiveState", "")
        state: Literal["running", "stopped", "failed"] = "stopped"
        if active in ("active", "reloading", "activating"):
            state = "running"
        elif active == "failed":
            state = "failed"
        pid = found.get("MainPID", "0")
        return ServiceState(
            state=state,
            detail=f"{active} ({found.get('SubState', '')})",
            pid=int(pid) if pid.isdigit() and int(pid) else None,
            enabled=found.get("UnitFileState") == "enabled",
        )

    def log_command(self, *, lines: int, follow: bool) -> Sequence[str]:
        command = ["journalctl", "--user", "--unit", UNIT, "--lines", str(lines), "--no-pager", "--output", "cat"]
        return [*command, "--follow"] if follow else command

    def hint(self) -> str | None:
        if (_LINGER / getpass.getuser()).exists():
            return None
        return "It runs while you are logged in. `loginctl enable-linger` keeps it running, also after a restart."


def _quote(text: str, *, expands: bool = False) -> str:
    """Quote a word of a unit file. `expands`: in a command, `$` begins a variable."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if expands:
        text = text.replace("$", "$$")
    return f'"{text}"' if not text or any(char in text for char in " \t'\"\\;") else text
