"""Conversations in the templates of model families: nothing is lost, and what a template shows by itself is unchanged.

`MLXK_TEST_TEMPLATES` names a folder of `.jinja` files to check as well (llama.cpp and TRL have collections).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mlxk_core._generation.role_rewrites import rewrites
from mlxk_core.api import Message, Tool, ToolCall
from mlxk_core.api.errors import TemplateError
from mlxk_mlx.engine.chat_template import ChatTemplate
from mlxk_mlx.engine.message_format import describe
from mlxk_mlx.loading import runtime
from mlxk_testing.tiny_models import CHATML, HARMONY

pytest.importorskip("mlxk_reasoning", reason="the templates of model families are kept with its tests")
from tests.reasoning.test_templates import _FAMILIES

SPECIAL = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
TOOLS = tuple(
    Tool(name=name, description="d", parameters={"type": "object", "properties": {key: {"type": "string"}}})
    for name, key in (("zfun", "zkey"), ("zgun", "zkez"))
)


def say(role: Any, content: str, **more: Any) -> Message:
    return Message(role=role, content=content, **more)


FIRST = ToolCall(id="call_1", name="zfun", arguments='{"zkey": "zval"}')
SECOND = ToolCall(id="call_2", name="zgun", arguments='{"zkez": "zvaw"}')
SYSTEM, USER, ANSWER, NEXT = (
    say("system", "zsys"),
    say("user", "zuser"),
    say("assistant", "zanswer"),
    say("user", "znext"),
)
CALLING = say("assistant", "", tool_calls=(FIRST,))
RESULT = say("tool", "zresult", tool_call_id="call_1")
CHATS = {
    "user": [USER],
    "system": [SYSTEM, USER],
    "turns": [SYSTEM, USER, ANSWER, NEXT],
    "two users": [USER, NEXT],
    "late system": [SYSTEM, USER, ANSWER, say("system", "zlate"), NEXT],
    "two systems": [SYSTEM, say("system", "zlate"), USER],
    "system only": [SYSTEM],
    "assistant first": [ANSWER, NEXT],
    "empty answer": [USER, say("assistant", ""), NEXT],
}
TOOL_CHATS = {
    "call": [USER, CALLING, RESULT],
    "call and answer": [SYSTEM, USER, CALLING, RESULT, ANSWER, NEXT],
    "text and call": [USER, say("assistant", "zbeside", tool_calls=(FIRST,)), RESULT, ANSWER, NEXT],
    "two calls": [
        USER,
        say("assistant", "", tool_calls=(FIRST, SECOND)),
        RESULT,
        say("tool", "zt", tool_call_id="call_2"),
    ],
}


def templates() -> Iterator[Any]:
    yield pytest.param(CHATML, id="chatml")
    yield pytest.param(HARMONY, id="harmony")
    for name, family in _FAMILIES.items():
        yield pytest.param(family.template, id=name)
    folder = os.environ.get("MLXK_TEST_TEMPLATES")
    for path in sorted(Path(folder).glob("*.jinja")) if folder else ():
        yield pytest.param(path.read_text(), id=path.stem)


def texts(messages: Sequence[Message]) -> Iterator[str]:
    for message in messages:
        yield message.content
        for call in message.tool_calls:
            yield from (call.name, *(text for pair in json.loads(call.arguments).items() for text in pair))


def rendered_by_jinja(template: str, messages: Sequence[Message], tools: Sequence[Tool]) -> str | None:
    """What transformers makes of the messages as an OpenAI client sends them, None for an error."""
    runtime.start()
    from transformers.utils.chat_template_utils import render_jinja_template

    sent = []
    for message in messages:
        entry: dict[str, Any] = {"role": message.role}
        if message.content or not message.tool_calls:
            entry["content"] = message.content
        if message.tool_call_id:
            entry["tool_call_id"] = message.tool_call_id
        if message.tool_calls:
            functions = [{"name": call.name, "arguments": json.loads(call.arguments)} for call in message.tool_calls]
            ids = [call.id for call in message.tool_calls]
            entry["tool_calls"] = [
                {"id": identifier, "type": "function", "function": function}
                for identifier, function in zip(ids, functions, strict=True)
            ]
        sent.append(entry)
    described = [describe(tool) for tool in tools] or None
    try:
        prompts, _ = render_jinja_template(
            [sent], tools=described, chat_template=template, add_generation_prompt=True, **SPECIAL
        )
    except Exception:
        return None
    return str(prompts[0])


def rendered(template: str, messages: Sequence[Message], tools: Sequence[Tool]) -> tuple[str | None, bool]:
    """The prompt, and whether the messages had to be rewritten; no prompt if the template refuses every form."""
    chat = ChatTemplate.of({"default": template}, SPECIAL)
    for number, tried in enumerate([messages, *(rewritten.messages for rewritten in rewrites(messages))]):
        try:
            return chat.render(tried, tools=tools), number > 0
        except TemplateError:
            continue
    return None, False


@pytest.mark.parametrize("template", list(templates()))
def test_a_conversation_is_rendered_as_by_jinja_or_without_loss(template):
    for name, messages in {**CHATS, **TOOL_CHATS}.items():
        tools = TOOLS if name in TOOL_CHATS else ()
        prompt, is_rewritten = rendered(template, messages, tools)
        own = rendered_by_jinja(template, messages, tools)
        if own is not None and all(text in own for text in texts(messages)):
            assert (prompt, is_rewritten) == (own, False), name
        elif prompt is not None:
            assert [text for text in texts(messages) if text not in prompt] == [], name
        else:
            assert name in TOOL_CHATS, f"{name}: refused"
