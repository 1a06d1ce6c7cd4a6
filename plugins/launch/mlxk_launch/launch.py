"""`mlxk launch`: run an agent on a local model."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from mlxk_core.api.commands import Session, complete_model
from mlxk_core.api.errors import InvalidOption, ModelNotFound, UsageError
from mlxk_core.api.models import Resolver
from mlxk_launch.agents import AGENTS, Agent, Endpoint, Setup
from mlxk_launch.server import DEFAULT_URL, ServedModel, ServerUnavailable, running_models, started


@click.command("launch", context_settings={"ignore_unknown_options": True})
@click.argument("agent", metavar="AGENT", type=click.Choice(sorted(AGENTS)))
@click.option(
    "-m",
    "--model",
    metavar="MODEL",
    shell_complete=complete_model,
    help="The model to use; needed where there are several.",
)
@click.option("--server", metavar="URL", help=f"Use this server [default: {DEFAULT_URL} if it runs, else a new one].")
@click.option("--print", "print_only", is_flag=True, help="Print the command and its environment; start nothing.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def launch(
    ctx: click.Context,
    /,
    agent: str,
    model: str | None,
    server: str | None,
    print_only: bool,
    arguments: tuple[str, ...],
) -> None:
    """Start a coding agent on a local model.

    Uses the running server or starts one and ends it afterwards. No configuration file of the agent is changed.

    \b
    Agents: aider, claude, cline, codex, crush, goose, opencode, qwen.

    \b
    Examples:
      mlxk launch codex -m Qwen3-Coder-30B-A3B-4bit
      mlxk launch claude -- -p "Explain this folder"
      mlxk launch opencode --print
    """
    session: Session = ctx.obj
    chosen = AGENTS[agent]
    if not print_only and shutil.which(chosen.executable) is None:
        raise UsageError(f"`{chosen.executable}` is not installed: {chosen.install}")
    key = os.environ.get("MLXK_API_KEY")
    url = (server or DEFAULT_URL).rstrip("/").removesuffix("/v1")
    models = running_models(url, key)
    if models is None and server is not None:
        raise ServerUnavailable(f"No mlxk server answers at {url}.")
    with ExitStack() as stack:
        if models is not None:
            served = _choose_served(models, model)
        elif print_only:
            served = ServedModel(_choose_local(session, model), None, False)
        else:
            name = _choose_local(session, model)
            session.output.note(f"Starting a server with {name}.")
            url = stack.enter_context(started(name))
            served = _choose_served(running_models(url, key) or [], name)
        setup = chosen.setup(Endpoint(url=url, model=served.name, key=key or "mlxk", context=served.context))
        if print_only:
            _print(session, chosen, setup, arguments, running=models is not None)
            return
        code = _run(chosen, setup, arguments, stack)
    if code:
        raise click.exceptions.Exit(code)


def _choose_served(models: Sequence[ServedModel], name: str | None) -> ServedModel:
    """Return the model of that name, else the only one that is loaded, else the only one there is."""
    if name is not None:
        found = [m for m in models if m.name == name] or [m for m in models if m.name.rpartition("/")[2] == name]
        if len(found) != 1:
            names = ", ".join([m.name for m in models][:10]) or "no models"
            raise ModelNotFound(name, hint=f"The running server has: {names}.")
        return found[0]
    candidates = [m for m in models if m.loaded] or list(models)
    if len(candidates) != 1:
        raise _several([m.name for m in candidates])
    return candidates[0]


def _choose_local(session: Session, name: str | None) -> str:
    """Return the name of the model to serve: the one that was named, else the only one that is installed."""
    resolver = Resolver(session.host)
    if name is not None:
        return resolver.resolve(name).name
    names = [model.name for model in resolver.all()]
    if len(names) != 1:
        raise _several(names)
    return names[0]


def _several(names: Sequence[str]) -> InvalidOption:
    if not names:
        return InvalidOption("--model", "there is no model yet; `mlxk pull` downloads one")
    listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    return InvalidOption("--model", f"name one of {listed}")


def _run(agent: Agent, setup: Setup, arguments: Sequence[str], stack: ExitStack) -> int:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mlxk-launch-")))
    for name, text in setup.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    variables = {name: value.replace("{folder}", str(folder)) for name, value in setup.variables.items()}
    # The agent decides what Ctrl-C means; it must not end us before the agent and the server have ended.
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        return subprocess.run(
            [agent.executable, *setup.arguments, *arguments], env={**os.environ, **variables}, check=False
        ).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _print(session: Session, agent: Agent, setup: Setup, arguments: Sequence[str], *, running: bool) -> None:
    line: Any = session.output.line
    for name, text in setup.files.items():
        line(f"# {{folder}}/{name}: {text}")
    for assignment in _assignments(setup.variables):
        line(assignment)
    line(shlex.join([agent.executable, *setup.arguments, *arguments]))
    if not running:
        session.output.note("note: no server is running; `mlxk serve` starts one.")


def _assignments(variables: Mapping[str, str]) -> list[str]:
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
