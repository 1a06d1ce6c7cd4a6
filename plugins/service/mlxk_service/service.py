"""The command `mlxk service`: run `mlxk serve` in the background, started by the operating system."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mlxk_core.api.commands import Session, json_option
from mlxk_core.api.errors import MlxkError, UsageError
from mlxk_core.api.models import Resolver
from mlxk_core.api.paths import replace_file
from mlxk_service.definition import Definition, secrets_left_out, without_secrets
from mlxk_service.launchd import Launchd
from mlxk_service.manager import ServiceManager
from mlxk_service.systemd import Systemd


@click.group("service")
@json_option
def service() -> None:
    """Run the server in the background, from login on.

    It is a user unit of systemd on Linux, and a launch agent on macOS.

    \b
    Examples:
      mlxk service install --model smollm2
      mlxk service status
      mlxk service logs --follow
      mlxk service uninstall
    """


@service.command("install", context_settings={"ignore_unknown_options": True})
@click.option("--print", "print_only", is_flag=True, help="Print the unit file, and install nothing.")
@click.option("--no-start", is_flag=True, help="Start it at the next login, not now.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF mlxk serve]...")
@json_option
@click.pass_context
def install(ctx: click.Context, print_only: bool, no_start: bool, options: tuple[str, ...]) -> Any:
    """Install and start the service.

    It runs `mlxk serve` with the given options, and with the current settings of the model cache and
    of mlxk. Installing it again replaces it.

    \b
    Examples:
      mlxk service install
      mlxk service install --port 9000 --model smollm2
      mlxk service install --print --ttl 15m
    """
    session: Session = ctx.obj
    models = _check_options(ctx, options)
    manager = _manager()
    unit = manager.unit(Definition.of_serve(options))
    if print_only:
        session.output.write(unit)
        return {"path": str(manager.unit_path), "unit": unit}
    for model in models:
        Resolver(session.host).resolve(model)  # a service that cannot start would try again and again
    manager.check()
    if secrets := secrets_left_out():
        session.output.note(
            f"warning: {' and '.join(secrets)} {'is' if len(secrets) == 1 else 'are'} not passed on to the service. "
            "Use --api-key-file for keys of the server, and `hf auth login` for the hub's token."
        )
    replace_file(manager.unit_path, unit)
    manager.enable()
    if not no_start:
        manager.start()
    session.output.line(f"Installed {manager.unit_path}{'' if no_start else ', and started it'}.")
    if (hint := manager.hint()) and not session.output.json:
        session.output.note(hint)
    return {"path": str(manager.unit_path), "unit": unit}


@service.command("uninstall")
@json_option
@click.pass_obj
def uninstall(session: Session) -> Any:
    """Stop the service and remove it. Models, chats and settings stay.

    \b
    Example:
      mlxk service uninstall
    """
    manager = _installed_manager()
    manager.disable()
    try:
        manager.unit_path.unlink()
    except OSError as error:
        raise _inaccessible(manager.unit_path, "delete", error) from error
    manager.forget()
    session.output.line(f"Removed {manager.unit_path}.")
    return {"path": str(manager.unit_path), "unit": None}


@service.command("start")
@json_option
@click.pass_obj
def start(session: Session) -> Any:
    """Start the service, or restart it.

    \b
    Example:
      mlxk service start
    """
    manager = _installed_manager()
    manager.start()
    return _report(session, manager)


@service.command("stop")
@json_option
@click.pass_obj
def stop(session: Session) -> Any:
    """Stop the service. It starts again at the next login; `uninstall` ends that too.

    \b
    Example:
      mlxk service stop
    """
    manager = _installed_manager()
    manager.stop()
    return _report(session, manager)


@service.command("status")
@json_option
@click.pass_obj
def status(session: Session) -> Any:
    """Show whether the service runs. `mlxk status` shows what the server is doing.

    \b
    Example:
      mlxk service status
    """
    return _report(session, _installed_manager())


@service.command("logs")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=100, show_default=True, help="How many lines.")
@click.option("-f", "--follow", is_flag=True, help="Wait for more lines, until Ctrl-C.")
@click.pass_obj
def logs(session: Session, lines: int, follow: bool) -> None:
    """Print the log of the service.

    \b
    Examples:
      mlxk service logs
      mlxk service logs --lines 20 --follow
    """
    command = _installed_manager().log_command(lines=lines, follow=follow)
    try:
        done = subprocess.run(command, check=False)
    except OSError as error:
        raise MlxkError(f"{command[0]} cannot be run: {error.strerror or error}.", program=command[0]) from error
    if done.returncode:
        raise MlxkError(f"{command[0]} failed with exit code {done.returncode}.", program=command[0])


def _manager() -> ServiceManager:
    """Return the manager of this operating system."""
    return Launchd() if sys.platform == "darwin" else Systemd()


def _check_options(ctx: click.Context, options: tuple[str, ...]) -> Sequence[str]:
    """Return the models that `mlxk serve` would load first. Raises the error that it would raise when it starts."""
    session: Session = ctx.obj
    _ = session.host.settings  # with an invalid settings file it would fail too
    if options and not options[0].startswith("-"):
        raise UsageError(f"`{options[0]}` is not an option of `mlxk serve`. A model is given as --model {options[0]}.")
    if "--reload" in options:
        raise UsageError("--reload cannot be used with a service.")
    serve = session.host.load(session.host.command("serve").target)
    with without_secrets(), serve.make_context("serve", list(options), parent=ctx.find_root()) as parsed:
        models: Sequence[str] = parsed.params["models"]
        return models


def _installed_manager() -> ServiceManager:
    manager = _manager()
    try:
        manager.unit_path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise MlxkError(
            "The service is not installed. `mlxk service install` installs it.", path=str(manager.unit_path)
        ) from None
    except OSError as error:
        raise _inaccessible(manager.unit_path, "read", error) from error
    manager.check()
    return manager


def _inaccessible(path: Path, action: str, error: OSError) -> MlxkError:
    return MlxkError(f"Cannot {action} {path}: {error.strerror or error}.", path=str(path))


def _report(session: Session, manager: ServiceManager) -> dict[str, Any]:
    found = manager.state()
    session.output.line(f"service    {found.state}{f', process {found.pid}' if found.pid else ''} [{found.detail}]")
    session.output.line(f"at login   {'starts' if found.enabled else 'does not start'}")
    session.output.line(f"unit       {manager.unit_path}")
    if found.state == "failed" and not session.output.json:
        session.output.note("`mlxk service logs` shows why it failed.")
    return {"manager": manager.name, "path": str(manager.unit_path), **asdict(found)}
