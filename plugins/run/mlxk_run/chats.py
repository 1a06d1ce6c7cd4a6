"""The command `mlxk chats`: list, show, search, export and delete saved chats."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from mlxk_core.api.commands import Session, confirm_deletion, escape_control, json_option
from mlxk_core.api.errors import MlxkError, UsageError
from mlxk_core.api.generation import Message
from mlxk_core.api.text import moment_of
from mlxk_run.chat_table import chat_table
from mlxk_run.paths import chats_file
from mlxk_run.store import ChatStore, SavedChat

_HEADINGS = ("ID", "MODEL", "MESSAGES", "UPDATED", "CHAT")


def _complete_chat(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        found = [chat.name or str(chat.id) for chat in ChatStore(chats_file()).chats()]
    except MlxkError:
        return []
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


_chat_argument = click.argument("chat", shell_complete=_complete_chat)


@click.group("chats", invoke_without_command=True)
@json_option
@click.pass_context
def chats(ctx: click.Context, /) -> Any:
    """List, show, search, export and delete saved chats.

    CHAT is a name or a number. `mlxk run -c` continues the last chat, `/load` in a chat any other.

    \b
    Examples:
      mlxk chats
      mlxk chats search "blue sky"
      mlxk chats export 3 --format markdown > chat.md
      mlxk chats delete 3
    """
    if ctx.invoked_subcommand is None:
        return _list(ctx.obj, _store().chats())
    return None


@chats.command("list")
@json_option
@click.pass_obj
def list_command(session: Session) -> Any:
    """List saved chats, the latest first.

    \b
    Example:
      mlxk chats list
    """
    return _list(session, _store().chats())


@chats.command("search")
@click.argument("text")
@json_option
@click.pass_obj
def search_command(session: Session, text: str) -> Any:
    """List the chats whose name or text contains TEXT.

    \b
    Example:
      mlxk chats search "blue sky"
    """
    return _list(session, _store().chats(containing=text))


@chats.command("show")
@_chat_argument
@json_option
@click.pass_obj
def show_command(session: Session, chat: str) -> Any:
    """Print a chat.

    \b
    Example:
      mlxk chats show 3
    """
    saved, messages = _chat(chat)
    if not session.output.json:
        session.output.write(_escape(_text(saved, messages), session))
    return _data(saved, messages)


@chats.command("export")
@_chat_argument
@click.option(
    "--format",
    type=click.Choice(("markdown", "json", "openai")),
    default="markdown",
    show_default=True,
    help="`openai` is a list of messages, as its API takes them.",
)
@click.option("-o", "--output", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE.")
@json_option
@click.pass_obj
def export_command(session: Session, chat: str, format: str, file: Path | None) -> Any:
    """Export a chat to standard output or a file.

    \b
    Examples:
      mlxk chats export 3 > chat.md
      mlxk chats export trip --format json --output trip.json
    """
    saved, messages = _chat(chat)
    text = _FORMATS[format](saved, messages)
    if file is not None:
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise MlxkError(f"Cannot write {file}: {error.strerror or error}.", path=str(file)) from error
        session.output.note(f"Written to {file}.")
    elif not session.output.json:
        session.output.write(_escape(text, session))
    return {"chat": saved.id, "format": format, "path": str(file) if file else None, "text": text}


@chats.command("delete")
@click.argument("references", nargs=-1, shell_complete=_complete_chat, metavar="CHAT...")
@click.option("--all", "everything", is_flag=True, help="Delete every chat.")
@click.option("-f", "--force", is_flag=True, help="Do not ask for confirmation.")
@json_option
@click.pass_obj
def delete_command(session: Session, references: tuple[str, ...], everything: bool, force: bool) -> Any:
    """Delete chats; their text is overwritten in the file.

    \b
    Examples:
      mlxk chats delete 3 4
      mlxk chats delete --all --force
    """
    if everything == bool(references):
        raise UsageError("Name the chats to delete, or use --all.")
    store = _store()
    found = store.chats() if everything else list({saved.id: saved for saved in map(store.find, references)}.values())
    if found and not force:
        listed = [f"{saved.id}  {escape_control(saved.title)}" for saved in found]
        confirm_deletion(session, _count(found), listed=listed)
    store.delete([saved.id for saved in found])
    session.output.note(f"Deleted {_count(found)}.")
    return {"deleted": [saved.id for saved in found]}


def _count(found: Sequence[SavedChat]) -> str:
    return f"{len(found)} {'chat' if len(found) == 1 else 'chats'}"


def _store() -> ChatStore:
    return ChatStore(chats_file())


def _chat(reference: str) -> tuple[SavedChat, list[Message]]:
    store = _store()
    saved = store.find(reference)
    return saved, store.messages(saved.id)


def _list(session: Session, found: Sequence[SavedChat]) -> Any:
    if session.output.json:
        return {"chats": [asdict(saved) for saved in found], "count": len(found)}
    if not found:
        session.output.note("No chats.")
        return None
    rows = [_HEADINGS, *map(_row, found)]
    columns = shutil.get_terminal_size().columns if session.output.stdout_is_terminal else None
    for line in chat_table(rows, columns):
        session.output.line(line)
    return None


def _row(saved: SavedChat) -> tuple[str, ...]:
    moment = moment_of(saved.updated)
    when = f"{moment.astimezone():%Y-%m-%d %H:%M}" if moment else "-"
    model = saved.model.rpartition("/")[2]
    return (str(saved.id), model, str(saved.messages), when, escape_control(saved.title))


def _data(saved: SavedChat, messages: Sequence[Message]) -> dict[str, Any]:
    return {"chat": asdict(saved), "messages": _messages(messages)}


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [
        {"role": each.role, "content": each.content, **({"reasoning": each.reasoning} if each.reasoning else {})}
        for each in messages
    ]


def _text(saved: SavedChat, messages: Sequence[Message]) -> str:
    """Return the chat as Markdown, with one heading per message."""
    parts = [f"# {saved.title}", f"Model: {saved.model}"]
    parts += [f"## System\n\n{saved.system}"] if saved.system else []
    for each in messages:
        parts.append(f"## {'You' if each.role == 'user' else 'Answer'}\n\n{each.content.strip()}")
    return "\n\n".join(parts) + "\n"


def _json(saved: SavedChat, messages: Sequence[Message]) -> str:
    return json.dumps(_data(saved, messages), ensure_ascii=False, indent=2) + "\n"


def _openai(saved: SavedChat, messages: Sequence[Message]) -> str:
    opening = [{"role": "system", "content": saved.system}] if saved.system else []
    listed = [*opening, *({"role": each.role, "content": each.content} for each in messages)]
    return json.dumps(listed, ensure_ascii=False, indent=2) + "\n"


_FORMATS: dict[str, Callable[[SavedChat, Sequence[Message]], str]] = {
    "markdown": _text,
    "json": _json,
    "openai": _openai,
}


def _escape(text: str, session: Session) -> str:
    """Return `text` with control characters escaped on a terminal: a chat contains text of a model."""
    if not session.output.stdout_is_terminal:
        return text
    return "\n".join(map(escape_control, text.split("\n")))
