"""The command `mlxk doctor`: checks of this machine and this installation, each with a fix."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import click

from mlxk_core import __version__
from mlxk_core.api.commands import Session, json_option
from mlxk_core.api.errors import Kind, MlxkError
from mlxk_core.api.generation import machine_memory
from mlxk_core.api.host import Host
from mlxk_core.api.models import Resolver, cached_repositories, check_hub_cache, hub_cache, unreadable_cache
from mlxk_core.api.paths import NoHomeFolder, is_folder, path_exists
from mlxk_core.api.settings import settings_file, settings_warnings
from mlxk_core.api.text import human_size

_LOW_DISK = 5e9  # bytes; a small model with its download
_MARKS = {"ok": "ok  ", "warning": "warn", "error": "FAIL"}


class ProblemsFound(MlxkError):
    """Some checks failed; the report names them."""

    kind = Kind("problems_found", 1, 500)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding. `fix` says what to do about a warning or an error."""

    name: str
    state: Literal["ok", "warning", "error"]
    text: str
    fix: str | None = None


@click.command("doctor")
@json_option
@click.pass_obj
def doctor(session: Session) -> Any:
    """Check this machine and this installation, with a fix for each problem.

    Fails if something does not work. Nothing is changed, and nothing is sent anywhere.

    \b
    Examples:
      mlxk doctor
      mlxk doctor --json
    """
    checks = [_run(check, session.host) for check in _CHECKS]
    data = {"checks": [asdict(check) for check in checks]}
    if not session.output.json:
        width = max(len(check.name) for check in checks)
        for check in checks:
            session.output.line(f"{_MARKS[check.state]}  {check.name.ljust(width)}  {check.text}")
            if check.fix:
                session.output.line(f"{' ' * (width + 8)}{check.fix}")
    failed = [check.name for check in checks if check.state == "error"]
    if failed:
        raise ProblemsFound(f"Problems with: {', '.join(failed)}.", checks=failed, data=data)
    return data


def _run(check: Callable[[Host], Check], host: Host) -> Check:
    """Run a check. An exception counts as an error that it found."""
    try:
        return check(host)
    except Exception as error:
        name = check.__name__.removeprefix("_check_").replace("_", " ")
        return Check(name=name, state="error", text=f"{type(error).__name__}: {error}")


def _check_system(host: Host) -> Check:
    return Check(
        name="system",
        state="ok",
        text=f"{platform.system()} {platform.release()} ({platform.machine()}), "
        f"Python {platform.python_version()}, mlxk {__version__}, {human_size(machine_memory())} memory",
    )


def _check_mlx(host: Host) -> Check:
    try:
        version = importlib.metadata.version("mlx")
    except importlib.metadata.PackageNotFoundError:
        return Check(name="mlx", state="error", text="MLX is not installed", fix="Install a backend, such as mlxk-mlx.")
    # Not a dependency of this plugin: the installed backend requires it.
    mx = importlib.import_module("mlx.core")
    device = str(mx.default_device().type).rpartition(".")[2]
    note = None
    if device == "cpu" and sys.platform == "darwin":
        note = "MLX runs on the CPU; on Apple silicon use a native (arm64) Python."
    return Check(name="mlx", state="warning" if note else "ok", text=f"{version}, device {device}", fix=note)


def _check_blas(host: Host) -> Check:
    if sys.platform != "linux":
        return Check(name="blas", state="ok", text="Accelerate")
    try:
        version = importlib.metadata.version("mlxk-openblas")
    except importlib.metadata.PackageNotFoundError:
        return Check(
            name="blas",
            state="warning",
            text="MLX' own BLAS, several times slower than OpenBLAS",
            fix="Install mlxk-openblas.",
        )
    return Check(name="blas", state="ok", text=f"OpenBLAS (mlxk-openblas {version})")


def _check_plugins(host: Host) -> Check:
    records = host.plugins()
    wrong = [record.name for record in records if record.status == "failed" or record.conflicts]
    if wrong:
        return Check(
            name="plugins",
            state="error",
            text=f"problems with {', '.join(wrong)}",
            fix="`mlxk plugins` has the reasons.",
        )
    return Check(name="plugins", state="ok", text=f"{len(records)} plugins, {len(host.backends())} backends")


def _check_settings(host: Host) -> Check:
    try:
        file = settings_file()
        settings = host.settings
    except NoHomeFolder as error:
        return Check(name="settings", state="warning", text=str(error), fix="Set HOME to a folder.")
    except MlxkError as error:
        return Check(name="settings", state="error", text=str(error), fix="`mlxk config edit` opens the file.")
    try:
        models = Resolver(host).names()
    except MlxkError:  # of the cache; reported by its own check
        models = []
    if found := list(settings_warnings(settings, models=models, commands=host.command_names())):
        text = f"{file}: {' '.join(found)}"
        return Check(name="settings", state="warning", text=text, fix="`mlxk config edit` opens the file.")
    return Check(name="settings", state="ok", text=str(file) if settings.file else f"none ({file} does not exist)")


def _check_cache(host: Host) -> Check:
    try:
        cache = check_hub_cache()
    except MlxkError as error:
        return Check(name="cache", state="error", text=str(error), fix="Set HF_HOME or HF_HUB_CACHE to a folder.")
    if denied := unreadable_cache():
        text = f"Permission denied: cannot read {denied}"
        return Check(name="cache", state="error", text=text, fix="Change its owner or mode, or set HF_HOME.")
    existing = next((folder for folder in (cache, *cache.parents) if path_exists(folder)), cache)
    if not os.access(existing, os.W_OK):
        return Check(
            name="cache", state="warning", text=f"{existing} is not writable", fix="Set HF_HOME to a writable folder."
        )
    count = len(cached_repositories())
    return Check(name="cache", state="ok", text=f"{cache}, {count} {'repository' if count == 1 else 'repositories'}")


def _check_disk(host: Host) -> Check:
    cache = hub_cache()
    existing = next(folder for folder in (cache, *cache.parents) if is_folder(folder))
    free = shutil.disk_usage(existing).free
    if free < _LOW_DISK:
        return Check(
            name="disk",
            state="warning",
            text=f"{human_size(free)} free",
            fix="`mlxk list` shows sizes, `mlxk rm` deletes.",
        )
    return Check(name="disk", state="ok", text=f"{human_size(free)} free")


def _check_token(host: Host) -> Check:
    if os.environ.get("HF_TOKEN", "").strip():
        return Check(name="token", state="ok", text="HF_TOKEN is set")
    home = hub_cache().parent
    if (home / "token").is_file():
        return Check(name="token", state="ok", text=f"saved in {home / 'token'}")
    return Check(name="token", state="ok", text="none; needed for gated and private models only")


_CHECKS: tuple[Callable[[Host], Check], ...] = (
    _check_system,
    _check_mlx,
    _check_blas,
    _check_plugins,
    _check_settings,
    _check_cache,
    _check_disk,
    _check_token,
)
