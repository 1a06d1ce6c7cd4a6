"""Which tool calls of an answer go through: whole, in order, and only those that the request can do with."""

import json

import pytest

from mlxk_core._generation.events import Channel, Delta, ToolCallDelta
from mlxk_core._generation.request import Tool
from mlxk_core._generation.tool_call_filter import ToolCallFilter

CITY = Tool(name="weather", accepts=lambda arguments: "city" in json.loads(arguments))
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


NOTHING = Tool(name="weather", accepts=lambda arguments: arguments == "{}")


def test_a_call_goes_through_as_it_comes():
    gate, events = through([ANY], content("So: "), *call(0, '{"ci', 'ty": 1}'), *call(1, "{}"))
    assert events == [content("So: "), *call(0, '{"ci', 'ty": 1}'), *call(1, "{}")]
    assert gate.called


def test_without_tools_a_call_is_text_on_a_line_of_its_own():
    gate, events = through([], content("So:"), *call(0, '{"a"', ": 1}"))
    assert "".join(event.text for event in events) == 'So:\nweather {"a": 1}'
    assert not gate.called


@pytest.mark.parametrize("behind", [[], [content("Done.")], call(1, "{}", name="other")])
def test_a_judged_call_is_one_event_when_it_is_whole(behind):
    _, events = through([CITY, Tool(name="other")], *call(0, '{"ci', 'ty"', ": 1}"), *behind)
    assert events == [ToolCallDelta(0, "id0", "weather", '{"city": 1}'), *behind]


def test_a_call_that_its_tool_refuses_is_text_and_the_next_one_takes_its_number():
    gate, events = through([CITY], *call(0, '{"town"', ": 1}"), *call(1, '{"city": 2}'))
    assert events == [content('weather {"town": 1}'), ToolCallDelta(0, "id1", "weather", '{"city": 2}')]
    assert gate.called


def test_only_the_tool_that_judges_is_asked():
    _, events = through([CITY, Tool(name="other")], *call(0, "{}", name="other"), *call(1, "{}", name="unknown"))
    assert [event.name for event in events] == ["other", "unknown"]


def test_without_parallel_calls_the_second_one_closes_the_gate():
    gate, events = through([ANY], *call(0, "{", "}"), content(" and "), *call(1, "{}"), parallel=False)
    assert events == [*call(0, "{", "}"), content(" and ")]
    assert gate.closed


def test_a_refused_call_is_not_the_one_that_was_asked_for():
    gate, events = through([CITY], *call(0, "{}"), *call(1, '{"city": 1}'), parallel=False)
    assert events == [content("weather {}"), ToolCallDelta(0, "id1", "weather", '{"city": 1}')]
    assert not gate.closed


@pytest.mark.parametrize("written", [[""], ["", " "], ["\n"]])
@pytest.mark.parametrize("behind", [[], [content("Done.")], call(1, '{"a": 1}')])
def test_a_whole_call_without_arguments_gets_an_empty_object(written, behind):
    _, events = through([ANY], *call(0, *written), *behind)
    assert events == [*call(0, *written), ToolCallDelta(0, arguments="{}"), *behind]


def test_a_judged_call_without_arguments_is_judged_by_an_empty_object():
    _, events = through([NOTHING], *call(0, "", " "))
    assert events == [ToolCallDelta(0, "id0", "weather", "{}")]


def test_a_call_that_was_cut_before_its_arguments_gets_none():
    assert through([ANY], *call(0, ""), whole=False)[1] == call(0, "")
    assert through([NOTHING], *call(0, ""), whole=False)[1] == [content("weather ")]


def test_arguments_behind_white_space_are_not_completed():
    _, events = through([ANY], *call(0, "", "\n", "{}"), *call(1, " {}"))
    assert events == [*call(0, "", "\n", "{}"), *call(1, " {}")]
