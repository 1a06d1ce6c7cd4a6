"""The text kit: what comes out does not depend on how the text was cut, and nothing but what is meant to go is lost."""

from __future__ import annotations

import itertools
import re
from datetime import timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxk_core.api.text import EdgeTrimmer, Markers, MarkerScanner, human_size, markers, moment_of, plural

_LETTERS = "ab<>"
_WORDS = st.lists(st.text(_LETTERS, min_size=1, max_size=5), min_size=1, max_size=4)
_PIECES = st.lists(st.text(_LETTERS, max_size=6), max_size=8)


def leftmost_longest(text, words):
    """What a whole text is cut into, by the plainest means."""
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return [part for part in re.split(f"({pattern})", text) if part]


def joined(pieces):
    """Pieces with neighbouring text put together."""
    out = []
    for piece in pieces:
        if out and not piece.is_marker and not out[-1][1]:
            out[-1] = (out[-1][0] + piece.text, False)
        else:
            out.append(tuple(piece))
    return out


@settings(deadline=None, max_examples=300)
@given(_WORDS, _PIECES)
def test_a_scanner_finds_the_same_markers_in_every_cut_and_loses_nothing(words, pieces):
    scanner = MarkerScanner(*words)
    found = []
    for piece in pieces:
        found += scanner.feed(piece)
        assert len(scanner.held) < max(map(len, words)), "no more than an unfinished marker is held back"
        assert any(word.startswith(scanner.held) for word in words)
    found += scanner.close()
    text = "".join(pieces)
    assert "".join(piece.text for piece in found) == text
    assert [part for part, _ in joined(found)] == leftmost_longest(text, words)
    assert all(is_marker == (part in words) for part, is_marker in joined(found) if is_marker)


def test_the_markers_that_count_may_change_with_each_one_found():
    scanner = MarkerScanner("<a>")
    seen = []
    for piece in scanner.feed("<b><a><a><b>"):
        seen.append(piece.text)
        if piece.text == "<a>":
            scanner.markers = markers("<b>")
    assert seen == ["<b>", "<a>", "<a>", "<b>"]
    assert [piece.is_marker for piece in scanner.feed("<a><b>")] == [False, True]


def test_a_marker_that_may_grow_is_waited_for():
    assert Markers(["<a", "<ab"]).search("x<a").marker is None
    assert Markers(["<a", "<ab"]).search("x<a", final=True).marker == "<a"
    assert Markers(["<a", "<ab"]).search("x<ac").marker == "<a"


@pytest.mark.parametrize("length", [60, 61, 3000])
def test_a_long_marker_is_found_too(length):
    word = "<" + "x" * (length - 2) + ">"
    scanner = MarkerScanner(word)
    assert list(scanner.feed(word[:-1])) == []
    assert [piece.is_marker for piece in scanner.feed(">y")] == [True, False]


def test_without_markers_all_is_text():
    assert [tuple(piece) for piece in MarkerScanner().feed("abc")] == [("abc", False)]


# Edges: a text is a list of stretches, and a removed span lies between each two.

_STRETCHES = st.lists(st.text(" \nab", max_size=6), min_size=1, max_size=6)


def trimmed(stretches, cut, *, hold=True):
    """The text that comes out where `cut` says how each stretch arrives."""
    trimmer = EdgeTrimmer()
    out = []
    for index, stretch in enumerate(stretches):
        if index:
            trimmer.remove()
        out += [trimmer.write(part, hold=hold) for part in cut(stretch)]
    return "".join([*out, trimmer.close()])


@settings(deadline=None, max_examples=300)
@given(_STRETCHES)
def test_edges_are_the_same_in_every_cut(stretches):
    whole = trimmed(stretches, lambda text: [text])
    assert trimmed(stretches, list) == whole
    assert re.sub(r"\s", "", whole) == re.sub(r"\s", "", "".join(stretches)), "only white space is dropped"


@settings(deadline=None, max_examples=300)
@given(_STRETCHES)
def test_white_space_around_a_removed_span_is_dropped_at_the_ends_and_kept_once_between(stretches):
    whole = trimmed(stretches, lambda text: [text])
    inked = [index for index, stretch in enumerate(stretches) if stretch.strip()]
    if len(stretches) > 1 and inked:
        if inked[0] > 0:
            assert whole == whole.lstrip()
        if inked[-1] < len(stretches) - 1:
            assert whole == whole.rstrip()
    if len(stretches) == 1:
        assert whole == stretches[0]
    for left, right in itertools.pairwise(stretches):
        if left.strip() and right.strip():
            between = left[len(left.rstrip()) :] or right[: len(right) - len(right.lstrip())]
            assert left.rstrip()[-1] + between + right.lstrip()[0] in whole


@settings(deadline=None, max_examples=200)
@given(st.text(" \nab", max_size=12))
def test_without_holding_only_leading_white_space_waits(text):
    trimmer = EdgeTrimmer()
    out = ""
    for character in text:
        out += trimmer.write(character, hold=False)
        assert out == ("" if text[: len(out)].isspace() else out)
        if out:
            assert trimmer.held == ""
    assert out + trimmer.close() == text


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ("a", "b", "a\nb"),
        ("a\n", "b", "a\nb"),
        ("a ", "b", "a b"),
        ("", "b", "b"),
        ("a", "", "a"),
        ("a", "\nb", "a\n\nb"),
    ],
)
def test_stretches_are_separated_unless_white_space_does_it(first, second, text):
    trimmer = EdgeTrimmer()
    out = trimmer.write(first)
    trimmer.separate("\n")
    assert out + trimmer.write(second) + trimmer.close() == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_sizes_are_decimal(count, text):
    assert human_size(count) == text


def test_counts_have_their_nouns():
    assert (plural(1, "model"), plural(0, "model"), plural(2, "entry", "entries")) == (
        "1 model",
        "0 models",
        "2 entries",
    )


@given(st.floats() | st.integers(-(10**13), 10**13), st.integers(-14, 14))
def test_every_number_is_a_moment_in_every_time_zone_or_none(seconds, hours):
    moment = moment_of(seconds)
    assert moment is None or moment.astimezone(timezone(timedelta(hours=hours))) == moment
    assert moment is not None or not -(10**10) < seconds < 10**10
