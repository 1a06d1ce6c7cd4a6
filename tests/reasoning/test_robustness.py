"""Whatever a model writes: nothing raises, nothing is lost, and no result depends on a cut."""

from __future__ import annotations

import random
import re
import sys

import pytest

from mlxk_core.api import Channel, ExtractorContext, Model
from mlxk_reasoning.blocks import BlockExtractor
from mlxk_reasoning.formats import BLOCK_FORMATS, BlockFormat
from mlxk_reasoning.harmony import MARKERS, HarmonyExtractor
from mlxk_testing.splits import assert_split_invariant, extract

_WORDS = (" ", "\n", "a", "weigh ", "<", "<|", "</", "[", "ü🤔", "Here", "assistant", "x\n\n")
_HEADER_WORDS = ("assistant", "analysis", "commentary", "final", " to=functions.f", " to=python", "json", " ")


def extractors(format):
    """Makes extractors of a block format."""
    return lambda context: BlockExtractor(format, context.prompt_suffix)


def _pieces(format: BlockFormat) -> tuple[str, ...]:
    marks = (*format.openers, *format.closers, *format.frame, *format.frame_end, *format.ends, *format.noise)
    halves = tuple(mark[: len(mark) // 2] for mark in marks)
    return (*marks, *marks, *halves, *((format.label,) if format.label else ()), *_WORDS)


def _texts(pieces: tuple[str, ...], seed: int, count: int = 16) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(pieces, k=draw.randint(1, 14))) for _ in range(count)]


def _bare(text: str, markers: tuple[str, ...]) -> str:
    """`text` without markers and white space, from the longest marker down."""
    words = "|".join(re.escape(marker.strip()) for marker in sorted(markers, key=len, reverse=True) if marker)
    return re.sub(r"\s", "", re.sub(words, "", text))


@pytest.mark.parametrize("format", BLOCK_FORMATS, ids=lambda format: format.name)
def test_a_block_format_keeps_every_word_of_a_wild_response(format: BlockFormat) -> None:
    markers = tuple(piece for piece in _pieces(format) if piece not in _WORDS)
    for text in _texts(_pieces(format), seed=len(format.name)):
        for suffix in ("", format.openers[0], format.openers[0] + format.closers[0]):
            extracted = assert_split_invariant(lambda suffix=suffix: BlockExtractor(format, suffix), text)
            said = "".join(part for _, part in extracted.runs)
            assert _bare(said, markers) == _bare(text, markers)


def test_harmony_keeps_what_is_no_header_of_a_wild_response(tmp_path) -> None:
    model = Model(name="a model", path=tmp_path)
    pieces = (*MARKERS, *MARKERS, *_HEADER_WORDS, *_WORDS)
    for text in _texts(pieces, seed=7, count=60):
        for suffix in ("", "<|start|>assistant", "<|start|>assistant<|channel|>analysis<|message|>"):
            extracted = assert_split_invariant(
                lambda suffix=suffix: HarmonyExtractor(ExtractorContext(model=model, prompt_suffix=suffix)), text
            )
            said = "".join(part for _, part in extracted.runs)
            assert not [marker for marker in MARKERS if marker in said]


@pytest.mark.parametrize("follows", ["", "Hi", "<|channel|>analysis<|message|>Hi"])
@pytest.mark.parametrize("suffix", ["", "<|start|>assistant"])
def test_harmony_holds_little_white_space(suffix, follows, tmp_path) -> None:
    def make():
        return HarmonyExtractor(ExtractorContext(model=Model(name="m", path=tmp_path), prompt_suffix=suffix))

    space = "\n" * 4_200
    assert make().feed(space)
    extracted = assert_split_invariant(make, space + follows)
    assert "".join(part for _, part in extracted.runs).strip() == follows[-2:]


def test_harmony_holds_little_white_space_after_a_role(tmp_path) -> None:
    def make():
        return HarmonyExtractor(ExtractorContext(model=Model(name="m", path=tmp_path)))

    text = "assistant" + " " * 4_200
    assert make().feed(text)
    for follows in ("", "Hi", "<|channel|>analysis<|message|>Hi"):
        extracted = assert_split_invariant(make, text + follows)
        assert "".join(part for _, part in extracted.runs).startswith("assistant ")


