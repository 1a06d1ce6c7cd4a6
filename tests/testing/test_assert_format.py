"""`assert_format` accepts right formats, and finds each of many faults planted in a copy of one."""

from __future__ import annotations

import pytest

from mlxk_testing import assert_format

OPENER, CLOSER = "<think>", "</think>"

_SOURCE = """
from mlxk_core.api.generation import Channel, Delta

OPENER, CLOSER = "<think>", "</think>"


class Copy:
    def __init__(self, context):
        suffix = context.prompt_suffix
        self.inside = suffix.rfind(OPENER) > suffix.rfind(CLOSER)
        self.held = ""

    @property
    def now(self):
        return Channel.REASONING if self.inside else Channel.CONTENT

    @property
    def channel(self):
        return None if self.held else self.now

    def feed(self, text, /):
        text = self.held + text
        deltas = []
        while (marker := CLOSER if self.inside else OPENER) in text:
            before, _, text = text.partition(marker)
            deltas.append(Delta(self.now, before))
            self.inside = not self.inside
        begun = max(n for n in range(len(marker)) if text.endswith(marker[:n]))
        ready, self.held = text[: len(text) - begun], text[len(text) - begun :]
        deltas.append(Delta(self.now, ready))
        return [delta for delta in deltas if delta.text]

    def close(self):
        return [Delta(self.now, self.held)] if self.held else []

    def plain(self, text, /):
        return [Delta(Channel.CONTENT, text)] if text else []
"""

_BEGUN = "begun = max(n for n in range(len(marker)) if text.endswith(marker[:n]))"
_BEFORE = "deltas.append(Delta(self.now, before))"
_TOGGLE = "self.inside = not self.inside"
_JOIN = "text = self.held + text"
_SUFFIX = "self.inside = suffix.rfind(OPENER) > suffix.rfind(CLOSER)"
_CLOSE = "return [Delta(self.now, self.held)] if self.held else []"
_CHANNEL = "return None if self.held else self.now"
_RETURN = "return [delta for delta in deltas if delta.text]"
_LOOP = "while (marker := CLOSER if self.inside else OPENER) in text:"

# A fault: what is replaced in the copy, and by what.
_FAULTS = {
    "an unfinished marker is not held back": (_BEGUN, "begun = 0"),
    "one character of a marker is held back at most": (_BEGUN, f"{_BEGUN} and text.endswith(marker[:1])"),
    "all text is held back": (_BEGUN, "begun = len(text)"),
    "some characters more are held back": (_BEGUN, "begun = min(len(text), 12)"),
    "a word is held back": (_BEGUN, "begun = len(text) - len(text.rpartition(' ')[0])"),
    "what is held back is lost": (_CLOSE, "return []"),
    "what is held back becomes content": (_CLOSE, "return [Delta(Channel.CONTENT, self.held)] if self.held else []"),
    "a marker that the response is cut in is kept as a whole": (
        _CLOSE,
        "return [Delta(self.now, OPENER)] if self.held else []",
    ),
    "deltas are empty": (_RETURN, "return deltas"),
    "None is returned for no deltas": (_RETURN, f"{_RETURN} or None"),
    "the last delta of several is lost": (_RETURN, f"{_RETURN}[:2]"),
    "the opener is passed on": (_BEFORE, "deltas.append(Delta(self.now, before + ('' if self.inside else marker)))"),
    "the closer is passed on": (_BEFORE, "deltas.append(Delta(self.now, before + (marker if self.inside else '')))"),
    "a character before a marker is lost": (_BEFORE, "deltas.append(Delta(self.now, before[:-1]))"),
    "text before a marker is on the wrong channel": (
        f"{_BEFORE}\n            {_TOGGLE}",
        f"{_TOGGLE}\n            {_BEFORE}",
    ),
    "only the first block counts": (
        _TOGGLE,
        "self.inside = not self.inside and not hasattr(self, 'done')\n            self.done = 1",
    ),
    "a block is never closed": (_TOGGLE, "self.inside = True"),
    "an opener in a block is dropped": (_LOOP, f"if self.inside: text = text.replace(OPENER, '')\n        {_LOOP}"),
    "an opener in a block closes it": (
        _LOOP,
        "while (marker := OPENER if OPENER in text else CLOSER if self.inside else OPENER) in text:",
    ),
    "the prompt is ignored": (_SUFFIX, "self.inside = False"),
    "a block that the prompt closed is open": (_SUFFIX, "self.inside = OPENER in suffix"),
    "only a prompt that ends in the opener counts": (_SUFFIX, "self.inside = suffix.endswith(OPENER)"),
    "a prompt that closed a block switches the format off": (
        _SUFFIX,
        f"{_SUFFIX}\n        if CLOSER in suffix: self.feed = self.plain",
    ),
    "the channel is always content": (_CHANNEL, "return Channel.CONTENT"),
    "the channel is never known": (_CHANNEL, "return None"),
    "the channel is known in an unfinished marker": (_CHANNEL, "return self.now"),
    "responses share their state": ("self.held", "Copy.held"),
    "each piece is stripped": ("Delta(self.now, ready)", "Delta(self.now, ready.strip())"),
    "line breaks are lost": (_JOIN, f"{_JOIN}\n        text = text.replace('\\n\\n', '\\n')"),
    "markers are found in other letters": (_JOIN, f"{_JOIN}\n        text = text.replace('<THINK>', OPENER)"),
    "a closer without a block raises": (_JOIN, f"{_JOIN}\n        assert self.inside or not text.startswith(CLOSER)"),
    "an empty piece raises": (_JOIN, f"text[0]\n        {_JOIN}"),
    "half a character raises": (_JOIN, f"text.encode()\n        {_JOIN}"),
    "a broken-off marker hides the next one": (
        _JOIN,
        f"{_JOIN}\n        text = text.replace('<' + OPENER, '<' + OPENER[1:])",
    ),
    "text is emitted that nobody wrote": (_CLOSE, f"{_CLOSE[:-8]} else [Delta(self.now, '.')]"),
    "offered tools change the text": (_SUFFIX, f"{_SUFFIX} or bool(context.tools)"),
    "a call is made up": (
        _CLOSE,
        "from mlxk_core.api.generation import ToolCallDelta\n        return [ToolCallDelta(0, 'id', 'f', '')]",
    ),
}


def planted(fault=None):
    source = _SOURCE
    if fault is not None:
        old, new = _FAULTS[fault]
        assert old in source
        source = source.replace(old, new)
    module = {}
    exec(source, module)
    return module["Copy"]


def test_a_right_format_passes():
    assert_format(planted(), OPENER, CLOSER)


@pytest.mark.parametrize("fault", _FAULTS)
def test_a_planted_fault_is_found(fault):
    with pytest.raises((AssertionError, IndexError, UnicodeEncodeError)):
        assert_format(planted(fault), OPENER, CLOSER)


def test_a_format_of_one_character_passes():
    """Short markers have no beginnings that could be held back."""
    from mlxk_testing.fake_format import FakeExtractor

    with pytest.raises(ValueError, match="two characters"):
        assert_format(FakeExtractor, "(", ")")
