"""`mlxk launch`: run an agent on a local model."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from mlxk_core.api.commands import Session, complete_model, interrupts_ignored, terminations_raise
from mlxk_core.api.errors import MlxkError, UsageError
from mlxk_core.api.hooks import AgentEndpoint, AgentSetup, AgentSpec
from mlxk_core.api.host import Host
from mlxk_launch.model_choice import choose_local, choose_served
from mlxk_launch.processes import running
from mlxk_launch.server import DEFAULT_URL, ServedModel, ServerUnavailable, running_models, server_url, start_server


class AgentNotStarted(MlxkError):
    """The system cannot run the agent's program."""


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
    url = server_url(server or DEFAULT_URL)
    models = running_models(url, key)
    if models is None and server is not None:
        raise ServerUnavailable(f"No mlxk server answers at {url}.")
    with terminations_raise(), ExitStack() as stack:
        if models is not None:
            served = choose_served(session, models, model)
        elif print_only:
            served = ServedModel(choose_local(session, model), None, False)
        else:
            name = choose_local(session, model)
            session.output.note(f"Starting a server with {name}.")
            url = stack.enter_context(start_server(name))
            served = choose_served(session, running_models(url, key) or [], name)
        endpoint = AgentEndpoint(url=url, model=served.name, key=key or "mlxk", context=served.context)
        setup: AgentSetup = session.host.load(chosen.target)(endpoint)
        if print_only:
            _print(session, chosen, setup, arguments, running=models is not None)
            return
        code = _run(chosen, setup, arguments)
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


def _run(agent: AgentSpec, setup: AgentSetup, arguments: Sequence[str]) -> int:
    """Run the agent with its files in a temporary folder, and return its exit code. Raises `AgentNotStarted`."""
    with tempfile.TemporaryDirectory(prefix="mlxk-launch-") as folder:
        for name, text in setup.files.items():
            file = Path(folder, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)  # it may have the key
            file.write_text(text, encoding="utf-8")
        variables = {name: value.replace("{folder}", folder) for name, value in setup.variables.items()}
        own = [argument.replace("{folder}", folder) for argument in setup.arguments]
        command = [agent.executable, *own, *arguments]
        try:
            with interrupts_ignored(), running(command, env={**os.environ, **variables}) as process:
                code = process.wait()  # the agent decides what Ctrl-C means
        except OSError as error:
            raise AgentNotStarted(
                f"`{shutil.which(agent.executable)}` cannot be started: {error.strerror}. "
                f"To install it again: {agent.install}"
            ) from error
    return code if code >= 0 else 128 - code


def _print(session: Session, agent: AgentSpec, setup: AgentSetup, arguments: Sequence[str], *, running: bool) -> None:
    output = session.output
    for name, text in setup.files.items():
        output.line(f"# {{folder}}/{name}: {text}")
    for name, value in setup.variables.items():
        output.line(f"export {name}={shlex.quote(value)}")
    output.line(shlex.join([agent.executable, *setup.arguments, *arguments]))
    if not running:
        output.note("note: no server is running; `mlxk serve` starts one.")
