"""Survives … rows and embeddings whose caches would take more memory than there is."""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mlxk_testing.tiny_models import in_hub_cache, random_model

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

MEGABYTE = 1 << 20
BUDGET = 336 * MEGABYTE
"""Of which the tokenizer's process takes 72."""
HEADS = {"num_attention_heads": 64, "num_key_value_heads": 64, "head_dim": 128}
"""With eight layers half a megabyte for each token: as much as a large model has."""


@pytest.fixture
def start(launch):
    """`start(budget)`: a server whose models and requests have that many bytes."""

    def fat(folder):
        random_model(folder, context=8192, layers=8, config=HEADS)

    def embedder(folder):
        fat(folder)
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_lasttoken": True}))
        module = {"idx": 0, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
        (folder / "modules.json").write_text(json.dumps([module]))

    in_hub_cache("tiny/fat", fat)
    in_hub_cache("tiny/embedder", embedder)
    return lambda budget: launch("--memory", str(budget), "--max-tokens", "8", model="tiny/fat")


@pytest.fixture
def server(start):
    return start(BUDGET)


def streamed(server, tokens, **fields):
    """The number of pieces of a streamed completion, and the code of the error that ended it."""
    pieces = 0
    body = {"model": server.client.model, "prompt": [65] * tokens, "ignore_eos": True, **fields}
    with server.client.stream(body, "/v1/completions") as events:
        if events.status != 200:
            return 0, events.status
        for event in events:
            if event != "[DONE]" and "error" in event:
                return pieces, event["error"]["code"]
            pieces += 1
    return pieces, None


def held(server):
    return max(model["memory"] for model in server.client.status()["models"])


def test_survives_prompts_that_fit_one_by_one_but_not_together(server, kit):
    server.client.post("/v1/completions", {"model": "tiny/fat", "prompt": "x", "max_tokens": 1})
    results, most = [], 0
    threads = [threading.Thread(target=lambda: results.append(streamed(server, 100, max_tokens=8))) for _ in range(12)]
    with kit.Watch(server):
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            most = max(most, held(server))
            threads[0].join(0.02)
    assert [error for _, error in results] == [None] * 12
    assert 0 < most <= BUDGET


def test_survives_rows_that_grow_beyond_the_memory(server, kit):
    results = []
    threads = [threading.Thread(target=lambda: results.append(streamed(server, 16, max_tokens=600))) for _ in range(2)]
    with kit.Watch(server):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "insufficient_memory" in [error for _, error in results], results
    assert max(pieces for pieces, _ in results) > 100


def test_survives_a_prompt_that_never_fits(server, kit):
    with kit.Watch(server):
        body = {"model": "tiny/fat", "prompt": [65] * 2000, "max_tokens": 1}
        reply = server.client.post("/v1/completions", body)
        assert (reply.status, reply.error["code"]) == (503, "insufficient_memory"), json.dumps(reply.json)


def embedded(server, inputs):
    return server.client.post("/v1/embeddings", {"model": "tiny/embedder", "input": inputs})


def vectors(reply):
    return np.array([entry["embedding"] for entry in reply.json["data"]])


@pytest.mark.parametrize("inputs", [[[65]] * 200, [[65] * 300]], ids=["many", "long"])
def test_survives_embeddings_that_fit_one_by_one_but_not_together(server, kit, inputs):
    alone = vectors(embedded(server, inputs))[0]
    with kit.Watch(server), ThreadPoolExecutor(4) as pool:
        before = server.reset_peak()
        replies = list(pool.map(embedded, [server] * 4, [inputs] * 4))
    assert {reply.status for reply in replies} == {200}
    for reply in replies:  # rounded by how many are read together
        assert np.allclose(vectors(reply), alone, atol=1e-5)
    assert server.peak - before < 2 * BUDGET


def test_survives_an_embedding_that_never_fits(server, kit):
    with kit.Watch(server):
        reply = embedded(server, [[65] * 2000])
        assert (reply.status, reply.error["code"]) == (503, "insufficient_memory"), json.dumps(reply.json)


def test_an_embedding_that_waits_for_memory_ends_with_its_client(start, kit):
    server = start(400 * MEGABYTE)
    embedded(server, "x")
    body = {"model": "tiny/fat", "prompt": [65] * 16, "ignore_eos": True, "max_tokens": 230, "stream": True}
    row = server.client.begin("/v1/completions", body)
    kit.until(lambda: server.client.status()["active"] == 1)
    waiting = server.client.begin("/v1/embeddings", {"model": "tiny/embedder", "input": [[65] * 300]})
    kit.until(lambda: server.client.status()["responses"] == 2)
    waiting.close()
    kit.until(lambda: server.client.status()["responses"] == 1)
    assert server.client.status()["active"] == 1
    row.close()
    assert embedded(server, [[65] * 300]).status == 200
