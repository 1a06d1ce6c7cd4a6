"""Encoders against transformers and sentence-transformers: hidden states, pooled vectors, texts and pairs, to 1e-4."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlxk_core.api.models import Facts, Model, check_health
from mlxk_encoders.load import load
from mlxk_encoders.support import accepts
from mlxk_encoders.weights import read_network
from mlxk_mlx.support.architectures import accepts as accept_decoder
from mlxk_testing.engine_contract import EngineHarness
from tests.encoders.tiny_encoders import CASES, PAIRS, TEXTS, token_inputs

RERANKERS = [name for name in CASES if name.endswith(("-pairs", "-reranker"))]
EMBEDDERS = [name for name in CASES if name not in RERANKERS and not name.startswith("qwen3")]


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def last(parts):
    """The result of work in parts: what it yields at the end."""
    *_, result = parts
    return result


@pytest.mark.parametrize("name", EMBEDDERS)
def test_hidden_states_are_those_of_transformers(tmp_path, encoder, references, name):
    network = read_network(Model(name=name, path=encoder(tmp_path / name, name)))
    states = network.embed(mx.array([token_inputs(name)[1]]), None)
    for layer in network.layers:
        [states] = layer.blocks(states, None)
    assert_close(np.array(network.finish(states))[0], references[name]["states"])


@pytest.mark.parametrize("name", EMBEDDERS)
def test_pooled_vectors_are_those_of_transformers_alone_and_together(tmp_path, encoder, references, name):
    inputs = token_inputs(name)
    batches = [[each] for each in inputs]
    if name != "nomic-long":  # its angles depend on the longest input of a batch, which real ones never mix
        batches.append(inputs)
    with EngineHarness(load, Model(name=name, path=encoder(tmp_path / name, name))) as harness:
        for pooling in ("cls", "mean", "last"):
            found = [
                vector
                for batch in batches
                for vector in harness.run(
                    lambda engine, batch=batch, pooling=pooling: last(
                        engine.embed(batch, pooling=pooling, normalize=False)
                    )
                )
            ]
            expected = references[name][pooling]
            assert_close(found, (expected * 2)[: len(found)])


@pytest.mark.parametrize("name", [*(name for name in EMBEDDERS if name != "nomic-long"), "qwen3"])
def test_texts_have_the_vectors_of_sentence_transformers(post, references, name):
    """With a prefix one text is longer than the model reads, and is cut at the same token."""
    for prompt, key in ((None, "texts"), ("query", "queries")):
        body = {"model": f"tiny/{name}", "input": list(TEXTS), "prompt_name": prompt, "truncate": True}
        _, found = post("/v1/embeddings", body)
        vectors = [entry["embedding"] for entry in found["data"]]
        assert_close(vectors, references[name][key])


def test_a_decoder_without_prefixed_names_has_the_vectors_of_transformers(post, references):
    """As Qwen3-Embedding's files: no `model.` before the names, and no output layer."""
    assert "embed_tokens.weight" in references["qwen3"]["shapes"]
    _, found = post("/v1/embeddings", {"model": "tiny/qwen3", "input": token_inputs("qwen3")})
    expected = np.array(references["qwen3"]["last"])
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    assert_close([entry["embedding"] for entry in found["data"]], expected / lengths)


@pytest.mark.parametrize("name", RERANKERS)
def test_pairs_have_the_scores_of_sentence_transformers(post, references, name):
    for (query, document), expected in zip(PAIRS, references[name]["scores"], strict=True):
        body = {"model": f"tiny/{name}", "query": query, "documents": [document, "of"]}
        results = post("/v1/rerank", body)[1]["results"]
        scores = {entry["index"]: entry["relevance_score"] for entry in results}
        assert scores[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_what_embeds_or_ranks_is_recognized_from_its_files(tmp_path, encoder, name):
    model = Model(name=name, path=encoder(tmp_path / name, name))
    pairs = name in RERANKERS
    assert (accept_decoder if name.startswith("qwen3") else accepts)(model).accepted
    assert check_health(model).healthy
    assert Facts(model).type == ("classifier" if pairs else "embedding")
    assert Facts(model).capabilities == (("rerank",) if pairs else ("embeddings",))


def test_the_published_names_of_an_older_export_are_read(tmp_path, encoder, references):
    """With `bert.` before each name, `gamma` and `beta` for norms, and the stored positions of old exports."""
    from safetensors.numpy import load_file, save_file

    folder: Path = encoder(tmp_path / "old", "bert")
    weights = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in load_file(folder / "model.safetensors").items()
    }
    weights["bert.embeddings.position_ids"] = np.arange(96)[None]
    save_file(weights, folder / "model.safetensors")
    network = read_network(Model(name="old", path=folder))
    states = network.embed(mx.array([token_inputs("bert")[1]]), None)
    for layer in network.layers:
        [states] = layer.blocks(states, None)
    assert_close(np.array(states)[0], references["bert"]["states"])
