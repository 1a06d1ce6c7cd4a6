"""What of a chat is sent when the context is full."""

import pytest

from mlxk_core.api.errors import ContextLengthExceeded
from mlxk_core.api.generation import Message
from mlxk_run.conversation import Conversation, ask
from mlxk_run.display import NoRoom

WINDOW = 400
QUESTION = Message(role="user", content="?" * 20)


def conversation(turns, system="s" * 40):
    messages = [Message(role=role, content=role[0] * 40) for _ in range(turns) for role in ("user", "assistant")]
    return Conversation(system=system, messages=messages)


def send(talk, *, trim=True, question=QUESTION):
    """Ask with an engine of one token per character; returns the messages that were accepted."""

    def answer(messages, room):
        size = sum(len(message.content) for message in messages)
        if size >= WINDOW:
            raise ContextLengthExceeded(size, WINDOW)
        if WINDOW - size < room:
            raise NoRoom
        return messages

    return ask(talk, question, answer, context_length=WINDOW, max_tokens=None, trim=trim)


def test_everything_is_sent_while_it_fits():
    talk = conversation(2)
    assert len(send(talk)) == 6 and talk.dropped == 0


def test_the_oldest_turns_are_dropped_and_the_system_prompt_stays():
    talk = conversation(10)
    sent = send(talk)
    assert sent[0].role == "system" and sent[-1] == QUESTION and sent[1].role == "user"
    assert sum(len(message.content) for message in sent) <= WINDOW * 3 / 4
    assert talk.dropped == 20 - (len(sent) - 2) and len(talk.messages) == 20


def test_a_nearly_full_context_is_trimmed_too():
    talk = conversation(4)  # 380 tokens with the question: not enough for an answer
    assert len(send(talk)) < 10


def test_without_trim_a_full_context_is_an_error():
    talk = conversation(10)
    with pytest.raises(ContextLengthExceeded):
        send(talk, trim=False)
    assert talk.dropped == 0


def test_a_question_that_never_fits_is_an_error_and_nothing_is_dropped():
    talk = conversation(3)
    with pytest.raises(ContextLengthExceeded):
        send(talk, question=Message(role="user", content="?" * 500))
    assert talk.dropped == 0
