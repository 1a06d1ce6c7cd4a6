"""Rewritten conversations keep every text, and come to a form that strict templates accept."""

from __future__ import annotations

import pytest

from mlxk_core._generation.role_rewrites import rewrites
from mlxk_core.api import Message, ToolCall

CALLING = Message(role="assistant", content="", tool_calls=(ToolCall(id="1", name="f", arguments="{}"),))
RESULT = Message(role="tool", content="r", tool_call_id="1")


def turns(text: str) -> list[Message]:
    """`turns("s:x u:y")` is a system message x and a user message y."""
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [Message(role=roles[each[0]], content=each[2:]) for each in text.split()]


def written(messages) -> list[tuple[str, str]]:
    return [(message.role[0], message.content) for message in messages]


@pytest.mark.parametrize(
    "given, first",
    [
        ("u:a u:b", [("u", "a\n\nb")]),
        ("s:x s:y u:a", [("s", "x\n\ny"), ("u", "a")]),
        ("s:x u:a a:b s:y u:c", [("s", "x"), ("u", "a"), ("a", "b"), ("u", "y\n\nc")]),
        ("u:a s:x", [("u", "a\n\nx")]),
        ("a:a u:b", [("u", ""), ("a", "a"), ("u", "b")]),
        ("s:x a:a u:b", [("s", "x"), ("u", ""), ("a", "a"), ("u", "b")]),
        ("s:x", [("u", "x")]),
        ("u:a a:b a:c u:d", [("u", "a"), ("a", "b\n\nc"), ("u", "d")]),
        ("u:a a: u:d", [("u", "a\n\nd")]),
    ],
)
def test_the_first_rewrite(given, first):
    assert written(next(rewrites(turns(given))).messages) == first


@pytest.mark.parametrize("given", ["s:x u:a u:b a:c s:y u:d", "a:w s:x u:a", "s:x a:w a:v u:a", "s:x s:y"])
def test_the_last_rewrites_alternate_from_a_user_on(given):
    found = [[message.role for message in rewritten.messages] for rewritten in rewrites(turns(given))]
    assert any(roles == [("user", "assistant")[index % 2] for index in range(len(roles))] for roles in found)


@pytest.mark.parametrize("given", ["s:x u:a u:b a:c s:y u:d", "a:w s:x u:a", "s:x a:w a:v u:a", "u:a a: u:b"])
def test_no_text_is_lost_and_the_order_stays(given):
    texts = [message.content for message in turns(given) if message.content]
    for rewritten in rewrites(turns(given)):
        assert [text for message in rewritten.messages for text in message.content.split("\n\n") if text] == texts
        assert rewritten.changes


def test_calls_and_results_are_not_merged():
    history = [Message(role="user", content="q"), CALLING, RESULT, RESULT, Message(role="assistant", content="a")]
    assert not [each for each in rewrites(history) if any(message.role == "tool" for message in each.messages)]


def test_calls_and_results_become_text_at_last():
    history = [Message(role="user", content="q"), CALLING, RESULT, Message(role="assistant", content="a")]
    *_, last = rewrites(history)
    assert [message.role for message in last.messages] == ["user", "assistant", "user", "assistant"]
    assert CALLING.tool_calls[0].name in last.messages[1].content
    assert RESULT.content in last.messages[2].content


def test_a_conversation_that_alternates_has_only_the_system_message_to_move():
    assert list(rewrites(turns("u:a a:b u:c"))) == []
    [only] = rewrites(turns("s:x u:a"))
    assert only.folds_system and written(only.messages) == [("u", "x\n\na")]
