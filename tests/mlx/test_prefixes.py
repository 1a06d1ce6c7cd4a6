"""Prompts that were read before are not read again."""

from __future__ import annotations

import gc

import pytest

from mlxk_core._generation.engine import Row
from mlxk_mlx.engine.prompt_cache import PromptCache
from mlxk_mlx.loading import runtime
from mlxk_testing.engine_contract import GREEDY, alone, drive
from mlxk_testing.tiny_models import SLIDING_WINDOW, random_model

SYSTEM = "You are a helpful assistant who says very little. " * 2


@pytest.fixture
def engine(tmp_path, bench):
    random_model(tmp_path / "model", seed=3)
    with bench(tmp_path / "model") as engine:
        yield engine


def row(engine, prompt, id=1, max_tokens=8):
    tokens = engine.tokenizer.encode(prompt, add_special_tokens=False) if isinstance(prompt, str) else prompt
    return Row(id=id, prompt=tokens, max_tokens=max_tokens, sampling=GREEDY)


def cached(engine, prompt):
    return drive(engine, [row(engine, prompt)])[1].cached


def test_a_chat_goes_on_where_it_ended(engine):
    def chat(e):
        first = row(e, SYSTEM)
        answer = drive(e, [first])[1].tokens
        more = [*first.prompt, *answer, *e.tokenizer.encode("And now?", add_special_tokens=False)]
        return len(first.prompt) + len(answer), cached(e, more)

    ended, reused = engine.run(chat)
    assert reused == ended


def test_two_chats_share_what_they_begin_with(engine):
    engine.run(lambda e: cached(e, SYSTEM + "How are you?"))
    assert engine.run(lambda e: cached(e, SYSTEM + "Who are you?")) == len(SYSTEM)
    assert engine.run(lambda e: cached(e, SYSTEM + "How old are you?")) == len(SYSTEM) + len("How ")


def test_the_same_prompt_again_computes_one_token(engine):
    engine.run(lambda e: cached(e, SYSTEM))
    assert engine.run(lambda e: cached(e, SYSTEM)) == len(SYSTEM) - 1
    assert engine.run(lambda e: cached(e, SYSTEM)) == len(SYSTEM) - 1


def test_a_stopped_answer_is_kept(engine):
    engine.run(lambda e: drive(e, [row(e, SYSTEM, max_tokens=50)], remove={10: 1}))
    assert engine.run(lambda e: cached(e, SYSTEM)) == len(SYSTEM) - 1


def test_a_row_that_never_began_costs_nothing_of_what_is_kept(engine):
    engine.run(lambda e: cached(e, SYSTEM))
    engine.run(lambda e: drive(e, [row(e, SYSTEM + "And then?")], remove={0: 1}))
    assert engine.run(lambda e: cached(e, SYSTEM)) == len(SYSTEM) - 1


def test_what_is_kept_stays_within_its_budget(tmp_path, bench):
    random_model(tmp_path / "model")
    with bench(tmp_path / "model", cache_bytes=60_000) as engine:
        idle = engine.run(lambda e: e.memory)
        for start in "abcdefghij":
            engine.run(lambda e, start=start: cached(e, start * 50))
            assert engine.run(lambda e: e.memory) <= idle + 60_000
        assert engine.run(lambda e: cached(e, "j" * 50)) == 49
        assert engine.run(lambda e: cached(e, "a" * 50)) == 0


def test_without_a_budget_nothing_is_kept(tmp_path, bench):
    random_model(tmp_path / "model")
    with bench(tmp_path / "model", cache_bytes=0) as engine:
        assert [engine.run(lambda e: cached(e, SYSTEM)) for _ in range(2)] == [0, 0]


def test_a_cache_that_forgets_is_kept_where_prompts_part(tmp_path, bench):
    """A sliding window cannot be cut back, so a copy is made before the answer opens and where a prompt parted."""
    random_model(tmp_path / "model", config=SLIDING_WINDOW)
    opening = "<|im_start|>assistant\n"
    with bench(tmp_path / "model") as engine:
        turn = f"<|im_start|>user\n{SYSTEM}<|im_end|>\n"
        expected = engine.run(lambda e: alone(e, row(e, turn + "<|im_start|>user\nMore"))).tokens
        engine.run(lambda e: e.reset())
        engine.run(lambda e: cached(e, turn + opening))
        again = engine.run(lambda e: drive(e, [row(e, turn + "<|im_start|>user\nMore")])[1])
        length = engine.run(lambda e: len(e.tokenizer.encode(turn, add_special_tokens=False)))
        assert again.cached == length
        assert again.tokens == expected
        first = [engine.run(lambda e, n=n: cached(e, SYSTEM + f"number {n}")) for n in range(3)]
        assert first == [0, 0, len(SYSTEM + "number ")]


@pytest.mark.parametrize("kind", ["recurrent", "keys and values"])
def test_what_is_counted_is_what_is_held(kind):
    """A row's cache is a slice of its batch's, which would stay in memory as a whole."""
    runtime.start()
    import mlx.core as mx
    from mlx_lm.models.cache import ArraysCache, KVCache

    before = mx.get_active_memory()
    batch = mx.zeros((8, 4, 1024, 64))
    mx.eval(batch)
    if kind == "recurrent":
        layer = ArraysCache(2)
        layer[0], layer[1] = batch[2:3], batch[3:4]
    else:
        layer = KVCache()
        layer.state = (batch[2:3], batch[3:4], 1024)
    kept = PromptCache(1 << 30)
    kept.insert(range(1024), [layer])
    del batch, layer
    gc.collect()
    mx.clear_cache()
    held = mx.get_active_memory() - before
    assert kept.nbytes == 2 * 4 * 1024 * 64 * 4
    assert held <= kept.nbytes * 1.1
