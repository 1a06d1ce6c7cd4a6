"""What a person sees: a chat on a terminal of 60, 80 and 140 columns, drawn by a terminal emulator."""

import os
import re
import sys
import time

import pexpect
import pyte
import pytest

from mlxk_testing.tiny_models import scripted_model

TEXT = (
    "A paragraph with **bold** words, `code`, and a rather long sentence that certainly does not fit into one line of "
    "a narrow terminal window.\n\n- first item that is long enough to be wrapped at sixty columns for sure\n\n"
    "```python\nprint(1)\n```\n\nThe end."
)
WORDS = TEXT.replace("**", "").replace("`code`", "code").replace("```python", "").replace("```", "").replace("- ", "")
GRACE = 180  # seconds after which a test is stuck; never a measure of speed


class Screen:
    """A process at a terminal of `columns`, and what the terminal shows."""

    def __init__(self, columns, *args):
        self._screen = pyte.Screen(columns, 60)
        self._stream = pyte.ByteStream(self._screen)
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "mlxk_core", *args],
            dimensions=(60, columns),
            timeout=GRACE,
            env={**os.environ, "TERM": "xterm-256color"},
        )

    def wait(self, text):
        end = time.monotonic() + GRACE
        while text not in self.text:
            assert time.monotonic() < end, self.text
            try:
                self._stream.feed(self.child.read_nonblocking(65536, timeout=1))
            except pexpect.TIMEOUT:
                continue

    @property
    def text(self):
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_answers_wrap_at_words_and_are_rendered(tmp_path, columns):
    scripted_model(tmp_path / "writer", TEXT)
    screen = Screen(columns, "run", str(tmp_path / "writer"))
    try:
        screen.wait("You:")
        screen.child.send("Go on\r")
        screen.wait("The end.")
        answer = screen.text.partition("Go on\n")[2].partition("The end.")[0]
        assert "**" not in answer and "```" not in answer
        words = answer.replace("•", "").split()
        assert words == WORDS.partition("The end.")[0].split()  # no word is cut, and none is missing
    finally:
        screen.child.close(force=True)


def test_no_color_means_no_color_at_the_prompt_either(tmp_path):
    scripted_model(tmp_path / "writer", TEXT)
    child = pexpect.spawn(
        sys.executable,
        ["-m", "mlxk_core", "run", str(tmp_path / "writer")],
        timeout=GRACE,
        env={**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1"},
    )
    child.expect("You:")
    child.send("Go on\r")
    child.expect(r"The end\.")
    shown = child.before
    child.expect("You:")
    shown += child.before
    child.sendeof()
    child.expect(pexpect.EOF)
    assert not re.search(rb"\x1b\[(?:[0-9]+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]", shown + child.before)
