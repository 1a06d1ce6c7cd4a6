"""Which tool calls of an answer go through: whole, in order, and only those that the request can do with."""

import pytest

from mlxk_core._generation.events import Channel, Delta, ToolCallDelta
from mlxk_core._generation.request import Tool
from mlxk_core._generation.tool_call_filter import ToolCallFilter

ANY = Tool(name="weather")


def call(index, *arguments, name="weather"):
    first, *more = arguments
    return [
        ToolCallDelta(index, f"id{index}", name, first),
        *(ToolCallDelta(index, arguments=part) for part in more),
    ]


def content(text):
    return Delta(Channel.CONTENT, text)


def through(tools, *events, parallel=True, whole=True):
    gate = ToolCallFilter(tools, parallel=parallel)
    return gate, [passed for event in events for passed in gate.feed(event)] + list(gate.flush(whole=whole))


def test_a_call_goes_through_as_it_comes():
    gate, events = through([ANY], content("So: "), *call(0, '{"ci', 'ty": 1}'), *call(1, "{}"))
    assert events == [content("So: "), *call(0, '{"ci', 'ty": 1}'), *call(1, "{}")]
    assert gate.called


def test_without_tools_a_call_is_text_on_a_line_of_its_own():
    gate, events = through([], content("So:"), *call(0, '{"a"', ": 1}"))
    assert "".join(event.text for event in events) == 'So:\nweather {"a": 1}'
    assert not gate.called


def test_without_parallel_calls_the_second_one_closes_the_gate():
    gate, events = through([ANY], *call(0, "{", "}"), content(" and "), *call(1, "{}"), parallel=False)
    assert events == [*call(0, "{", "}"), content(" and ")]
    assert gate.closed


@pytest.mark.parametrize("written", [[""], ["", " "], ["\n"]])
@pytest.mark.parametrize("behind", [[], [content("Done.")], call(1, '{"a": 1}')])
def test_a_whole_call_without_arguments_gets_an_empty_object(written, behind):
    _, events = through([ANY], *call(0, *written), *behind)
    assert events == [*call(0, *written), ToolCallDelta(0, arguments="{}"), *behind]


def test_a_call_that_was_cut_before_its_arguments_gets_none():
    assert through([ANY], *call(0, ""), whole=False)[1] == call(0, "")


def test_arguments_after_white_space_are_not_completed():
    _, events = through([ANY], *call(0, "", "\n", "{}"), *call(1, " {}"))
    assert events == [*call(0, "", "\n", "{}"), *call(1, " {}")]


def test_after_a_thousand_calls_the_others_are_text():
    calls = [piece for index in range(1030) for piece in call(index, '{"a": ', "1}")]
    _, events = through([ANY], *calls)
    assert [event for event in events if isinstance(event, ToolCallDelta)] == calls[: 2 * 1024]
    text = "".join(event.text for event in events if isinstance(event, Delta))
    assert text == "\n".join(['weather {"a": 1}'] * 6)
