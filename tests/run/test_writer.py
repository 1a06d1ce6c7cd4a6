"""How an answer looks: the same however its text was cut."""

import pytest

from mlxk_core._generation.events import Channel
from mlxk_run.writer import TextWriter

R, C = Channel.REASONING, Channel.CONTENT


def shown(parts, **options):
    out = []
    writer = TextWriter(out.append, **options)
    for channel, text in parts:
        writer.add(channel, text)
    writer.finish()
    return "".join(out)


def letters(parts):
    return [(channel, character) for channel, text in parts for character in text]


CASES = {
    "plain": ([(C, "Hello.")], "Hello.\n"),
    "plain keeps its leading white space": ([(C, "\n    return 1\n")], "\n    return 1\n"),
    "both": (
        [(R, "\nLet me see.\n"), (C, "\n\nIt is 4.")],
        "**[Reasoning]**\n\nLet me see.\n\n---\n\n**[Answer]**\n\nIt is 4.\n",
    ),
    "blank reasoning is no reasoning": ([(R, "\n\n"), (C, "It is 4.")], "It is 4.\n"),
    "reasoning only": ([(R, "Hm.\n\n")], "**[Reasoning]**\n\nHm.\n"),
    "white space before the reasoning": (
        [(C, "\n"), (R, "Hm."), (C, " A")],
        "**[Reasoning]**\n\nHm.\n\n---\n\n**[Answer]**\n\nA\n",
    ),
    "reasoning again": (
        [(R, "a"), (C, "b"), (R, "c"), (C, "d")],
        "**[Reasoning]**\n\na\n\n---\n\n**[Answer]**\n\nb\n\n**[Reasoning]**\n\nc\n\n---\n\n**[Answer]**\n\nd\n",
    ),
    "paragraphs inside": (
        [(R, "a\n\nb"), (C, "c\n\nd\n")],
        "**[Reasoning]**\n\na\n\nb\n\n---\n\n**[Answer]**\n\nc\n\nd\n",
    ),
    "nothing": ([], ""),
}


@pytest.mark.parametrize("name", CASES)
def test_it_looks_the_same_in_one_piece_and_letter_by_letter(name):
    parts, expected = CASES[name]
    assert shown(parts) == expected
    assert shown(letters(parts)) == expected


def test_hidden_reasoning_leaves_the_answer_only():
    parts = [(R, "Let me see."), (C, "\n\nIt is 4.")]
    assert shown(parts, hide_reasoning=True) == shown(letters(parts), hide_reasoning=True) == "It is 4.\n"
