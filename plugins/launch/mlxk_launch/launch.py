"""`mlxk launch`: run an agent on a local model."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from mlxk_core.api.commands import Session, complete_model
from mlxk_core.api.errors import InvalidOption, ModelNotFound, UsageError
from mlxk_core.api.hooks import AgentEndpoint, AgentSetup, AgentSpec
from mlxk_core.api.host import Host
from mlxk_core.api.models import Resolver
from mlxk_launch.server import DEFAULT_URL, ServedModel, ServerUnavailable, running_models, started


def _complete_agent(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    session: Session | None = ctx.find_object(Session)
    names = [spec.name for spec in session.host.agents()] if session else []
    return [name for name in names if name.startswith(incomplete)]


@click.command("launch", context_settings={"ignore_unknown_options": True})
@click.argument("agent", metavar="[AGENT]", required=False, shell_complete=_complete_agent)
@click.option(
    "-m",
    "--model",
    metavar="MODEL",
    shell_complete=complete_model,
    help="The model to use [default: the only one, else it is asked for].",
)
@click.option("--server", metavar="URL", help=f"Use this server [default: {DEFAULT_URL} if it runs, else a new one].")
@click.option("--print", "print_only", is_flag=True, help="Print the command and its environment; start nothing.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def launch(
    ctx: click.Context,
    /,
    agent: str | None,
    model: str | None,
    server: str | None,
    print_only: bool,
    arguments: tuple[str, ...],
) -> None:
    """Start a coding agent on a local model.

    Uses the running server or starts one and ends it afterwards. No configuration file of the agent is changed. Without
    AGENT the agents are listed; plugins may add more.

    \b
    Examples:
      mlxk launch codex -m Qwen3-Coder-30B-A3B-4bit
      mlxk launch claude -- -p "Explain this folder"
      mlxk launch opencode --print
    """
    session: Session = ctx.obj
    if agent is None:
        _list(session)
        return
    chosen = _agent(session.host, agent)
    if not print_only and shutil.which(chosen.executable) is None:
        raise UsageError(f"`{chosen.executable}` is not installed: {chosen.install}")
    key = os.environ.get("MLXK_API_KEY")
    url = (server or DEFAULT_URL).rstrip("/").removesuffix("/v1")
    models = running_models(url, key)
    if models is None and server is not None:
        raise ServerUnavailable(f"No mlxk server answers at {url}.")
    with ExitStack() as stack:
        if models is not None:
            served = _choose_served(session, models, model)
        elif print_only:
            served = ServedModel(_choose_local(session, model), None, False)
        else:
            name = _choose_local(session, model)
            session.output.note(f"Starting a server with {name}.")
            url = stack.enter_context(started(name))
            served = _choose_served(session, running_models(url, key) or [], name)
        endpoint = AgentEndpoint(url=url, model=served.name, key=key or "mlxk", context=served.context)
        setup: AgentSetup = session.host.load(chosen.target)(endpoint)
        if print_only:
            _print(session, chosen, setup, arguments, running=models is not None)
            return
        code = _run(chosen, setup, arguments, stack)
    if code:
        raise click.exceptions.Exit(code)


def _list(session: Session) -> None:
    for spec in session.host.agents():
        state = "installed" if shutil.which(spec.executable) else f"not installed: {spec.install}"
        session.output.line(f"{spec.name:<10} {spec.summary:<36} {state}")


def _agent(host: Host, name: str) -> AgentSpec:
    """Return the agent of that name. Raises `UsageError` that lists the agents."""
    agents = {spec.name: spec for spec in host.agents()}
    if name not in agents:
        raise UsageError(f"`{name}` is not an agent. Known agents: {', '.join(agents)}.")
    return agents[name]


def _choose_served(session: Session, models: Sequence[ServedModel], name: str | None) -> ServedModel:
    """Return the model of that name, else the default one, the only one that is loaded, or the only one there is."""
    default = session.host.settings.default_model
    if name is None and default is not None:
        default = session.host.settings.expand(default)
        name = next((m.name for m in models if m.name in (default, f"mlx-community/{default}")), None)
    if name is not None:
        name = session.host.settings.expand(name)
        found = [m for m in models if m.name == name] or [m for m in models if m.name.rpartition("/")[2] == name]
        if len(found) != 1:
            names = ", ".join([m.name for m in models][:10]) or "no models"
            raise ModelNotFound(name, hint=f"The running server has: {names}.")
        return found[0]
    candidates = [m for m in models if m.loaded] or list(models)
    chosen = _choose(session, [m.name for m in candidates])
    return next(m for m in candidates if m.name == chosen)


def _choose_local(session: Session, name: str | None) -> str:
    """Return the name of the model to serve: the one that was named, the default one, or the only one there is."""
    resolver = Resolver(session.host)
    name = name or session.host.settings.default_model
    return resolver.resolve(name).name if name is not None else _choose(session, [m.name for m in resolver.all()])


def _choose(session: Session, names: Sequence[str]) -> str:
    """Return the only name, or the one that the user picks at a terminal. Raises `InvalidOption`."""
    if len(names) == 1:
        return names[0]
    if not names:
        raise InvalidOption("--model", "there is no model yet; `mlxk pull` downloads one")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        raise InvalidOption("--model", f"name one of {listed}")
    for number, name in enumerate(names, start=1):
        session.output.note(f"{number:>3}  {name}")
    picked: int = click.prompt("Model", type=click.IntRange(1, len(names)), err=True)
    return names[picked - 1]


def _run(agent: AgentSpec, setup: AgentSetup, arguments: Sequence[str], stack: ExitStack) -> int:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mlxk-launch-")))
    for name, text in setup.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    variables = {name: value.replace("{folder}", str(folder)) for name, value in setup.variables.items()}
    own = [argument.replace("{folder}", str(folder)) for argument in setup.arguments]
    # The agent decides what Ctrl-C means; it must not end us before the agent and the server have ended.
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        return subprocess.run(
            [agent.executable, *own, *arguments], env={**os.environ, **variables}, check=False
        ).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _print(session: Session, agent: AgentSpec, setup: AgentSetup, arguments: Sequence[str], *, running: bool) -> None:
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
