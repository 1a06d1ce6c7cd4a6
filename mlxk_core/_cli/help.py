"""The command `mlxk help`: help of a command, environment variables, and manual pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from mlxk_core._cli.environment import SECTIONS, VARIABLES
from mlxk_core._cli.session import Session, json_option
from mlxk_core._errors import MlxkError, UsageError
from mlxk_core._paths import user_folder

_ENVIRONMENT = "environment"
_MAX_WIDTH = 100


def _complete_topic(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of commands, and of those in a group."""
    root = ctx.find_root()
    try:
        target = _resolve_topic(root, ctx.params.get("topic") or ())
    except MlxkError:
        return []
    names = target.command.list_commands(target) if isinstance(target.command, click.Group) else []
    topics = [*names, _ENVIRONMENT] if target is root else names
    return [CompletionItem(name) for name in topics if name.startswith(incomplete)]


@click.command("help")
@click.argument("topic", nargs=-1, metavar="[COMMAND]... | environment", shell_complete=_complete_topic)
@click.option("--man", is_flag=True, help="Print the manual page (roff), for `man -l -`.")
@click.option("--install-man", is_flag=True, help="Write the manual pages of all commands to where `man` finds them.")
@json_option
@click.pass_context
def help_command(ctx: click.Context, /, topic: tuple[str, ...], man: bool, install_man: bool) -> dict[str, Any]:
    """Show help for a command, or the environment variables.

    \b
    Examples:
      mlxk help run
      mlxk help config set
      mlxk help environment
      mlxk help run --man | man -l -
      mlxk help --install-man
    """
    session: Session = ctx.obj
    root = ctx.parent
    assert root is not None
    if install_man:
        if topic:
            raise UsageError("--install-man writes the pages of all commands; leave out the command.")
        return _install_man_pages(session, root)
    if topic == (_ENVIRONMENT,):
        data: dict[str, Any] = {"environment": [{"name": name, "help": text} for name, text in VARIABLES]}
        text = environment_text()
    else:
        target = _resolve_topic(root, topic)
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
    """Return the environment variables in sections of two columns."""
    formatter = click.HelpFormatter(width=min(shutil.get_terminal_size().columns, _MAX_WIDTH) - 2)
    for title, variables in SECTIONS.items():
        with formatter.section(f"Environment variables ({title})"):
            formatter.write_dl(variables)
    return formatter.getvalue().rstrip("\n")


def _resolve_topic(root: click.Context, topic: Sequence[str]) -> click.Context:
    """Return the context of the command that the words of `topic` name. Raises `UsageError`."""
    ctx = root
    for word in topic:
        group = ctx.command
        if not isinstance(group, click.Group):
            raise UsageError(f"`{ctx.command_path}` has no commands. See `mlxk help {' '.join(topic[:-1])}`.")
        name, command, _ = group.resolve_command(ctx, [word])
        load = getattr(group, "load", None)  # the root group lists placeholders
        if load is not None and name is not None:
            command = load(name)
        assert command is not None
        ctx = click.Context(command, info_name=name, parent=ctx)
    return ctx


def _command_contexts(ctx: click.Context) -> Iterator[click.Context]:
    """Yield `ctx` and the contexts of all commands below it."""
    yield ctx
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            yield from _command_contexts(_resolve_topic(ctx, [name]))


def _install_man_pages(session: Session, root: click.Context) -> dict[str, Any]:
    from mlxk_core._cli.man import manual_page

    folder = user_folder("XDG_DATA_HOME", "~/.local/share") / "man" / "man1"
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ctx in _command_contexts(root):
            page = folder / f"{ctx.command_path.replace(' ', '-')}.1"
            page.write_text(manual_page(ctx) + "\n", encoding="utf-8")
            written.append(str(page))
    except OSError as error:
        raise MlxkError(f"Cannot write {folder}: {error.strerror or error}.", path=str(folder)) from error
    session.output.note(f"{len(written)} pages written to {folder}. Try `man mlxk-run`.")
    return {"path": str(folder), "pages": written}
