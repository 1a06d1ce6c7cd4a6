"""What the kit says of an extractor that breaks its contract."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from mlxk_core.api import Channel, Delta, ToolCallDelta
from mlxk_testing.splits import assert_split_invariant


class _Plain:
    """Right in all that the broken ones here do not change."""

    channel: Channel | None = Channel.CONTENT

    def feed(self, text: str, /) -> Iterable:
        return [Delta(Channel.CONTENT, text)] if text else []

    def close(self) -> Iterable:
        return []


class _Whole(_Plain):
    def feed(self, text: str, /) -> Iterable:
        return [Delta(Channel.REASONING, text)] if text == "ab" else super().feed(text)


class _Silent(_Plain):
    def feed(self, text: str, /) -> Iterable:
        return None  # type: ignore[return-value]


class _Hollow(_Plain):
    def feed(self, text: str, /) -> Iterable:
        return [Delta(Channel.CONTENT, text)]


class _Named(_Plain):
    def feed(self, text: str, /) -> Iterable:
        return [Delta("content", text)] if text else []  # type: ignore[arg-type]


class _Words(_Plain):
    def feed(self, text: str, /) -> Iterable:
        return [text]


class _Raising(_Plain):
    def feed(self, text: str, /) -> Iterable:
        return [Delta(Channel.CONTENT, text)] if text[0] else []


class _Misplaced(_Plain):
    channel = Channel.REASONING


class _Nameless(_Plain):
    def feed(self, text: str, /) -> Iterable:
        return [ToolCallDelta(0, arguments=text)]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (_Whole, "as a whole, but .* character by character"),
        (_Silent, r"feed\('ab'\) returned None"),
        (_Hollow, "an empty delta"),
        (_Named, "the channel of a delta is a Channel"),
        (_Words, "returns Delta and ToolCallDelta, not 'ab'"),
        (_Misplaced, "channel was reasoning, but 'a', fed next, went to .*CONTENT"),
        (_Nameless, "the first delta of a call has an id and a name"),
    ],
)
def test_the_error_of_a_broken_extractor_says_what_is_wrong(broken: type[_Plain], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        assert_split_invariant(broken, "ab")


def test_an_exception_of_an_extractor_is_reported_with_its_input() -> None:
    with pytest.raises(IndexError) as raised:
        assert_split_invariant(_Raising, "ab")
    assert raised.value.__notes__ == ["It came out of feed('')."]


def test_an_extractor_that_keeps_its_contract_is_given_back_joined() -> None:
    extracted = assert_split_invariant(_Plain, "ab")
    assert (extracted.content, extracted.reasoning, extracted.tool_calls) == ("ab", "", ())
