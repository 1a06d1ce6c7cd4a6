"""The turns of a chat, and how many of them fit into the model's context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mlxk_core.api.errors import ContextLengthExceeded
from mlxk_core.api.generation import Message
from mlxk_run.display import Answer, NoRoom

_ROOM = 256
"""Tokens that an answer needs at least; with fewer, old turns are dropped."""


@dataclass
class Conversation:
    """Messages of a chat. All are kept and saved; the first `dropped` ones are no longer sent to the model."""

    system: str | None = None
    messages: list[Message] = field(default_factory=list)
    dropped: int = 0
    id: int | None = None
    """Its number among the saved chats; None before it was saved."""

    def prompt(self, question: Message) -> list[Message]:
        """Return the messages to send for `question`."""
        opening = [Message(role="system", content=self.system)] if self.system else []
        return [*opening, *self.messages[self.dropped :], question]

    def add(self, question: Message, answer: Answer) -> bool:
        """Append a turn. Return False, and append nothing, if the answer has no text."""
        completion = answer.completion
        if not (completion.content or completion.reasoning):
            return False
        reply = Message(role="assistant", content=completion.content, reasoning=completion.reasoning or None)
        self.messages += [question, reply]
        return True

    def undo(self) -> list[Message]:
        """Remove the last turn and return its messages; none without a turn."""
        start = self._last_question()
        if start is None:
            return []
        turn = self.messages[start:]
        del self.messages[start:]
        self.dropped = min(self.dropped, len(self.messages))
        return turn

    @property
    def last_question(self) -> str | None:
        """The text of the last question."""
        start = self._last_question()
        return None if start is None else self.messages[start].content

    @property
    def last_answer(self) -> str | None:
        """The text of the last answer."""
        return next((each.content for each in reversed(self.messages) if each.role == "assistant"), None)

    def drop_oldest(self) -> bool:
        """Stop sending the oldest turn; return False if none is left."""
        rest = self.messages[self.dropped :]
        if not rest:
            return False
        following = [at for at, each in enumerate(rest) if at and each.role == "user"]
        self.dropped += following[0] if following else len(rest)
        return True

    def _last_question(self) -> int | None:
        return next((at for at in reversed(range(len(self.messages))) if self.messages[at].role == "user"), None)


def ask(
    conversation: Conversation,
    question: Message,
    answer: Callable[[Sequence[Message], int], Answer],
    *,
    context_length: int | None,
    max_tokens: int | None,
    trim: bool,
) -> Answer:
    """Answer `question` after the conversation; `answer` gets the messages and the tokens to leave for the answer.

    When the context is full and `trim` is set, the oldest turns are dropped until a quarter of it is free. Raises
    `ContextLengthExceeded` if that is not enough or `trim` is off.
    """
    quarter = (context_length or 4 * _ROOM) // 4
    least = min(_ROOM, quarter, max_tokens or _ROOM)
    before = conversation.dropped
    room = least if trim and conversation.messages[before:] else 0
    while True:
        try:
            return answer(conversation.prompt(question), room)
        except (NoRoom, ContextLengthExceeded):
            if not trim or not conversation.drop_oldest():
                conversation.dropped = before
                raise
            # A quarter and not the minimum, so that the next turns fit too and find their prefix in the prompt cache.
            room = quarter if conversation.messages[conversation.dropped :] else 0
