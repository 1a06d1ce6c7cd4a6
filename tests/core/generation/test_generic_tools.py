"""Calls in the generic form, in text that arrives in pieces."""

from __future__ import annotations

import json
import time

import pytest

from mlxk_core._generation.events import Channel, Delta, ToolCallDelta
from mlxk_core._generation.extractor import PlainText
from mlxk_core._generation.generic_tools import GenericToolExtractor
from mlxk_core.api import Tool
from mlxk_testing.splits import assert_split_invariant

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": %s}}\n</tool_call>'


def extractor():
    return GenericToolExtractor(PlainText(), (Tool(name="f"),))


def read(text, size):
    """The content and the arguments of the calls in a text that is fed in pieces of `size` characters."""
    parser = extractor()
    events = [event for at in range(0, len(text), size) for event in parser.feed(text[at : at + size])]
    events += parser.close()
    content = "".join(event.text for event in events if isinstance(event, Delta) and event.channel is Channel.CONTENT)
    return content, [json.loads(event.arguments) for event in events if isinstance(event, ToolCallDelta)]


@pytest.mark.parametrize(
    ("value", "before"),
    [
        ("a", ""),
        ("</tool_call>", ""),
        ("<b>" + "</tool_call>" * 60, ""),
        ("<tool_call>" * 70, ""),
        ("a > b", "As <tool_call> says: "),
        ("<p></p>" * 500, "<tool_call></tool_call> "),
    ],
)
def test_a_call_is_found_wherever_the_text_is_cut(value, before):
    text = f"{before}{CALL % json.dumps(value)} Done."
    assert read(text, len(text)) == (f"{before.strip()} Done.".strip(), [{"x": value}])
    assert_split_invariant(extractor, text)


@pytest.mark.parametrize(
    "text",
    [
        lambda count: "<tool_call>" * count,
        lambda count: '<tool_call>{"a": "' + "<tool_call>" * count + "</tool_call>",
        lambda count: CALL % json.dumps("<b></b>" * count),
    ],
    ids=["markers", "markers in a string", "marks of a page"],
)
def test_a_response_is_read_in_linear_time(text):
    seconds = []
    for count in (8_000, 32_000):
        begun = time.thread_time()
        read(text(count), 11)
        seconds.append(time.thread_time() - begun)
    short, long = seconds
    assert long < 8 * short + 0.5
