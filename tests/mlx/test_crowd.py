"""Many rows that come, go and share beginnings: each says what it says alone."""

from __future__ import annotations

from random import Random

import pytest

from mlxk_core._generation.engine import Row, Sampled
from mlxk_core._generation.request import Sampling
from mlxk_testing.engine_contract import GREEDY, alone
from mlxk_testing.tiny_models import SLIDING_WINDOW, random_model

NETWORKS = {"llama": {}, "sliding window": SLIDING_WINDOW}


def crowd(random: Random, count: int) -> list[Row]:
    beginnings = [[random.randrange(32, 127) for _ in range(length)] for length in (20, 60, 60, 150)]
    rows = []
    for id in range(count):
        beginning = random.choice(beginnings)
        prompt = beginning[: random.randrange(1, len(beginning) + 1)]
        prompt += [random.randrange(32, 127) for _ in range(random.randrange(40))]
        sampling = random.choice(
            [GREEDY, Sampling(temperature=0.9, seed=id), Sampling(temperature=0, repetition_penalty=1.2)]
        )
        stop = frozenset({random.randrange(32, 127)})
        rows.append(Row(id=id, prompt=prompt, max_tokens=random.randrange(1, 20), sampling=sampling, stop_tokens=stop))
    return rows


@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_a_crowd_of_rows_says_what_each_of_them_says_alone(tmp_path, bench, config):
    random = Random(5)
    rows = crowd(random, 40)

    def come_and_go(engine):
        said = {row.id: [] for row in rows}
        waiting, running, reused = list(rows), set(), 0
        while waiting or running:
            while waiting and len(running) < 8 and random.random() < 0.5:
                running.add(waiting[0].id)
                engine.add(waiting.pop(0))
            if running and random.random() < 0.08:
                gone = random.choice(sorted(running))
                running.discard(gone)
                engine.remove(gone)
            for event in engine.step():
                if isinstance(event, Sampled):
                    said[event.id].append(event.token)
                    if event.finish:
                        running.discard(event.id)
                else:
                    reused += event.cached
        return said, reused

    random_model(tmp_path / "model", seed=3, config=config)
    with bench(tmp_path / "model", cache_bytes=200_000) as engine:
        expected = {row.id: engine.run(lambda e, row=row: alone(e, row)).tokens for row in rows}
        engine.run(lambda e: e.reset())
        said, reused = engine.run(come_and_go)
    assert reused > 0
    assert {id: tokens for id, tokens in said.items() if tokens != expected[id][: len(tokens)]} == {}