def test_harmony_keeps_every_word_of_wild_messages(tmp_path) -> None:
    draw = random.Random(3)
    model = Model(name="a model", path=tmp_path)
    headers = (
        "analysis",
        "final",
        "commentary",
        "commentary 2?",
        "final <|constrain|>json",
        "analysis<|channel|>final",
    )
    for _ in range(60):
        bodies = ["".join(draw.choices(_WORDS, k=draw.randint(0, 6))) for _ in range(draw.randint(1, 4))]
        text = "<|start|>assistant".join(
            f"<|channel|>{draw.choice(headers)}<|message|>{body}{draw.choice(('<|end|>', '<|return|>', ''))}"
            for body in bodies
        )
        extracted = assert_split_invariant(
            lambda: HarmonyExtractor(ExtractorContext(model=model, prompt_suffix="<|start|>assistant")), text
        )
        expected = re.sub(r"\s", "", "".join(bodies))
        assert sorted(re.sub(r"\s", "", extracted.reasoning + extracted.content)) == sorted(expected)


@pytest.mark.parametrize("name", ["harmony", "think"])
def test_the_channel_says_where_text_goes_that_comes_next(name: str, tmp_path) -> None:
    model = Model(name="a model", path=tmp_path)
    think = next(format for format in BLOCK_FORMATS if format.name == "think")
    if name == "harmony":
        text, suffix = (
            "<|channel|>analysis<|message|>ab<|end|><|start|>assistant<|channel|>final<|message|>cd",
            "<|start|>assistant",
        )
        make = HarmonyExtractor
    else:
        text, suffix, make = "<think>ab</think>cd", "", extractors(think)
    for cut in range(len(text)):
        extractor = make(ExtractorContext(model=model, prompt_suffix=suffix))
        for character in text[:cut]:
            extractor.feed(character)
        channel = extractor.channel
        events = list(extractor.feed("X"))
        if channel is not None:
            assert [event.channel for event in events] == [channel]
        assert cut > 0 or channel is (None if name == "harmony" else Channel.CONTENT)


@pytest.mark.parametrize("name", ["harmony", "think", "hunyuan"])
def test_a_long_response_is_read_in_one_pass(name: str, tmp_path) -> None:
    """Ten times the text makes no more than ten times the events, and none is held until the end."""
    model = Model(name="a model", path=tmp_path)
    make = HarmonyExtractor
    if name != "harmony":
        make = extractors(next(f for f in BLOCK_FORMATS if f.name == name))
    opener = "<|channel|>analysis<|message|>" if name == "harmony" else "<think>"
    extractor = make(ExtractorContext(model=model, prompt_suffix="<|start|>assistant" if name == "harmony" else ""))
    extractor.feed(opener)
    seen = ""
    for index in range(5000):
        seen += "".join(event.text for event in extractor.feed(f"<w{index} "))
        assert extractor.channel is Channel.REASONING
    assert seen.rstrip() == "".join(f"<w{index} " for index in range(5000)).rstrip()
    assert extract(make(ExtractorContext(model=model)), [opener + seen * 10]).reasoning == seen * 10


def test_a_header_of_markers_ends(tmp_path) -> None:
    model = Model(name="a model", path=tmp_path)
    text = "<|channel|>" * 20 + "analysis<|message|>a<|end|>"
    extracted = assert_split_invariant(lambda: HarmonyExtractor(ExtractorContext(model=model, prompt_suffix="")), text)
    assert "".join(part for _, part in extracted.runs).endswith("a")
    many = HarmonyExtractor(ExtractorContext(model=model, prompt_suffix=""))
    for _ in range(200):  # megabytes: each marker copied all before it
        for _ in many.feed("<|channel|>" * 1000):
            pass
    assert sys.getsizeof(many._header._text) < 10_000
