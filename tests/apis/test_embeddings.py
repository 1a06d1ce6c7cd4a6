"""Embeddings over HTTP and at the command line, against the hidden states of mlx-lm's own network."""

from __future__ import annotations

import base64
import json
import math
import os
import struct
import subprocess
import sys

import pytest
from tokenizers import Tokenizer

from mlxk_testing.tiny_models import in_hub_cache, random_model

TEXTS = ["Hi", "The weather is nice today.", "Why is the sky blue? " * 4]
REFERENCE = """
import json, sys
from pathlib import Path
import mlx.core as mx
from mlx_lm.utils import load_model
folder, inputs, pooling = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
network, _ = load_model(folder)
for tokens in inputs:
    hidden = network.model(mx.array([tokens]))[0].astype(mx.float32)
    vector = hidden[-1] if pooling == "last" else hidden.mean(axis=0)
    print(json.dumps((vector / mx.linalg.norm(vector)).tolist()))
"""


def vectors(reply):
    assert reply.status == 200, reply.body
    return [entry["embedding"] for entry in reply.json["data"]]


def close(a, b):
    return len(a) == len(b) and all(math.isclose(x, y, abs_tol=1e-4) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_vector_is_the_pooled_hidden_states_of_the_network(api, embedder, pooling):
    name, folder = embedder(pooling)
    inputs = [Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXTS[1]).ids, [3, 1, 2]]
    command = [sys.executable, "-c", REFERENCE, str(folder), json.dumps(inputs), pooling]
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout
    expected = [json.loads(line) for line in output.splitlines()]
    found = vectors(api.post("/v1/embeddings", {"model": name, "input": inputs}))
    assert all(close(a, b) for a, b in zip(found, expected, strict=True))
    [from_text] = vectors(api.post("/v1/embeddings", {"model": name, "input": TEXTS[1]}))
    assert close(from_text, expected[0])


def test_inputs_together_have_the_vectors_they_have_alone_in_their_order(api, embedder):
    name, _ = embedder("last")
    together = vectors(api.post("/v1/embeddings", {"model": name, "input": TEXTS}))
    alone = [vectors(api.post("/v1/embeddings", {"model": name, "input": text}))[0] for text in TEXTS]
    assert all(close(a, b) for a, b in zip(together, alone, strict=True))


def test_dimensions_and_base64_are_the_same_vector(api, embedder):
    name, _ = embedder("last")
    [whole] = vectors(api.post("/v1/embeddings", {"model": name, "input": "Hi"}))
    assert math.isclose(sum(x * x for x in whole), 1, abs_tol=1e-4)
    [encoded] = vectors(api.post("/v1/embeddings", {"model": name, "input": "Hi", "encoding_format": "base64"}))
    data = base64.b64decode(encoded)
    assert close(struct.unpack(f"<{len(data) // 4}f", data), whole)
    [short] = vectors(api.post("/v1/embeddings", {"model": name, "input": "Hi", "dimensions": 4}))
    norm = math.sqrt(sum(x * x for x in whole[:4]))
    assert close(short, [x / norm for x in whole[:4]])


def test_a_prefix_of_the_model_comes_before_the_text(api, embedder):
    name, _ = embedder("last")
    [prefixed] = vectors(api.post("/v1/embeddings", {"model": name, "input": "Hi", "prompt_name": "query"}))
    [written] = vectors(api.post("/v1/embeddings", {"model": name, "input": "Query: Hi"}))
    assert close(prefixed, written)


def test_usage_counts_the_tokens(api, embedder):
    name, _ = embedder("last")
    usage = api.post("/v1/embeddings", {"model": name, "input": [[1, 2, 3], [4]]}).json["usage"]
    assert usage == {"prompt_tokens": 4, "total_tokens": 4}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"input": []}, None, "input"),
        ({"input": [1, "a"]}, None, "input"),
        ({"input": [[]]}, None, "input[0]"),
        ({"input": [[10**9]]}, None, "input[0]"),
        ({"input": "x", "dimensions": 10**6}, None, "dimensions"),
        ({"input": "x", "prompt_name": "other"}, None, "prompt_name"),
        ({"input": "x", "encoding_format": "int8"}, None, "encoding_format"),
        ({"input": "x" * 5000}, "context_length_exceeded", "input[0]"),
    ],
)
def test_what_cannot_be_embedded_is_an_error(api, embedder, fields, code, param):
    name, _ = embedder("last")
    reply = api.post("/v1/embeddings", {"model": name, **fields})
    assert reply.status == 400
    assert (reply.json["error"]["code"], reply.json["error"]["param"]) == (code, param)


def test_too_long_an_input_is_cut_where_that_is_asked_for(api, embedder):
    name, _ = embedder("last")
    reply = api.post("/v1/embeddings", {"model": name, "input": "x" * 5000, "truncate": True})
    assert reply.json["usage"]["prompt_tokens"] == 512


def test_an_embedding_model_does_not_chat_and_says_so(api, embedder):
    name, _ = embedder("last")
    reply = api.post("/v1/chat/completions", {"model": name, "messages": [{"role": "user", "content": "Hi"}]})
    assert (reply.status, reply.json["error"]["code"]) == (400, "unsupported_model")
    models = {model["id"]: model["capabilities"] for model in api.get("/v1/models").json["data"]}
    assert models[name] == ["embeddings"]
    assert "chat" in models["tiny/talker"]


def test_a_chat_model_does_not_embed(api):
    reply = api.post("/v1/embeddings", {"model": "tiny/talker", "input": "Hi"})
    assert (reply.status, reply.json["error"]["code"]) == (400, "unsupported_model")


def test_the_command_prints_the_same_vectors(mlxk, embedding_files):
    in_hub_cache("tiny/embedder", lambda folder: embedding_files(random_model(folder), "last"))
    lines = mlxk("embed", "tiny/embedder", "Hi", "You").stdout.splitlines()
    data = mlxk("embed", "tiny/embedder", "Hi", "You", "--json").json["data"]
    assert [json.loads(line) for line in lines] == data["embeddings"]
    assert mlxk("embed", "tiny/embedder").code == 2
