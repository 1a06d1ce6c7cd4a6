"""Tool calls inside, beside and after reasoning through the whole service: streamed and whole, tools offered or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlxk_core.api.generation import (
    Channel,
    Delta,
    GenerationRequest,
    GenerationService,
    Message,
    Sampling,
    Tool,
    ToolCallDelta,
    join_events,
)
from mlxk_core.api.host import Host
from mlxk_core.api.models import Model
from mlxk_testing.tiny_models import CHATML_TOKENS, scripted_model

_TEMPLATE = (
    "{% if false %}<tool_call>{{ tool_call.name }}{% endif %}"
    "{% if tools %}{% for tool in tools %}{{ tool.function.name }}{% endfor %}{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if false %}<think></think>{% endif %}{% endif %}"
)
_TOKENS = (*CHATML_TOKENS, "<think>", "</think>", "<tool_call>", "</tool_call>")
_TOOL = Tool(name="calculate", parameters={"type": "object", "properties": {"expression": {"type": "string"}}})
_CALL = '<tool_call>\n{"name": "calculate", "arguments": {"expression": "9"}}\n</tool_call>'

# (what the model says, reasoning, content, calls with tools offered)
_CASES = {
    "inside, with a stray closer": (f"<think>I'll call it.\n{_CALL}\n</think>\n\n", "I'll call it.", "", 1),
    "inside, and never closed": (f"<think>I'll call it.\n{_CALL}", "I'll call it.", "", 1),
    "inside, then more reasoning": (f"<think>One.\n{_CALL}\nTwo.</think>Done.", "One.\nTwo.", "Done.", 1),
    "after": (f"<think>Plan.</think>\n\n{_CALL}", "Plan.", "", 1),
    "after, with a stray closer": (f"<think>Plan.</think>\n{_CALL}\n</think>\n", "Plan.", "", 1),
    "beside text": (f"<think>Plan.</think>\n\nLet me see.\n{_CALL}", "Plan.", "Let me see.", 1),
    "two": (f"<think>Plan.</think>{_CALL}\n{_CALL.replace('9', '8')}", "Plan.", "", 2),
    "reasoning about markers": (
        "<think>The user wants <tool_call> tags explained.</think>They mark calls.",
        "The user wants <tool_call> tags explained.",
        "They mark calls.",
        0,
    ),
    "content about markers": (
        "<think>Hm.</think>A call is in <tool_call> and </tool_call>, with `</think>` before it.",
        "Hm.",
        "A call is in <tool_call> and </tool_call>, with `</think>` before it.",
        0,
    ),
}


@pytest.fixture(scope="module")
def service():
    with GenerationService(Host.discover()) as service:
        yield service


def answer(service, folder: Path, says: str, tools: tuple[Tool, ...]):
    scripted_model(folder, says, chat_template=_TEMPLATE, added_tokens=_TOKENS)
    request = GenerationRequest(
        model=Model(name=folder.name, path=folder),
        prompt=(Message(role="user", content="Hi"),),
        sampling=Sampling(temperature=0),
        tools=tools,
    )
    return list(service.submit(request))


@pytest.mark.parametrize("case", _CASES)
def test_calls_are_found_wherever_they_are(service, tmp_path, case):
    says, reasoning, content, calls = _CASES[case]
    events = answer(service, tmp_path / "m", says, (_TOOL,))
    whole = join_events(events)
    assert (whole.reasoning, whole.content, len(whole.tool_calls)) == (reasoning, content, calls)
    assert all(json.loads(call.arguments).keys() == {"expression"} for call in whole.tool_calls)
    assert whole.finish_reason == ("tool_calls" if calls else "stop")
    streamed = dict.fromkeys(Channel, "")
    for event in events:
        if isinstance(event, Delta):
            streamed[event.channel] += event.text
    assert (streamed[Channel.REASONING], streamed[Channel.CONTENT]) == (reasoning, content)
    assert len({event.index for event in events if isinstance(event, ToolCallDelta)}) == calls


@pytest.mark.parametrize("case", _CASES)
def test_without_tools_nothing_is_a_call_and_nothing_is_lost(service, tmp_path, case):
    says, *_ = _CASES[case]
    whole = join_events(answer(service, tmp_path / "m", says, ()))
    assert whole.tool_calls == () and whole.finish_reason == "stop"
    said = "".join((says.replace("<think>", "") if "`</think>`" in says else says).split())
    kept = "".join((whole.reasoning + whole.content).split())
    for marker in ("<think>", "</think>"):
        said, kept = said.replace(marker, ""), kept.replace(marker, "")
    assert kept == said
