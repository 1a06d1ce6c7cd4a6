"""A conversation at a terminal: turns, history, and the few words that are commands."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mlxk_core.api.commands import Output
from mlxk_core.api.errors import ContextLengthExceeded, MlxkError
from mlxk_core.api.generation import Completion, Message

_PROMPT = "You: "
_ENDINGS = ("exit", "quit", "/exit", "/quit", "/bye")
_ALONE = ("/help", "/?", "/clear", "/exit", "/quit", "/bye")
_HELP = """\
Type and press Enter; the model answers. Ctrl-C stops an answer.
  /system TEXT   set the system prompt (without TEXT: show it)
  /clear         forget the conversation, keep the system prompt
  /help, /?      show this
  exit, quit     leave, as do /bye, and Ctrl-D and Ctrl-C at the prompt"""
_HISTORY_LINES = 1000


@dataclass
class Chat:
    """The turns so far, and how the next answer is got: `answer` shows it and returns it whole."""

    answer: Callable[[list[Message]], Completion]
    output: Output
    system: str | None = None
    turns: list[Message] = field(default_factory=list)

    def run(self) -> None:
        """Until the user leaves."""
        self.output.note("Chat with the model. /help lists what else there is; exit or Ctrl-D ends it.")
        _read_text()
        with _line_editing(on=self.output.stdout_is_terminal) as remember:
            while True:
                try:
                    line = _ask(self.output)
                except (EOFError, KeyboardInterrupt):
                    self.output.note("\nGoodbye!")
                    return
                try:
                    remember()
                    if line.strip().lower() in _ENDINGS:
                        self.output.note("Goodbye!")
                        return
                    self._take(line.strip())
                except KeyboardInterrupt:  # before the answer was under way, or a second time
                    self.output.note("[stopped]")

    def _take(self, line: str) -> None:
        word, rest = [*line.split(maxsplit=1), "", ""][:2]
        word = word.lower()
        match word:
            case "":
                pass
            case _ if rest and word in _ALONE:
                self.output.note(f"{word} stands alone, with nothing behind it.")
            case "/help" | "/?":
                self.output.note(_HELP)
            case "/clear":
                self.turns.clear()
                self.output.note("The conversation is forgotten.")
            case "/system":
                self._set_system(rest)
            case _ if word.startswith("/") and word[1:].isalpha() and not rest:
                self.output.note(f"There is no command {word}; /help lists them.")
            case _:
                self._turn(line)

    def _set_system(self, text: str) -> None:
        if text:
            self.system = text
            self.output.note("The system prompt is set.")
        else:
            self.output.note(f"System prompt: {self.system}" if self.system else "There is no system prompt.")

    def _turn(self, line: str) -> None:
        said = Message(role="user", content=line)
        opening = [Message(role="system", content=self.system)] if self.system else []
        try:
            completion = self.answer([*opening, *self.turns, said])
        except ContextLengthExceeded as error:
            self.output.note(f"{error} /clear forgets the conversation so far.")
            return
        except MlxkError as error:
            self.output.note(str(error))
            return
        if completion.finish_reason == "cancelled":
            self.output.note("[stopped]")
        if completion.content or completion.reasoning:
            reply = Message(role="assistant", content=completion.content, reasoning=completion.reasoning or None)
            self.turns += [said, reply]


def _ask(output: Output) -> str:
    if output.stdout_is_terminal:
        return input(_PROMPT)
    # Standard output is for answers: where it goes to a file or a pipe, the prompt must not.
    output.note(_PROMPT, end="")
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _read_text() -> None:
    """Whatever the locale says and whatever is typed, a line is text."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def _line_editing(*, on: bool) -> Iterator[Callable[[], None]]:
    """Editing keys, and a history of what was typed. It outlives the process, however that ends: the function this
    gives saves it, after every line."""
    try:
        import readline
    except ImportError:  # a Python without it still reads lines
        on = False
    if not on:
        yield lambda: None
        return
    # Python switches it off; with it, several lines that are pasted are one text and not a question each.
    if os.environ.get("TERM") != "dumb":
        readline.parse_and_bind("set enable-bracketed-paste on")
    history = _history_file()
    for said in _read_history(history):
        readline.add_history(said)

    def remember() -> None:
        last = readline.get_current_history_length()
        _write_history(history, [readline.get_history_item(number) or "" for number in range(1, last + 1)])

    yield remember


def _read_history(file: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                yield str(json.loads(line))


def _write_history(file: Path, said: list[str]) -> None:
    """A JSON string a line: a pasted text of several lines is one entry, which readline's own file would tear apart."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text("".join(json.dumps(each) + "\n" for each in said[-_HISTORY_LINES:]), encoding="utf-8")


def _history_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "mlxk" / "history"
