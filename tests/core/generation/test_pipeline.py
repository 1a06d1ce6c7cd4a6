"""The text pipeline: tokens in, channels out, with counts that end where the answer ended."""

from dataclasses import replace

import pytest

from mlxk_core._generation.engine import Sampled, ScoredToken
from mlxk_core._generation.events import Channel, Delta, ToolCallDelta
from mlxk_core._generation.extractor import PlainText
from mlxk_core._generation.malformed_result import WrongResult
from mlxk_core._generation.pipeline import TextPipeline
from mlxk_core._generation.request import Tool
from mlxk_core._generation.tool_call_filter import ToolCallFilter
from mlxk_core._text.stop_strings import StopStrings
from mlxk_testing.fake_engine import END, FakeDetokenizer, FakeTokenizer
from mlxk_testing.fake_format import FakeExtractor

TOOLS = (Tool(name="shout"),)


def run(text, *, stops=(), finish="stop", extractor=None, parallel=True):
    gate = ToolCallFilter(TOOLS, parallel=parallel)
    pipeline = TextPipeline(FakeTokenizer(), extractor or PlainText(), StopStrings(stops), gate)
    tokens = [Sampled(1, ord(c)) for c in text]
    tokens = (
        [*tokens, Sampled(1, END, "stop")] if finish == "stop" else [*tokens[:-1], Sampled(1, ord(text[-1]), "length")]
    )
    events = [event for token in tokens for event in pipeline.feed(token)]
    return pipeline, events


def text_of(events, channel=Channel.CONTENT):
    return "".join(e.text for e in events if isinstance(e, Delta) and e.channel is channel)


def test_the_stop_token_is_counted_and_not_shown():
    pipeline, events = run("abc")
    assert text_of(events) == "abc"
    assert (pipeline.reason, pipeline.completion_tokens) == ("stop", 4)


def test_the_token_limit_is_a_length_finish():
    pipeline, events = run("abc", finish="length")
    assert text_of(events) == "abc"
    assert (pipeline.reason, pipeline.completion_tokens) == ("length", 3)


class SameText(FakeDetokenizer):
    """Each token has the same text."""

    def __init__(self, text):
        self._text = text

    def add(self, token, /):
        return self._text


@pytest.mark.parametrize("text", ["x", " "], ids=["passed on", "held back"])
def test_a_response_ends_when_its_text_is_too_long(text):
    tokenizer = FakeTokenizer()
    tokenizer.detokenizer = lambda: SameText(text * 16_000)
    pipeline = TextPipeline(tokenizer, PlainText(), StopStrings([" " * 9_000_000]), ToolCallFilter((), parallel=True))
    length = sum(len(text_of(pipeline.feed(Sampled(1, 65)))) for _ in range(100))
    assert pipeline.reason == "length"
    assert pipeline.completion_tokens == length // 16_000 < 100


def test_a_response_ends_when_it_has_too_many_parts():
    tokenizer = FakeTokenizer()
    tokenizer.detokenizer = lambda: SameText("(a)b" * 500)
    pipeline = TextPipeline(tokenizer, FakeExtractor(), StopStrings(()), ToolCallFilter((), parallel=True))
    events = [event for _ in range(20) for event in pipeline.feed(Sampled(1, 65))]
    assert pipeline.reason == "length"
    assert len(events) < 7000


def test_usage_ends_with_the_token_that_completed_the_stop_string():
    pipeline, events = run("one END two", stops=["END"])
    assert text_of(events) == "one "
    assert (pipeline.reason, pipeline.stop_string, pipeline.completion_tokens) == ("stop", "END", 7)


def test_stop_strings_act_on_the_answer_and_not_inside_reasoning():
    pipeline, events = run("(a END b)c END d", stops=["END"], extractor=FakeExtractor())
    assert text_of(events, Channel.REASONING) == "a END b"
    assert text_of(events) == "c "
    assert pipeline.reason == "stop"


def test_a_held_back_prefix_is_shown_when_another_channel_follows():
    _, events = run("x E(r)ND", stops=["END"], extractor=FakeExtractor())
    assert text_of(events) == "x END"


def test_reasoning_tokens_count_the_markers():
    pipeline, _ = run("ab(cde)f", extractor=FakeExtractor())
    assert pipeline.reasoning_tokens == len("(cde)")


def test_a_tool_call_is_a_finish_reason_only_when_the_answer_ended_by_itself():
    assert run("a!", extractor=FakeExtractor())[0].reason == "tool_calls"
    assert run("a!b", finish="length", extractor=FakeExtractor())[0].reason == "length"


class Bare(FakeExtractor):
    """Its calls have no arguments."""

    def feed(self, text, /):
        return [replace(e, arguments="") if isinstance(e, ToolCallDelta) else e for e in super().feed(text)]


def test_a_call_without_arguments_is_completed_unless_the_limit_cut_it():
    arguments = {"stop": "{}", "length": ""}
    for finish, expected in arguments.items():
        _, events = run("a!", finish=finish, extractor=Bare())
        assert "".join(e.arguments for e in events if isinstance(e, ToolCallDelta)) == expected


