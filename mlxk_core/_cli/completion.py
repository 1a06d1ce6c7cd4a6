"""Shell completion: the scripts, and the values that are completed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from mlxk_core._cli.session import Session, json_option
from mlxk_core._errors import MlxkError
from mlxk_core._host.host import Host
from mlxk_core._paths import replace_file, user_folder

VARIABLE = "_MLXK_COMPLETE"
_SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.option("--install", is_flag=True, help="Install the script where the shell finds it.")
@json_option
@click.pass_context
def completion(ctx: click.Context, /, shell: str, install: bool) -> dict[str, Any]:
    """Print the script that completes mlxk's command line in a shell.

    \b
    Examples:
      mlxk completion bash --install
      mlxk completion fish --install
      mlxk completion zsh > "${fpath[1]}/_mlxk"
    """
    session: Session = ctx.obj
    root = ctx.parent
    script_class = get_completion_class(shell)
    assert root is not None and script_class is not None
    script = script_class(root.command, {}, "mlxk", VARIABLE).source()
    data = {"shell": shell, "script": script, "path": None}
    if install:
        path = _place(shell)
        replace_file(path, script)
        data["path"] = str(path)
        session.output.note(f"Written to {path}. {_next_step(shell)}")
    elif not session.output.json:
        session.output.write(script if script.endswith("\n") else script + "\n")
    return data


def _place(shell: str) -> Path:
    data = user_folder("XDG_DATA_HOME", "~/.local/share")
    config = user_folder("XDG_CONFIG_HOME", "~/.config")
    return {
        "bash": data / "bash-completion" / "completions" / "mlxk",
        "zsh": data / "zsh" / "site-functions" / "_mlxk",
        "fish": config / "fish" / "completions" / "mlxk.fish",
    }[shell]


def _next_step(shell: str) -> str:
    if shell == "zsh":
        folder = _place(shell).parent
        return f"Add `fpath=({folder} $fpath)` to ~/.zshrc before `compinit`, and open a new shell."
    if shell == "bash":
        return "Open a new shell; this needs the package bash-completion."
    return "Open a new shell."


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names of models, as `shell_complete` of an option or argument; a path completes as a file."""
    if incomplete.startswith(("/", "./", "../", "~")):
        return [CompletionItem(incomplete, type="file")]
    session = ctx.find_object(Session)
    return [] if session is None else [CompletionItem(name) for name in complete_model_name(session.host, incomplete)]


def complete_model_name(host: Host, incomplete: str) -> list[str]:
    """Return the names of models and aliases that begin with `incomplete` in any case, with the default owner or
    without it."""
    from mlxk_core._models.references import short_name  # these read the cache: only for this
    from mlxk_core._models.resolve import Resolver

    try:
        names = [*Resolver(host).names(), *host.settings.aliases]
    except MlxkError:  # a broken settings file is an error of the command, not of its completion
        return []
    folded = incomplete.casefold()
    found = [name for name in names if name.casefold().startswith(folded)]
    short = [name for each in names if (name := short_name(each)) != each]
    return found + [name for name in short if folded and name.casefold().startswith(folded)]


def complete_backend(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names of backends."""
    session = ctx.find_object(Session)
    return [] if session is None else _match_names([spec.name for spec in session.host.backends()], incomplete)


def complete_reasoning_format(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names of reasoning formats."""
    session = ctx.find_object(Session)
    if session is None:
        return []
    return _match_names(session.host.reasoning_format_names(), incomplete)


def complete_plugin(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names of plugins."""
    session = ctx.find_object(Session)
    return [] if session is None else _match_names([record.name for record in session.host.plugins()], incomplete)


def _match_names(names: list[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
