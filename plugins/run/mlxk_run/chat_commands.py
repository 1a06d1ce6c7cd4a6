"""The slash commands of a chat."""

from __future__ import annotations

import contextlib
import difflib
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlxk_core.api.commands import complete_model_name
from mlxk_core.api.errors import InvalidOption, MlxkError
from mlxk_core.api.models import Resolver
from mlxk_run.attachments import complete_path
from mlxk_run.chat_settings import SETTINGS, change, find_setting, format_value
from mlxk_run.chat_state import ChatState
from mlxk_run.clipboard import copy
from mlxk_run.columns import two_columns
from mlxk_run.conversation import Conversation
from mlxk_run.external_editor import edit
from mlxk_run.line_editor import interrupts_raise
from mlxk_run.store import ChatNotFound

_COMMAND = re.compile(r"/(?:\?|[A-Za-z][\w-]*)(?!\S)")


class Leave(Exception):
    """The user leaves the chat."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question that a command asks; with `replaces` it takes the place of the last turn."""

    text: str
    replaces: bool = False


@dataclass(frozen=True, kw_only=True)
class _Command:
    run: Callable[[ChatCommands, str], Question | None]
    summary: str
    arguments: str = ""
    aliases: tuple[str, ...] = ()
    required: bool = False


class ChatCommands:
    """Runs and completes the commands of one chat."""

    def __init__(self, state: ChatState) -> None:
        self._state = state
        self._print = state.runner.session.output.note

    @staticmethod
    def is_command(line: str) -> bool:
        """Whether `line` begins with a command: `/word`, and not a path such as `/usr/bin`."""
        return bool(_COMMAND.match(line.lstrip()))

    def run(self, line: str) -> Question | None:
        """Run the command of `line` and return the question it asks, if any. Raises `MlxkError` and `Leave`."""
        word, _, arguments = line.strip().partition(" ")
        name = word[1:].lower()
        command = _BY_NAME.get(name)
        if command is None:
            close = difflib.get_close_matches(name, _BY_NAME, n=1)
            hint = f"Did you mean /{close[0]}?" if close else "/help lists the commands."
            raise InvalidOption(f"/{name}", f"unknown command. {hint}")
        arguments = arguments.strip()
        if arguments and not command.arguments:
            raise InvalidOption(f"/{name}", "takes no arguments.")
        if command.required and not arguments:
            raise InvalidOption(f"/{name}", f"usage: /{name} {command.arguments}")
        return command.run(self, arguments)

    def complete(self, line: str) -> Sequence[tuple[str, int]]:
        """Return completions of the text before the cursor: commands, their arguments, and `@` files."""
        word = line.rsplit(None, 1)[-1] if line and not line[-1].isspace() else ""
        if word.startswith("@"):
            return [("@" + path, -len(word)) for path in complete_path(word[1:])]
        if not line.startswith("/"):
            return []
        name, space, rest = line[1:].partition(" ")
        if not space:
            return [("/" + each, -len(line)) for each in sorted(_BY_NAME) if each.startswith(name)]
        return [(each, -len(rest)) for each in self._arguments(name, rest)]

    def _arguments(self, name: str, beginning: str) -> list[str]:
        """Return the arguments of a command that begin so."""
        if name == "model":
            if beginning.startswith(("/", "./", "../", "~")):
                return complete_path(beginning)
            return complete_model_name(self._state.runner.session.host, beginning)
        found: list[str] = []
        if name == "set":
            found = sorted(SETTINGS)
        elif name == "show":
            found = sorted([*SETTINGS, "template"])
        elif name == "load":
            with contextlib.suppress(MlxkError):  # completion shows no errors; the command itself reports them
                found = [chat.name or str(chat.id) for chat in self._state.store.chats()]
        return [each for each in found if each.startswith(beginning)]

    def _help(self, arguments: str) -> None:
        rows = [(f"/{name} {command.arguments}".rstrip(), command.summary) for name, command in _COMMANDS.items()]
        rows += [
            ('"""', "begin a message of several lines; another three quotes end it"),
            ("Alt-Enter", "begin a new line"),
            ("@FILE", "put a text file into the message"),
            ("Ctrl-C", "stop an answer; at the prompt, clear the line"),
            ("Ctrl-D", "leave"),
        ]
        self._print(two_columns(rows))

    def _set(self, arguments: str) -> None:
        if not arguments:
            rows = [
                (f"{each} = {format_value(setting.get(self._state))}", setting.summary)
                for each, setting in SETTINGS.items()
            ]
            self._print(two_columns(rows))
            self._print("/set NAME VALUE changes one, /set NAME default resets it.")
        else:
            self._print(change(self._state, arguments))

    def _system(self, arguments: str) -> None:
        if arguments:
            self._print(change(self._state, f"system {arguments}"))
        else:
            self._print(f"system = {format_value(self._state.conversation.system)}")

    def _show(self, arguments: str) -> None:
        state, conversation = self._state, self._state.conversation
        if arguments == "template":
            self._print(next(iter(state.runner.model.chat_templates.values()), "The model has no chat template."))
            return
        if arguments not in ("", "info", "parameters"):
            setting = find_setting(arguments, command="/show")
            self._print(f"{arguments} = {format_value(setting.get(state))}")
            return
        model = state.runner.model
        revision = f" (revision {model.revision[:7]})" if model.revision else ""
        self._print(f"  model     {model.name}{revision}")
        length = state.runner.context_length
        self._print(f"  context   {f'{length:,} tokens' if length else 'unknown'}")
        self._print(f"  messages  {len(conversation.messages)}, {conversation.dropped} of them no longer sent")
        saved = "not saved" if conversation.id is None else f"saved as number {conversation.id}"
        self._print(f"  chat      {saved}")
        for name, setting in SETTINGS.items():
            value = setting.get(state)
            if value is not None:
                self._print(f"  {name} = {format_value(value)}")

    def _save(self, arguments: str) -> None:
        if not self._state.conversation.messages:
            raise InvalidOption("/save", "there is nothing to save yet.")
        if len(arguments.splitlines()) > 1:  # a paste, or Alt-Enter
            raise InvalidOption("/save", "a name is one line.")
        if arguments.isdecimal():
            raise InvalidOption("/save", "a name cannot be a number: chats have numbers of their own.")
        self._state.save(arguments)
        self._print(f"Saved. `mlxk chats show {shlex.quote(arguments)}` prints it, /load {arguments} opens it.")

    def _load(self, arguments: str) -> None:
        store, runner = self._state.store, self._state.runner
        try:
            chat = store.find(arguments)
        except ChatNotFound as error:
            if self._is_model(arguments):
                raise error.with_hint(f"/model {arguments} switches to the model of that name.") from None
            raise
        self._state.conversation = Conversation(system=chat.system, messages=store.messages(chat.id), id=chat.id)
        self._print(f"Loaded `{chat.title}`, {chat.messages} messages.")
        if chat.model != runner.reference:
            self._print(f"It was a chat with {chat.model}; /model {chat.model} switches to that model.")

    def _is_model(self, name: str) -> bool:
        try:
            Resolver(self._state.runner.session.host).find(name)
        except MlxkError:
            return False
        return True

    def _model(self, arguments: str) -> None:
        runner = self._state.runner
        before, runner.model = runner.model, Resolver(runner.session.host).resolve(arguments)
        try:
            with self._state.busy(), interrupts_raise():
                runner.open(self._state.options)
        except BaseException:
            runner.model = before
            raise
        self._print(f"Chatting with {runner.model.name}.")

    def _retry(self, arguments: str) -> Question:
        question = self._state.conversation.last_question
        if question is None:
            raise InvalidOption("/retry", "there is no question yet.")
        return Question(text=question, replaces=True)

    def _edit(self, arguments: str) -> Question | None:
        before = self._state.conversation.last_question
        text = edit(before or "").strip("\n")
        if not text.strip() or text == before:
            self._print("Nothing changed.")
            return None
        self._print("\n".join(f"> {line}" for line in text.split("\n")))
        return Question(text=text, replaces=before is not None)

    def _undo(self, arguments: str) -> None:
        if not self._state.conversation.undo():
            raise InvalidOption("/undo", "there is no turn to remove.")
        self._state.save()
        self._print("The last turn is removed.")

    def _clear(self, arguments: str) -> None:
        self._state.conversation = Conversation(system=self._state.conversation.system)
        self._print("The conversation is cleared.")

    def _copy(self, arguments: str) -> None:
        answer = self._state.conversation.last_answer
        if answer is None:
            raise InvalidOption("/copy", "there is no answer yet.")
        self._print(copy(answer, self._state.runner.session.output))

    def _bye(self, arguments: str) -> None:
        raise Leave


