"""Stop strings: found at the same place however the text is cut."""

import json
from pathlib import Path

import pytest

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
