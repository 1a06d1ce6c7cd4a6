"""Stop strings: found at the same place however the text is cut."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxk_core._text.stop_strings import StopStrings

CASES = json.loads((Path(__file__).parent / "stop_cases.json").read_text(encoding="utf-8"))


def cuts(text):
    yield [text]
    yield list(text)
    for at in range(1, len(text)):
        yield [text[:at], text[at:]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_stop_string_ends_the_text_at_the_same_place_in_every_cut(case):
    for cut in cuts(case["raw"]):
        matcher = StopStrings(case["stops"]).matcher()
        shown = "".join(matcher.feed(part) for part in cut)
        if matcher.found is None:
            shown += matcher.flush()
        assert shown == case["text"], cut
        assert matcher.found == case["matched"], cut


def test_text_that_cannot_become_a_stop_string_is_shown_at_once():
    matcher = StopStrings(["\nUser:"]).matcher()
    assert matcher.feed("Hello") == "Hello"
    assert matcher.feed("\nUs") == ""
    assert matcher.feed("ual") == "\nUsual"


def test_nothing_is_shown_after_a_match():
    matcher = StopStrings(["END"]).matcher()
    assert matcher.feed("a END b") == "a "
    assert matcher.feed("c") == ""


def shown_and_found(strings, text):
    """What a search of the whole text gives, character by character."""
    for end in range(1, len(text) + 1):
        complete = [string for string in strings if string and text[:end].endswith(string)]
        if complete:
            found = max(complete, key=len)
            return text[: end - len(found)], found
    return text, None


@given(strings=st.lists(st.text("ab", max_size=6), max_size=4), pieces=st.lists(st.text("abc", max_size=4), max_size=6))
def test_the_first_complete_string_is_found_and_no_more_is_held_back_than_must_be(strings, pieces):
    matcher, text = StopStrings(strings).matcher(), "".join(pieces)
    shown = "".join(map(matcher.feed, pieces))
    if matcher.found is None:
        held = matcher.flush()
        beginnings = [string[:length] for string in strings for length in range(len(string))]
        assert len(held) == max([len(start) for start in beginnings if text.endswith(start)], default=0)
        shown += held
    assert (shown, matcher.found) == shown_and_found(strings, text)