def test_without_parallel_calls_the_answer_ends_where_the_second_one_begins():
    pipeline, events = run("a!b!c", extractor=FakeExtractor(), parallel=False)
    assert text_of(events) == "ab"
    assert [event.index for event in events if isinstance(event, ToolCallDelta)] == [0]
    assert (pipeline.reason, pipeline.completion_tokens) == ("tool_calls", 4)


def test_logprobs_travel_with_the_text_they_belong_to_and_lose_none():
    pipeline = TextPipeline(FakeTokenizer(), PlainText(), StopStrings(["\nUser:"]), ToolCallFilter(TOOLS))
    tokens = [Sampled(1, ord(c), None, -0.5, ((ord(c), -0.5),)) for c in "a\nb"] + [Sampled(1, END, "stop", -0.1)]
    events = [event for token in tokens for event in pipeline.feed(token)]
    entries = [entry for event in events for entry in event.tokens]
    assert b"".join(entry.data for entry in entries) == b"a\nb"
    assert [entry.top[0].text for entry in entries] == ["a", "\n", "b"]


class Holding(PlainText):
    """Holds all text back until the end."""

    held = ""

    def feed(self, text, /):
        self.held += text
        return ()

    def close(self):
        return super().feed(self.held)


def test_logprobs_of_much_text_that_is_held_back_are_passed_on_before_it():
    pipeline = TextPipeline(FakeTokenizer(), Holding(), StopStrings(()), ToolCallFilter(TOOLS))
    top = tuple((ord("a") + i, -1.0) for i in range(20))
    events = [event for _ in range(5000) for event in pipeline.feed(Sampled(1, ord("x"), None, -0.5, top))]
    early = sum(len(event.tokens) for event in events)
    assert text_of(events) == "" and early > 4000
    events += pipeline.finish("length")
    assert text_of(events) == "x" * 5000
    assert sum(len(event.tokens) for event in events) == 5000
    assert max(len(event.tokens) for event in events) < 1000


class HalfEmoji(FakeTokenizer):
    """Says one byte a token, so that a limit can cut a character in two."""

    def detokenizer(self):
        class Bytes:
            held = b""

            def add(self, token, /):
                self.held += bytes([token])
                try:
                    text, self.held = self.held.decode(), b""
                    return text
                except UnicodeDecodeError:
                    return ""

            def finish(self):
                return self.held.decode(errors="replace")

        return Bytes()


@pytest.mark.parametrize("length", range(1, 5))
def test_a_character_cut_by_the_token_limit_is_dropped(length):
    pipeline = TextPipeline(HalfEmoji(), PlainText(), StopStrings([]), ToolCallFilter(TOOLS))
    data = b"a\xf0\x9f\x99\x82"[: length + 1]
    tokens = [Sampled(1, byte) for byte in data[:-1]] + [Sampled(1, data[-1], "length")]
    events = [event for token in tokens for event in pipeline.feed(token)]
    assert text_of(events) == ("a🙂" if length == 4 else "a")


def scored(text, extractor):
    """The tokens of the answer that have logprobs, joined."""
    pipeline = TextPipeline(FakeTokenizer(), extractor, StopStrings([]), ToolCallFilter(TOOLS))
    tokens = [Sampled(1, ord(c), None, -0.5) for c in text] + [Sampled(1, END, "stop", -0.1)]
    deltas = [event for token in tokens for event in pipeline.feed(token)]
    return b"".join(entry.data for delta in deltas if delta.channel is Channel.CONTENT for entry in delta.tokens)


@pytest.mark.parametrize("top", [((7, -1.0),), ((1, -1.0), (7, -2.0))])
def test_a_long_token_has_no_log_probability(top):
    """Twenty alternatives of 700 KB for each token of a prompt would take gigabytes."""

    class LongToken(FakeTokenizer):
        def piece(self, token, /):
            return b"x" * 1025 if token == 7 else super().piece(token)

    pipeline = TextPipeline(LongToken(), PlainText(), StopStrings([]), ToolCallFilter(TOOLS))
    with pytest.raises(WrongResult, match="1,025 characters"):
        pipeline.scored_token(ScoredToken(1, -0.5, 1, top))
    with pytest.raises(WrongResult, match="1,025 characters"):
        pipeline.feed(Sampled(1, 1, None, -0.5, top))


def test_the_logprobs_of_an_answer_leave_out_its_reasoning_and_the_markers():
    assert scored("(ab)cd", FakeExtractor()) == b"cd"


class Stripped(FakeExtractor):
    """Leaves out the white space in front of the answer, as the formats do."""

    begun = False

    def feed(self, text, /):
        for event in super().feed(text):
            if isinstance(event, Delta) and event.channel is Channel.CONTENT and not self.begun:
                self.begun = bool(event.text.strip())
                if not self.begun:
                    continue
            yield event


def test_the_logprobs_of_an_answer_leave_out_white_space_that_the_format_left_out():
    assert scored("(a)\n\nb c", Stripped()) == b"b c"
