"""Detection of answers that repeat themselves."""

import random

import pytest

from mlxk_run.loop_guard import LoopGuard


def ends(text, size=3):
    guard = LoopGuard()
    return any(guard.feed(text[at : at + size]) for at in range(0, len(text), size))


@pytest.mark.parametrize("unit", ["a", "ha ", "The sky is blue.\n", "word " * 100 + "\n"])
@pytest.mark.parametrize("before", ["", "First something else. "])
def test_many_repetitions_of_one_text_are_a_loop(unit, before):
    assert ends(before + unit * 2000)


@pytest.mark.parametrize(
    "text",
    [
        "-" * 800 + "\n",
        "| 0 | 0 |\n" * 60,
        "\n".join(f"{number}. The sky is blue." for number in range(500)),
        " ".join(random.Random(1).choices(["blue", "sky", "is", "the", "why"], k=3000)),
        "def f(x):\n    return x\n\n" * 5 * 8,
    ],
)
def test_ordinary_repetition_is_not(text):
    assert not ends(text)
