"""Survives … requests of kilobytes for vectors of hundreds of megabytes."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from safetensors.numpy import save_file

from mlxk_testing.tiny_models import in_hub_cache, random_model
from tests.encoders import tiny_encoders

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

MEGABYTE = 1 << 20
SIZE = 129 << 7
"""Numbers of a vector: those of 1,920 inputs take 127 MB, and 500 as text; those of 2,048 are too many."""
WIDTH = 1 << 19
"""Numbers that a layer of an encoder makes for each token."""
MODEL = "tiny/wide"
MANY = {"model": MODEL, "input": [[65]] * 1920}
SOME = {"model": MODEL, "input": [[65]] * 300}


def wide(folder):
    """Embeds with many numbers and little work: the network is one narrow layer."""
    random_model(folder)
    layer = {
        "self_attn.q_proj": (2, SIZE), "self_attn.k_proj": (2, SIZE), "self_attn.v_proj": (2, SIZE),
        "self_attn.o_proj": (SIZE, 2), "mlp.gate_proj": (2, SIZE), "mlp.up_proj": (2, SIZE),
        "mlp.down_proj": (SIZE, 2), "input_layernorm": (SIZE,), "post_attention_layernorm": (SIZE,),
    }  # fmt: skip
    shapes = {f"model.layers.0.{name}.weight": shape for name, shape in layer.items()}
    shapes |= {"model.embed_tokens.weight": (258, SIZE), "model.norm.weight": (SIZE,)}
    random = np.random.default_rng(14)
    save_file(
        {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    config = {"model_type": "llama", "hidden_size": SIZE, "intermediate_size": 2, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 2, "rms_norm_eps": 1e-5}
    config |= {"vocab_size": 258, "tie_word_embeddings": True, "max_position_embeddings": 2048}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_lasttoken": True}))
    module = {"idx": 0, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
    (folder / "modules.json").write_text(json.dumps([module]))


@pytest.fixture
def server(launch):
    in_hub_cache("tiny/random", lambda folder: random_model(folder, ends=True) and None)
    in_hub_cache(MODEL, wide)
    server = launch("--memory", str(1 << 30), model="tiny/random")
    assert server.client.post("/v1/embeddings", {"model": MODEL, "input": "x"}).status == 200
    return server


def status(sock):
    """The status of the response that begins to come."""
    return int(sock.recv(12, 0x100).split()[1])  # 0x100: MSG_WAITALL


def test_survives_large_embeddings_that_are_not_read(server, kit):
    """Their vectors wait, not their texts; a third of the same client is rejected, and a small one is not."""
    with kit.Watch(server), contextlib.ExitStack() as stack:
        before = server.reset_peak()
        sockets = [stack.enter_context(server.client.begin("/v1/embeddings", MANY)) for _ in range(3)]
        with ThreadPoolExecutor(3) as pool:
            assert sorted(pool.map(status, sockets)) == [200, 200, 503]
        kit.until(lambda: server.client.status()["responses"] == 2)
        assert server.client.post("/v1/embeddings", {"model": MODEL, "input": "x"}).status == 200
        reply = server.client.post("/v1/embeddings", SOME)
        assert (reply.status, reply.json["error"]["code"]) == (503, "too_many_results")
        assert server.peak - before < 800 * MEGABYTE
        for sock in sockets:
            sock.close()
        kit.until(lambda: server.client.status()["responses"] == 0)
        with server.client.begin("/v1/embeddings", SOME) as again:
            assert status(again) == 200


def test_survives_a_long_input_of_a_wide_decoder(server, kit):
    """The hidden states of all its tokens together have 135 MB, and were copied three times."""
    with kit.Watch(server):
        before = server.reset_peak()
        reply = server.client.post("/v1/embeddings", {"model": MODEL, "input": [[65] * 2040]})
        assert reply.status == 200
        assert server.peak - before < 200 * MEGABYTE


@pytest.mark.parametrize("path", ["/v1/embeddings", "/api/embed"])
def test_a_large_response_has_the_vectors_of_small_ones(server, path):
    """It comes in pieces, also where one vector has several."""
    inputs = ["a", "bc", "d", "ef"]

    def vectors(texts, **fields):
        reply = server.client.post(path, {"model": MODEL, "input": texts, **fields})
        assert reply.status == 200, reply.body
        assert {name.lower(): value for name, value in reply.headers.items()}["transfer-encoding"] == "chunked"
        if path == "/api/embed":
            assert (reply.json["model"], reply.json["prompt_eval_count"]) == (MODEL, sum(map(len, texts)))
            return reply.json["embeddings"]
        assert [entry["index"] for entry in reply.json["data"]] == list(range(len(texts)))
        assert reply.json["usage"]["total_tokens"] == sum(map(len, texts))
        return [entry["embedding"] for entry in reply.json["data"]]

    together = vectors(inputs)
    assert [len(vector) for vector in together] == [SIZE] * 4
    alone = [vectors([text], dimensions=SIZE)[0] for text in inputs]
    assert np.allclose(together, alone, atol=1e-5)
    if path == "/v1/embeddings":
        encoded = [base64.b64decode(text) for text in vectors(inputs, encoding_format="base64")]
        assert [list(struct.unpack(f"<{SIZE}f", data)) for data in encoded] == together


def test_a_request_whose_vectors_never_fit_is_an_error(server):
    many = {"model": MODEL, "input": ["a"] * 2048}
    reply = server.client.post("/v1/embeddings", many)
    assert (reply.status, reply.json["error"]["code"]) == (400, "too_many_results")
    assert server.client.post("/api/embed", many).status == 400  # Ollama's errors have no code


def test_a_large_response_ends_where_an_old_client_sees_it(server):
    """HTTP/1.0 has no chunks: the connection is closed."""
    body = json.dumps({"model": MODEL, "input": [[65]] * 4}).encode()
    head, _, text = server.client.raw(
        b"POST /v1/embeddings HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    ).partition(b"\r\n\r\n")
    assert b"content-length" not in head.lower()
    assert b"chunked" not in head.lower()
    assert len(json.loads(text)["data"]) == 4


def test_a_shutdown_cuts_a_large_response_that_is_not_read(server, kit):
    with server.client.begin("/v1/embeddings", SOME) as sock:
        assert status(sock) == 200
        assert server.end() == 0
        with contextlib.suppress(ConnectionError):
            received = kit.everything(sock)
            assert b"chunked" in received.partition(b"\r\n\r\n")[0]
            assert not received.endswith(b"0\r\n\r\n")


def test_survives_a_tokenizer_that_puts_thousands_of_tokens_around_a_text(launch, kit):
    """A request of 10 kB had 67 million tokens, which took 540 MB before the first one was computed."""

    def write(folder):
        random_model(folder, context=1 << 20)
        (folder / "README.md").write_text("---\npipeline_tag: feature-extraction\n---\n")
        path = folder / "tokenizer.json"
        special = {"x": {"id": "x", "ids": [1] * 550, "tokens": ["x"] * 550}}
        text = {"Sequence": {"id": "A", "type_id": 0}}
        single = [{"SpecialToken": {"id": "x", "type_id": 0}}] * 60 + [text]
        step = {"type": "TemplateProcessing", "single": single, "pair": [text], "special_tokens": special}
        path.write_text(json.dumps({**json.loads(path.read_text()), "post_processor": step}))

    in_hub_cache("tiny/random", lambda folder: random_model(folder, ends=True) and None)
    in_hub_cache("tiny/special", write)
    server = launch("--memory", str(1 << 30), model="tiny/random")
    with kit.Watch(server):
        before = server.reset_peak()
        reply = server.client.post("/v1/embeddings", {"model": "tiny/special", "input": ["a"] * 2048})
        assert (reply.status, reply.json["error"]["code"]) == (500, "plugin_failure")
        assert server.peak - before < 200 * MEGABYTE


def test_survives_many_inputs_of_an_encoder_with_a_wide_layer(launch, kit):
    """One array of the layer would have 268 MB, in a model of 5 MB."""

    def write(folder):
        config = tiny_encoders.CASES["bert"].config
        shapes = {"embeddings.LayerNorm.weight": (2,), "embeddings.LayerNorm.bias": (2,)}
        for name, rows in ("word", config["vocab_size"]), ("position", 96), ("token_type", 2):
            shapes[f"embeddings.{name}_embeddings.weight"] = (rows, 2)
        layer = {"attention.self.query": (2, 2), "attention.self.key": (2, 2), "attention.self.value": (2, 2)}
        layer |= {"attention.output.dense": (2, 2), "intermediate.dense": (WIDTH, 2), "output.dense": (2, WIDTH)}
        for name, shape in layer.items():
            shapes |= {f"encoder.layer.0.{name}.weight": shape, f"encoder.layer.0.{name}.bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"encoder.layer.0.{name}.weight": (2,), f"encoder.layer.0.{name}.bias": (2,)}
        tiny_encoders.write_encoder(folder, "bert", shapes)
        wide = {"hidden_size": 2, "intermediate_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 1}
        (folder / "config.json").write_text(json.dumps({**config, **wide}))

    in_hub_cache("tiny/random", lambda folder: random_model(folder, ends=True) and None)
    in_hub_cache("tiny/encoder", write)
    server = launch("--memory", str(1 << 30), model="tiny/random")
    assert server.client.post("/v1/embeddings", {"model": "tiny/encoder", "input": [[5]]}).status == 200
    with kit.Watch(server):
        before = server.reset_peak()
        reply = server.client.post("/v1/embeddings", {"model": "tiny/encoder", "input": [[5]] * 128})
        assert reply.status == 200
        assert server.peak - before < 500 * MEGABYTE
