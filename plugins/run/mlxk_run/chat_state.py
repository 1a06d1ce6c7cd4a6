"""Everything a chat consists of: the model, the conversation and the options in force."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from mlxk_core.api.errors import MlxkError
from mlxk_run.conversation import Conversation
from mlxk_run.keyboard import typing_hidden
from mlxk_run.options import AnswerOptions
from mlxk_run.runner import Runner
from mlxk_run.store import ChatStore


@dataclass
class ChatState:
    """The state of a chat, changed by its commands.

    `attachments` are texts of files to send with the next question. With `autosave` every turn is stored.
    Inside of `busy()` what is typed is hidden and kept for the next prompt.
    """

    runner: Runner
    conversation: Conversation
    options: AnswerOptions
    store: ChatStore
    autosave: bool = True
    trim: bool = True
    attachments: list[str] = field(default_factory=list)
    busy: Callable[[], AbstractContextManager[None]] = typing_hidden

    def save(self, name: str | None = None) -> None:
        """Store the chat under `name`; without a name, only with `autosave`. Raises `ChatStoreError`."""
        conversation = self.conversation
        if name is None and not (self.autosave and (conversation.messages or conversation.id is not None)):
            return
        try:
            conversation.id = self.store.save(
                conversation.id,
                model=self.runner.reference,
                system=conversation.system,
                messages=conversation.messages,
                name=name,
            )
        except MlxkError as error:
            if name is not None:
                raise
            self.autosave = False  # warn once, not after every turn
            self.runner.display.note(f"warning: {error} This chat is not saved.")

    def with_attachments(self, question: str) -> str:
        """Return `question` with the waiting files before it."""
        return "\n\n".join([*self.attachments, question])
