"""The operating system's service manager, as `mlxk service` uses it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from mlxk_core.api.errors import Kind, MlxkError
from mlxk_service.definition import Definition

_SECONDS = 180
"""systemd gives a service 90 s to stop."""


class NoServiceManager(MlxkError):
    """This machine has no service manager for users, or it cannot be reached."""

    kind = Kind("no_service_manager", 1, 500)


class ServiceCommandFailed(MlxkError):
    """The service manager reported an error."""

    kind = Kind("service_failed", 1, 500)


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """The service as its manager sees it. `detail` is the manager's own word for the state."""

    state: Literal["running", "stopped", "failed"]
    detail: str
    pid: int | None
    enabled: bool
    """Whether it starts at login."""


class ServiceManager(Protocol):
    """One kind of service manager. Every method but `unit` raises `NoServiceManager` and `ServiceCommandFailed`."""

    name: str
    unit_path: Path

    def unit(self, definition: Definition) -> str:
        """Return the text of the unit file."""

    def check(self) -> None:
        """Raise unless the manager can be used by this user."""

    def enable(self) -> None:
        """Make a written unit known, and start it at every login from now on."""

    def disable(self) -> None:
        """Stop the service and undo `enable`. The unit file is still there."""

    def forget(self) -> None:
        """Notice that the unit file was deleted."""

    def start(self) -> None:
        """Start the service; restart it if it runs."""

    def stop(self) -> None:
        """Stop the service until it is started, or until the next login."""

    def state(self) -> ServiceState:
        """Return the state of the installed service."""

    def log_command(self, *, lines: int, follow: bool) -> Sequence[str]:
        """Return the command that prints the log."""

    def hint(self) -> str | None:
        """Return what the user should know after the installation, if anything."""


def run(command: Sequence[str], *, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command of the manager. Raises `NoServiceManager` if it is missing, `ServiceCommandFailed` if it fails."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        raise NoServiceManager(
            f"{command[0]} cannot be run ({error.strerror or error}): mlxk cannot install a background service here. "
            "Run `mlxk serve` in another way, and use `mlxk service install --print` to see the command.",
            program=command[0],
        ) from error
    except subprocess.TimeoutExpired:
        raise ServiceCommandFailed(
            f"`{' '.join(command)}` did not end in {_SECONDS} s.", command=list(command)
        ) from None
    if done.returncode and not may_fail:
        reason = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        raise ServiceCommandFailed(f"`{' '.join(command)}` failed: {reason}", command=list(command))
    return done
