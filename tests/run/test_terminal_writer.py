"""Answers on a terminal, as a screen shows them."""

import os
import re
import time

import pytest

from mlxk_core.api.generation import Channel
from mlxk_run.live_lines import LiveLines
from mlxk_run.terminal_writer import TerminalWriter, wrap

R, C = Channel.REASONING, Channel.CONTENT
_CODE = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[[\d;]*m")


class Screen:
    """As much of a terminal as the writer uses: lines, colours left out."""

    def __init__(self):
        self.lines, self.row, self.column = [""], 0, 0
        self.sent = ""

    def write(self, text):
        self.sent += text
        position = 0
        while position < len(text):
            if code := _CODE.match(text, position):
                position = code.end()
                if code[2] == "A":
                    self.row -= int(code[1] or 1)
                    assert self.row >= 0
                elif code[2] == "J":
                    self.lines[self.row] = self.lines[self.row][: self.column]
                    del self.lines[self.row + 1 :]
                continue
            character = text[position]
            position += 1
            if character == "\n":
                self.row, self.column = self.row + 1, 0
                if self.row == len(self.lines):
                    self.lines.append("")
            elif character == "\r":
                self.column = 0
            else:
                line = self.lines[self.row]
                self.lines[self.row] = line[: self.column].ljust(self.column) + character + line[self.column + 1 :]
                self.column += 1

    @property
    def text(self):
        return "\n".join(line.rstrip() for line in self.lines)


@pytest.fixture(autouse=True)
def columns(monkeypatch):
    def set_columns(number, rows=24):
        monkeypatch.setenv("COLUMNS", str(number))
        monkeypatch.setenv("LINES", str(rows))

    set_columns(40)
    return set_columns


def shown(parts, **options):
    screen = Screen()
    writer = TerminalWriter(screen.write, **options)
    for channel, text in parts:
        writer.add(channel, text)
    writer.finish()
    return screen


def letters(parts):
    return [(channel, character) for channel, text in parts for character in text]


LONG = "The quick brown fox jumps over the lazy dog and then sleeps for a while under a tree."


@pytest.mark.parametrize("options", [{}, {"markdown": False}, {"ansi": False}])
@pytest.mark.parametrize("width", [20, 60, 80, 140])
def test_words_are_wrapped_and_never_cut(columns, options, width):
    columns(width)
    text = shown(letters([(C, LONG)]), **options).text
    assert " ".join(text.split()) == LONG
    assert all(len(line) < width for line in text.splitlines())


MARKDOWN = """# Title

Some **bold** text with `code` and <b>html</b>
and a second line.

- one
- two

```python
def f(x):

    return x
```

| a | b |
|---|---|
| 1 | 2 |

The formula \\(x^2\\) ends it."""


def test_markdown_looks_the_same_in_one_piece_and_letter_by_letter():
    screen = shown([(C, MARKDOWN)])
    assert shown(letters([(C, MARKDOWN)])).text == screen.text
    for part in (
        "Title\n",
        "Some bold text with code and\n<b>html</b>\nand a second",
        " • one",
        "    return x",
        r"\(x^2\)",
    ):
        assert part in screen.text
    assert "**" not in screen.text and "```" not in screen.text and "\x1b[" in screen.sent


def test_plain_text_is_not_rendered():
    assert "**bold**" in shown([(C, MARKDOWN)], markdown=False).text


def test_a_block_that_is_longer_than_the_screen_stays_whole(columns):
    columns(40, rows=6)
    text = "\n".join(f"{number}. item {number}" for number in range(1, 40))
    lines = shown(letters([(C, text)])).text.split("\n")
    assert [line.split()[-1] for line in lines if line.strip()] == [str(number) for number in range(1, 40)]


@pytest.mark.parametrize("rows", [6, 24])
@pytest.mark.parametrize("options", [{}, {"markdown": False}, {"ansi": False}])
def test_nothing_is_lost_or_repeated_when_the_window_is_resized(columns, monkeypatch, options, rows):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)  # when it draws must not depend on the machine
    text = f"{LONG} Some **bold** words. {LONG} {LONG}\n\n- {LONG}\n- {LONG} {LONG}\n\nThe end."
    screen = Screen()
    writer = TerminalWriter(screen.write, **options)
    columns(40, rows)
    for index, letter in enumerate(text):
        if index % 150 == 120:
            columns((24, 90, 30)[index // 150 % 3], rows)
            now += 0.05  # rendered at the old width, then at the new one
        writer.add(C, letter)
    writer.finish()
    plain = text if options else text.replace("**", "").replace("-", "•")
    assert "".join(screen.text.split()) == "".join(plain.split())


@pytest.mark.parametrize("options", [{}, {"markdown": False}, {"ansi": False}])
def test_reasoning_is_under_a_heading_and_can_be_hidden(options):
    parts = [(R, "\nLet me see.\n"), (C, "\n\nIt is 4.\n")]
    for cut in (parts, letters(parts)):
        assert shown(cut, **options).text == "Thinking\nLet me see.\n\nIt is 4.\n"
        assert shown(cut, hide_reasoning=True, **options).text == "It is 4.\n"
    assert ("\x1b[2m" in shown(parts, **options).sent) is options.get("ansi", True)


@pytest.mark.parametrize("options", [{}, {"markdown": False}, {"ansi": False}])
def test_control_characters_are_shown_and_not_sent(options):
    sent = shown([(C, "a\x1b]52;c;aGk=\x07b\x9b2J")], **options).sent
    assert "\x1b]" not in sent and "\x07" not in sent and "\x9b" not in sent and "␛]52;c;aGk=␇b" in sent


def test_wide_characters_take_two_columns():
    assert wrap("漢字 漢字 漢字", 9) == ["漢字 漢字", "漢字"]
    assert wrap("漢字漢字", 5) == ["漢字", "漢字"]


def test_indentation_is_kept_and_a_long_word_is_broken():
    assert wrap("    return value", 10) == ["    return", "value"]
    assert wrap("abcdefghij", 4) == ["abcd", "efgh", "ij"]


def test_a_line_of_thousands_of_words_is_wrapped_as_it_grows():
    """Wrapping all of it for each token took minutes."""
    for piece in ("思考", "thought "):
        screen = shown([(R, piece)] * 4000)
        assert screen.text == "\n".join(["Thinking", *wrap((piece * 4000).rstrip(), 39), ""])


def test_lines_that_become_fewer_leave_no_empty_line():
    screen = Screen()
    live = LiveLines(screen.write, lambda: os.terminal_size((40, 24)))
    for lines in (["code", "``"], ["code"], ["code", "a", "b"], ["code", "a"], ["cod"]):
        live.update(lines)
        assert screen.text == "\n".join(lines).ljust(len(screen.text)).rstrip()
        assert screen.row == len(lines) - 1
    live.commit()
    assert screen.text == "cod\n"