_COMMANDS: dict[str, _Command] = {
    "help": _Command(run=ChatCommands._help, summary="show this list", aliases=("?",)),
    "set": _Command(run=ChatCommands._set, arguments="[NAME [VALUE]]", summary="show or change a setting"),
    "system": _Command(run=ChatCommands._system, arguments="[TEXT]", summary="show or set the system prompt"),
    "show": _Command(
        run=ChatCommands._show, arguments="[NAME]", summary="show the model and the settings, or one of them"
    ),
    "model": _Command(run=ChatCommands._model, arguments="MODEL", summary="switch to another model", required=True),
    "retry": _Command(run=ChatCommands._retry, summary="answer the last question again"),
    "edit": _Command(run=ChatCommands._edit, summary="edit the last question in $EDITOR and ask it again"),
    "undo": _Command(run=ChatCommands._undo, summary="remove the last question and its answer"),
    "clear": _Command(run=ChatCommands._clear, summary="start over; the system prompt stays"),
    "save": _Command(run=ChatCommands._save, arguments="NAME", summary="name this chat and save it", required=True),
    "load": _Command(run=ChatCommands._load, arguments="NAME", summary="open a saved chat", required=True),
    "copy": _Command(run=ChatCommands._copy, summary="copy the last answer to the clipboard"),
    "bye": _Command(run=ChatCommands._bye, summary="leave", aliases=("exit", "quit")),
}
_BY_NAME = {
    **_COMMANDS,
    **{alias: command for command in _COMMANDS.values() for alias in command.aliases},
}
