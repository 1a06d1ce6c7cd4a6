"""The command `mlxk help`: help of a command, environment variables, and manual pages."""

from __future__ import annotations

from typing import Any

import click

from mlxk_core._cli.environment import VARIABLES
from mlxk_core._cli.session import Session, json_option

_ENVIRONMENT = "environment"


@click.command("help")
@click.argument("topic", required=False, metavar="[COMMAND|environment]")
@click.option("--man", is_flag=True, help="Print the manual page (roff), for `man -l -`.")
@json_option
@click.pass_context
def help_command(ctx: click.Context, /, topic: str | None, man: bool) -> dict[str, Any]:
    """Show help for a command, or the environment variables.

    \b
    Examples:
      mlxk help run
      mlxk help environment
      mlxk help run --man | man -l -
    """
    session: Session = ctx.obj
    root = ctx.parent
    assert root is not None and isinstance(root.command, click.Group)
    if topic == _ENVIRONMENT:
        data: dict[str, Any] = {"environment": [{"name": name, "help": text} for name, text in VARIABLES]}
        text = environment_text()
    else:
        target = root if topic is None else _context(root, topic)
        if man:
            from mlxk_core._cli.man import manual_page

            text = manual_page(target)
        else:
            text = target.command.get_help(target)
        data = {"help": text}
    if not session.output.json:
        session.output.line(text)
    return data


def environment_text() -> str:
    """Return the environment variables as two columns."""
    formatter = click.HelpFormatter()
    with formatter.section("Environment variables"):
        formatter.write_dl(VARIABLES)
    return formatter.getvalue().rstrip("\n")


def _context(root: click.Context, topic: str) -> click.Context:
    group = root.command
    assert isinstance(group, click.Group)
    name, command, _ = group.resolve_command(root, [topic])
    load = getattr(group, "load", None)
    if load is not None and name is not None:
        command = load(name)
    assert command is not None
    return click.Context(command, info_name=name, parent=root)
