"""A chat: the loop of reading a line and answering it."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten

from mlxk_core.api.commands import escape_control, interrupts_ignored
from mlxk_core.api.errors import ContextLengthExceeded, Interrupted, MlxkError
from mlxk_core.api.generation import Message
from mlxk_run.attachments import with_files
from mlxk_run.chat_commands import ChatCommands, Leave, Question
from mlxk_run.chat_state import ChatState
from mlxk_run.conversation import ask
from mlxk_run.line_editor import line_editor, unquote
from mlxk_run.store import SavedChat

_LAST_ANSWER = 200  # characters
_ENDINGS = ("exit", "quit")


class Chat:
    """A conversation at a terminal. `run` returns when the user leaves."""

    def __init__(self, state: ChatState, *, continued: SavedChat | None = None) -> None:
        self._state = state
        self._continued = continued
        self._commands = ChatCommands(state)
        self._output = state.runner.session.output

    def run(self) -> None:
        """Read and answer until the user leaves."""
        state = self._state
        editor = line_editor(self._output, self._commands.complete)
        state.busy = editor.busy
        state.runner.display.note(f"Chatting with {state.runner.model.name}. /help for commands, Ctrl-D to leave.")
        self._introduce()
        leaving = False
        with interrupts_ignored():  # between an answer and the next prompt; both handle Ctrl-C themselves
            while True:
                try:
                    line = editor.read()
                except EOFError:
                    self._output.note("")
                    break
                except KeyboardInterrupt:
                    if leaving:
                        break
                    leaving = True
                    self._output.note("\nTo leave, press Ctrl-D, type /bye, or press Ctrl-C again.")
                    continue
                leaving = False
                try:
                    self._handle(line)
                except Leave:
                    break
                except KeyboardInterrupt:  # before the answer had started, or a second time
                    self._output.note("[stopped]")
                except ContextLengthExceeded as error:
                    self._print_error(f"{error} /undo removes the last turn, /clear all of them.")
                except MlxkError as error:
                    self._print_error(error.headline if error.lines else str(error), error.lines)
        state.runner.display.note("Goodbye!")

    def ask_once(self, prompt: str) -> None:
        """Answer one question after the conversation so far. Raises `Interrupted` if the user stops it."""
        self._introduce()
        if self._answer(Question(text=prompt)) == "cancelled":
            raise Interrupted("The answer was interrupted.")

    def _print_error(self, text: str, lines: Sequence[str] = ()) -> None:
        self._output.note(f"error: {escape_control(text)}")
        for line in lines:
            self._output.note(f"  {escape_control(line)}")

    def _introduce(self) -> None:
        """Print the title of the continued chat and a short form of its last answer."""
        chat = self._continued
        if chat is None:
            return
        note = self._state.runner.display.note
        count = f"{chat.messages} message{'' if chat.messages == 1 else 's'}"
        other = f", with {chat.model} so far" if chat.model != self._state.runner.reference else ""
        note(f"Continuing chat {chat.id}: {escape_control(chat.title)} ({count}{other}).")
        last = " ".join((self._state.conversation.last_answer or "").split())
        if last:
            note(f"The last answer was: {escape_control(shorten(last, _LAST_ANSWER, placeholder=' …'))}")

    def _handle(self, line: str) -> None:
        text = unquote(line)
        if not text.strip():
            return
        if line.strip().lower() in _ENDINGS:
            raise Leave
        if self._commands.is_command(line):
            question: Question | None = self._commands.run(line)
        else:
            question = Question(text=with_files(text.strip(), self._output.note))
        if question is not None and self._answer(question) == "cancelled":
            self._output.note("[stopped]")

    def _answer(self, question: Question) -> str:
        """Answer a question and return the finish reason."""
        state, conversation = self._state, self._state.conversation
        dropped = conversation.dropped
        replaced = conversation.undo() if question.replaces else []
        message = Message(role="user", content=state.with_attachments(question.text))
        try:
            with state.busy():
                answer = ask(
                    conversation,
                    message,
                    lambda messages, room: state.runner.answer(messages, state.options, room=room),
                    context_length=state.runner.context_length,
                    max_tokens=state.options.max_tokens,
                    trim=state.trim,
                )
            added = conversation.add(message, answer)
        except BaseException:
            conversation.messages += replaced
            raise
        if self._output.stdout_is_terminal:
            self._output.note("")  # a blank line before the next prompt
        if conversation.dropped > dropped:
            state.runner.display.note(
                f"The context is full: the oldest {conversation.dropped} messages are no longer sent "
                "(--no-trim stops instead)."
            )
        if added:
            state.attachments.clear()
            state.save()
        else:
            conversation.messages += replaced
        return answer.finish_reason
