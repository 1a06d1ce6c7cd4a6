"""The prompt of a chat: an editor with history and completion on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from mlxk_core.api.commands import Output
from mlxk_core.api.paths import NoHomeFolder
from mlxk_run.keyboard import collect_keys, typing_hidden
from mlxk_run.paths import history_file

if TYPE_CHECKING:
    from prompt_toolkit.history import History

PROMPT = "You: "
_MORE = "...  "
QUOTE = '"""'


class LineEditor(Protocol):
    """Reads what is typed. Raises `EOFError` at the end of input, `KeyboardInterrupt` for Ctrl-C on an empty line."""

    def read(self) -> str:
        """Return one message."""

    def busy(self) -> AbstractContextManager[None]:
        """Hide what is typed meanwhile, and keep it for the next `read`."""


def line_editor(output: Output, complete: Callable[[str], Sequence[tuple[str, int]]]) -> LineEditor:
    """Return the editor for this terminal. `complete` returns completions of a line as (text, start offset from its
    end)."""
    if output.stdout_is_terminal and os.environ.get("TERM") != "dumb" and _is_real_terminal():
        return _PromptToolkit(complete)
    return _PlainLines(output)


def is_open_quote(text: str) -> bool:
    """Whether a message that began with three quotation marks is not closed yet."""
    text = text.lstrip()
    return text.startswith(QUOTE) and QUOTE not in text[len(QUOTE) :]


def unquote(text: str) -> str:
    """Return a message without the three quotation marks around it."""
    stripped = text.strip()
    if stripped.startswith(QUOTE) and (end := stripped.find(QUOTE, len(QUOTE))) > 0:
        return (stripped[len(QUOTE) : end] + stripped[end + len(QUOTE) :]).strip("\n")
    return text


class _PlainLines:
    """Lines of standard input, for pipes and simple terminals."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def read(self) -> str:
        text = self._line(PROMPT)
        while is_open_quote(text):
            try:
                text += "\n" + self._line(_MORE)
            except EOFError:
                break
        return text

    def busy(self) -> AbstractContextManager[None]:
        return typing_hidden(keep=True)

    def _line(self, prompt: str) -> str:
        # Standard output is for answers: where it is a file or a pipe, the prompt must not be in it.
        self._output.note(prompt, end="")
        with interrupts_raise():
            line = sys.stdin.buffer.readline()
        if not line:
            raise EOFError
        return line.decode("utf-8", errors="replace").rstrip("\r\n")


class _PromptToolkit:
    """prompt_toolkit with our history, completion and keys."""

    def __init__(self, complete: Callable[[str], Sequence[tuple[str, int]]]) -> None:
        # prompt_toolkit takes 0.2 s to import: a single answer does without it.
        from prompt_toolkit import PromptSession
        from prompt_toolkit.application import get_app
        from prompt_toolkit.completion import Completer, Completion
        from prompt_toolkit.document import Document
        from prompt_toolkit.filters import Condition
        from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
        from prompt_toolkit.output import ColorDepth
        from prompt_toolkit.output.vt100 import Vt100_Output

        class _Completer(Completer):
            def get_completions(self, document: Document, event: object) -> Iterator[Completion]:
                for text, start in complete(document.text_before_cursor):
                    yield Completion(text, start_position=start)

        keys = KeyBindings()

        @keys.add("c-c")
        @keys.add("<sigint>")
        def interrupt(event: KeyPressEvent) -> None:
            if event.current_buffer.text:
                event.current_buffer.reset()
            else:
                event.app.exit(exception=KeyboardInterrupt)

        @keys.add("escape", "enter")
        def new_line(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        screen = Vt100_Output.from_pty(
            sys.stdout,
            term=os.environ.get("TERM"),
            default_color_depth=ColorDepth.from_env(),  # NO_COLOR
        )
        # Asking for the cursor's position costs 2 s and a warning where the terminal does not answer.
        screen.enable_cpr = False
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            history=_history(),
            completer=_Completer(),
            complete_while_typing=False,
            key_bindings=keys,
            multiline=Condition(lambda: is_open_quote(get_app().current_buffer.text)),
            prompt_continuation=lambda width, line, wrapped: "" if wrapped else _MORE,
            enable_suspend=True,
            output=screen,
        )

    def read(self) -> str:
        text = self._session.prompt()
        # Under another locale than UTF-8, Python keeps what was typed as lone surrogates.
        return text.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")

    @contextmanager
    def busy(self) -> Iterator[None]:
        screen = self._session.output
        screen.enable_bracketed_paste()  # the lines of a paste are one message, also now
        screen.flush()
        try:
            with collect_keys(self._give):
                yield
        finally:
            screen.disable_bracketed_paste()
            screen.flush()

    def _give(self, data: bytes) -> None:
        """Let the next `read` begin with these keys; what follows the key Enter is left for the one after it."""
        from prompt_toolkit.input.typeahead import store_typeahead
        from prompt_toolkit.input.vt100_parser import Vt100Parser
        from prompt_toolkit.key_binding import KeyPress

        keys: list[KeyPress] = []
        parser = Vt100Parser(keys.append)
        parser.feed(data.decode("utf-8", errors="surrogateescape"))
        parser.flush()
        store_typeahead(self._session.input, keys)


def _history() -> History:
    """Return the lines typed in all chats; only those of this one for a user without a home folder."""
    from prompt_toolkit.history import InMemoryHistory

    from mlxk_run.history import InputHistory

    try:
        return InputHistory(history_file())
    except NoHomeFolder:
        return InMemoryHistory()


@contextmanager
def interrupts_raise() -> Iterator[None]:
    """Make Ctrl-C raise `KeyboardInterrupt`, unless it is ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _is_real_terminal() -> bool:
    try:
        return os.isatty(sys.stdin.fileno())
    except (OSError, ValueError):
        return False
