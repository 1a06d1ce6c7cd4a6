"""Bounds on tokenizing: whose turn it is, and the beginning of a text that is too long."""

import pytest

from mlxk_core._generation.tokenizing import find_excess
from mlxk_core.api.errors import Interrupted
from mlxk_core.api.generation import GenerationRequest, Message
from mlxk_testing.fake_engine import fake_backend

PIECE = 1 << 14


class Characters:
    """A tokenizer with a token for each character; it keeps the lengths of the texts it has read."""

    def __init__(self):
        self.read = []

    def encode(self, text, *, add_special_tokens):
        self.read.append(len(text))
        return [ord(character) for character in text]


def interrupt():
    raise Interrupted("waiting")


def test_prompts_wait_while_two_threads_tokenize(house):
    service, model = house.open(fake_backend()), house.model()
    request = GenerationRequest(model=model, prompt=[Message(role="user", content="Hi")])
    with service.tokenizing(), service.tokenizer(model):
        assert service.prompt(request, waiting=interrupt).tokens
        with service.tokenizing(), pytest.raises(Interrupted):
            service.prompt(request, waiting=interrupt)
    assert service.prompt(request, waiting=interrupt).tokens


def test_small_prompts_do_not_wait_for_large_ones(house):
    service, model = house.open(fake_backend()), house.model()
    small, large = (
        GenerationRequest(model=model, prompt=[Message(role="user", content="x" * size)]) for size in (2, 100_000)
    )
    with service.tokenizing(size=100_000), service.tokenizing(size=100_000):
        assert service.prompt(small, waiting=interrupt).tokens
        with service.tokenizer(model), pytest.raises(Interrupted):
            service.prompt(large, waiting=interrupt)
    with service.tokenizing(), service.tokenizing(), service.tokenizing(size=2_000_000):
        assert service.prompt(large, waiting=interrupt).tokens
        with pytest.raises(Interrupted), service.tokenizing(interrupt, size=2_000_000):
            pass


@pytest.mark.parametrize("limit", [1, 100, PIECE, 3 * PIECE])
def test_a_long_text_is_read_until_it_has_too_many_tokens(limit):
    tokenizer = Characters()
    text = "x" * (9 * max(limit, PIECE))
    excess = find_excess(tokenizer, text, limit)
    assert limit <= excess.tokens <= excess.characters < limit + 2 * PIECE
    assert sum(tokenizer.read) == excess.characters


def test_a_text_that_may_fit_is_not_read():
    tokenizer = Characters()
    assert find_excess(tokenizer, "x" * 800, 100) is None
    assert find_excess(tokenizer, "x" * 801, None) is None
    assert tokenizer.read == []
