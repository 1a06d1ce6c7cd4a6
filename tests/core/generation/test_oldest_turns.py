"""Which turns are dropped of a conversation that does not fit, and how often it is rendered for that."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mlxk_core._errors import ContextLengthExceeded
from mlxk_core._generation.oldest_turns import fitted
from mlxk_core._generation.request import GenerationRequest, Message
from mlxk_core._models.model import Model

WINDOW, ANSWER = 4000, 1000


@dataclass
class Prompt:
    tokens: range
    messages: tuple[Message, ...]


def fit(texts: list[str], refused: int = WINDOW) -> tuple[Prompt, int]:
    """The prompt, and how often one was rendered. A letter is a token, a space is none; above `refused` there is no
    prompt."""
    renderings = 0

    def render(request: GenerationRequest) -> Prompt:
        nonlocal renderings
        renderings += 1
        tokens = sum(len(message.content.replace(" ", "")) for message in request.messages)
        if tokens > refused:
            raise ContextLengthExceeded(refused + 1, WINDOW, at_least=True)
        return Prompt(range(tokens), tuple(request.messages))

    messages = [Message(role="system", content="s"), *(Message(role="user", content=text) for text in texts)]
    request = GenerationRequest(model=Model(name="m", path=Path()), prompt=messages, max_tokens=ANSWER)
    return fitted(request, WINDOW, render), renderings


@given(st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 1500)), min_size=1, max_size=60), st.booleans())
def test_as_few_turns_are_dropped_as_possible(sizes, refuses):
    texts = ["x" * letters + " " * spaces for letters, spaces in sizes]
    prompt, renderings = fit(texts, WINDOW if refuses else 10**9) if sizes[-1][0] < WINDOW else (None, 0)
    fewest = next(
        (n for n in range(len(sizes)) if 1 + sum(letters for letters, _ in sizes[n:]) <= WINDOW - ANSWER),
        len(sizes) - 1,
    )
    assert [message.content for message in prompt.messages] == ["s", *texts[fewest:]]
    assert renderings <= 10 + log2(len(sizes) + 1)


def test_a_conversation_that_fits_is_rendered_once():
    assert fit(["x" * 50] * 20)[1] == 1


def test_a_long_conversation_is_rendered_few_times():
    assert fit(["x" * 50] * 20_000)[1] <= 8
