"""Contract of reasoning formats: one check, whose texts are made from a pair of markers."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from mlxk_core.api.formats import Extractor, ExtractorContext
from mlxk_core.api.generation import Channel, Delta, Tool
from mlxk_core.api.models import Model
from mlxk_testing.splits import Extracted, assert_split_invariant, extract

Factory = Callable[[ExtractorContext], Extractor]

_OTHER = "§"  # a character that continues no marker


@dataclass(frozen=True)
class _Case:
    """A response, and all the ways in which it may be split: (reasoning, content)."""

    name: str
    text: str
    allowed: tuple[tuple[str, str], ...]
    suffix: str = ""


def assert_format(factory: Factory, open: str, close: str, *, label: str = "", anywhere: bool = True) -> None:
    """Assert that a format splits responses as every format must.

    `factory` is the target of its `ReasoningExtractorSpec`. `open` and `close` are its markers, `label` is what a model
    writes right after `open` by itself. Without `anywhere` a block counts only at the beginning of a response.

    The texts contain empty, adjacent, nested, unclosed and repeated blocks, look-alikes of the markers, prompts that
    opened or closed a block, and responses that end at any character. Each is fed whole, character by character, in
    every two pieces and in random pieces. The check covers the text of each channel, that nothing is lost, that
    `channel` says where text goes, and that no more is held back than an unfinished marker. Raises `AssertionError`,
    and the errors of the format itself.
    """
    if min(len(open), len(close)) < 2:
        raise ValueError("a marker has at least two characters")
    check = _FormatCheck(factory, open, close, label=label, anywhere=anywhere)
    for case in check.cases():
        check.split(case)
    check.channel()
    check.held_back()
    check.independence()
    check.events()


class _FormatCheck:
    def __init__(self, factory: Factory, open: str, close: str, *, label: str, anywhere: bool) -> None:
        self._factory = factory
        self._opener = open
        self._open = open + label
        self._close = close
        self._anywhere = anywhere
        self._model = Model(name="a model", path=Path("/nonexistent"))

    def _make(self, suffix: str = "", tools: tuple[Tool, ...] = ()) -> Extractor:
        return self._factory(ExtractorContext(model=self._model, prompt_suffix=suffix, tools=tools))

    def cases(self) -> Iterable[_Case]:
        o, c = self._open, self._close
        yield _Case("no block", "Plain answer.", (("", "Plain answer."),))
        yield _Case("an empty response", "", (("", ""),))
        yield _Case("a block, then the answer", f"{o}plan{c}answer", (("plan", "answer"),))
        yield _Case("a block alone", f"{o}plan{c}", (("plan", ""),))
        yield _Case("an empty block", f"{o}{c}answer", (("", "answer"),))
        yield _Case("a block that is not closed", f"{o}plan", (("plan", ""),))
        yield _Case("text of several scripts", f"{o}考える🤔 – ü{c}答え: 42✅", (("考える🤔 – ü", "答え: 42✅"),))
        yield _Case("line breaks inside", f"{o}a\n\nb{c}c\n\nd", (("a\n\nb", "c\n\nd"),))
        yield _Case("the opener inside a block", f"{o}plan {o} more{c}answer", ((f"plan {o} more", "answer"),))
        stray = f"answer {c} more"
        yield _Case("a closer without a block", stray, (("", stray), ("", "answer  more"), ("", "answer more")))
        if self._anywhere:
            yield _Case("a block in the answer", f"one{o}plan{c}two", (("plan", "onetwo"),))
            yield _Case("two blocks", f"{o}plan{c}one{o}more{c}two", (("planmore", "onetwo"),))
            yield _Case("adjacent blocks", f"{o}plan{c}{o}more{c}two", (("planmore", "two"),))
            yield _Case("adjacent empty blocks", f"{o}{c}{o}{c}two", (("", "two"),))
        yield from self._white_space()
        yield from self._look_alikes()
        yield from self._truncated()
        yield from self._prompts()

    def _white_space(self) -> Iterable[_Case]:
        o, c = self._open, self._close
        reasonings, answers = ("plan", "\nplan\n", "\nplan", "plan\n"), ("answer", "\n\nanswer")
        allowed = tuple(itertools.product(reasonings, answers))
        yield _Case("markers on lines of their own", f"{o}\nplan\n{c}\n\nanswer", allowed)
        yield _Case("white space in the answer", "a  b\n\n c", (("", "a  b\n\n c"),))
        yield _Case("white space in the reasoning", f"{o}a  b\n\n c{c}x", (("a  b\n\n c", "x"),))

    def _look_alikes(self) -> Iterable[_Case]:
        o, c = self._open, self._close
        for marker in (self._opener, c):
            for length in range(1, len(marker)):
                text = f"x{marker[:length]}{_OTHER}y"
                yield _Case("a beginning of a marker that goes on differently", text, (("", text),))
                yield _Case("the same in a block", f"{o}{text}{c}z", ((text, "z"),))
        for upper in {o.swapcase(), c.swapcase()} - {o, c}:
            yield _Case("a marker in other letters", f"x{upper}y", (("", f"x{upper}y"),))
        for length in range(1, len(c)):
            begun = c[:length]
            if not _overlaps(begun, c) and not begun[-1].isspace():
                yield _Case("a broken-off closer before the closer", f"{o}a{begun}{c}b", ((f"a{begun}", "b"),))
        if self._anywhere:
            for length in range(1, len(self._opener)):
                begun = o[:length]
                if not _overlaps(begun, o) and not begun[-1].isspace():
                    yield _Case("a broken-off opener before the opener", f"a{begun}{o}b{c}c", (("b", f"a{begun}c"),))

    def _truncated(self) -> Iterable[_Case]:
        o, c = self._open, self._close
        for length in range(1, len(self._opener)):
            # Half a special token need not be shown; half a word of plain text must be.
            cut = o[:length]
            allowed = (("", cut),) if length == 1 else (("", cut), ("", ""))
            yield _Case("a response that ends in the opener", cut, allowed)
        for length in range(1, len(c)):
            cut = c[:length]
            kept, dropped = (f"plan{cut}", ""), ("plan", "")
            yield _Case(
                "a response that ends in the closer", f"{o}plan{cut}", (kept,) if length == 1 else (kept, dropped)
            )
        for length in range(1, len("answer")):
            cut = "answer"[:length]
            yield _Case("a response that ends in the answer", f"{o}plan{c}{cut}", (("plan", cut),))

    def _prompts(self) -> Iterable[_Case]:
        o, c = self._open, self._close
        for lead in ("", "<|assistant|>\n"):
            yield _Case("a prompt that opened the block", f"plan{c}answer", (("plan", "answer"),), f"{lead}{o}")
            opened = f"{lead}{o}\n"
            yield _Case("a prompt that opened the block on a line", f"plan{c}answer", (("plan", "answer"),), opened)
            yield _Case("a prompt that began the reasoning", f"plan{c}answer", (("plan", "answer"),), f"{lead}{o}First")
            closed = f"{lead}{o}\n\n{c}\n\n"
            yield _Case("a prompt that closed the block", "answer", (("", "answer"),), closed)
            if self._anywhere:
                text = f"{o}plan{c}answer"
                yield _Case("a block after a prompt that closed one", text, (("plan", "answer"),), closed)
        yield _Case("a prompt without markers", f"{o}plan{c}answer", (("plan", "answer"),), "<|assistant|>\n")

    def split(self, case: _Case) -> None:
        whole = assert_split_invariant(lambda: self._make(case.suffix), case.text)
        self._same_in_random_pieces(case, whole)
        found = (whole.reasoning, whole.content)
        assert found in case.allowed, (
            f"{case.name}: {case.text!r} after the prompt {case.suffix!r} gives (reasoning, content) {found}, "
            f"not {case.allowed[0]}"
        )
        if "\n" not in case.text:
            order = [text for _, text in whole.runs]
            assert _is_subsequence("".join(order), case.text), f"{case.name}: {case.text!r} comes out as {order}"
        assert not whole.tool_calls, f"{case.name}: a tool call out of {case.text!r}"
        offered = extract(self._make(case.suffix, (Tool(name="f"),)), [case.text])
        assert (offered.reasoning, offered.content) == found, f"{case.name}: offered tools change {found} to {offered}"

    def _same_in_random_pieces(self, case: _Case, whole: Extracted) -> None:
        cuts = random.Random(case.text)
        for _ in range(8):
            places = sorted(cuts.randrange(len(case.text) + 1) for _ in range(cuts.randrange(1, 6)))
            pieces = [case.text[a:b] for a, b in zip([0, *places], [*places, None], strict=True)]
            found = extract(self._make(case.suffix), pieces)  # some of the pieces are empty
            assert found == whole, f"{case.name}: {whole} as a whole, but {found} as {pieces}"

    def channel(self) -> None:
        """Check that `channel` is known wherever no marker is unfinished."""
        extractor = self._make()
        steps = [("abc", Channel.CONTENT), (self._open, Channel.REASONING), ("abc", Channel.REASONING)]
        if not self._anywhere:
            del steps[0]
        for text, expected in [*steps, (self._close, Channel.CONTENT), ("abc", Channel.CONTENT)]:
            for character in text:
                list(extractor.feed(character))
            # A marker may be followed by a label or white space that belongs to it.
            allowed = {expected, None} if text in (self._open, self._close) else {expected}
            assert extractor.channel in allowed, f"channel is {extractor.channel} after {text!r}, not {expected}"

        for before, marker in (("", self._opener), (self._open, self._close)):
            extractor = self._make()
            list(extractor.feed(before))
            for position, character in enumerate(marker[:-1], start=1):
                list(extractor.feed(character))
                assert extractor.channel is None, (
                    f"channel is {extractor.channel} after {before + marker[:position]!r}; it is not known there"
                )

    def held_back(self) -> None:
        """Check that no more than an unfinished marker is held back, in both channels."""
        longest = max(len(self._open), len(self._close))
        for before, channel in (("", Channel.CONTENT), (self._open, Channel.REASONING)):
            extractor = self._make()
            list(extractor.feed(before))
            fed = shown = 0
            text = f"word{self._opener[:-1]}{_OTHER}word{self._close[:-1]}{_OTHER}" * 3
            for character in text:
                fed += 1
                shown += sum(len(event.text) for event in extractor.feed(character) if isinstance(event, Delta))
                assert fed - shown < longest, (
                    f"{fed - shown} characters of {channel.value} are held back after {text[:fed]!r}; "
                    f"the longest unfinished marker has {longest - 1}"
                )
            assert fed == shown, f"{fed - shown} characters of {channel.value} are held back without a marker"

    def independence(self) -> None:
        """Check that responses do not influence each other."""
        text = f"{self._open}plan{self._close}answer"
        alone = extract(self._make(), [text])
        first, second = self._make(), self._make()
        list(first.feed(f"{self._open}plan{self._close[:-1]}"))
        other = extract(second, ["Plain answer."])
        events = [*first.feed(f"{self._close[-1]}answer"), *first.close()]
        rest = "".join(event.text for event in events if isinstance(event, Delta) and event.channel is Channel.CONTENT)
        assert (other.reasoning, other.content) == ("", "Plain answer."), f"an open response changes another: {other}"
        assert rest == alone.content, f"another response changes an open one: {rest!r}"

    def events(self) -> None:
        """Check random sequences of markers, their parts and other text."""
        noise = random.Random(0)
        parts = [self._open, self._close, self._open[:-1], self._close[:1], " ", "\n", "x", "🙂", "\0", "\ud800"]
        for _ in range(60):
            text = "".join(noise.choice(parts) for _ in range(noise.randrange(1, 8)))
            assert_split_invariant(self._make, text)


def _overlaps(begun: str, marker: str) -> bool:
    """Whether `begun + marker` contains the marker earlier than at its end."""
    return (begun + marker).find(marker) != len(begun)


def _is_subsequence(part: str, whole: str) -> bool:
    rest = iter(whole)
    return all(character in rest for character in part)
