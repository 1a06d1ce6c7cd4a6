"""Survives … networks that are small on the disk, and whose layers make large arrays of each token."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from mlxk_testing.tiny_models import in_hub_cache, random_model

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

MEGABYTE = 1 << 20
HEADS = 512


def with_weights(folder, shapes, config):
    random = np.random.default_rng(14)
    weights = {name: 0.1 * random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**config, "num_attention_heads": HEADS, "vocab_size": 258}))


def many_heads(folder):
    """The cache has one head of two numbers; each token has a score for each other one in 512 heads."""
    random_model(folder)
    layer = {
        "self_attn.q_proj": (2 * HEADS, 16), "self_attn.k_proj": (2, 16), "self_attn.v_proj": (2, 16),
        "self_attn.o_proj": (16, 2 * HEADS), "mlp.gate_proj": (32, 16), "mlp.up_proj": (32, 16),
        "mlp.down_proj": (16, 32), "input_layernorm": (16,), "post_attention_layernorm": (16,),
    }  # fmt: skip
    shapes = {f"model.layers.{index}.{name}.weight": shape for index in range(2) for name, shape in layer.items()}
    shapes |= {"model.embed_tokens.weight": (258, 16), "model.norm.weight": (16,)}
    config = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    config |= {"num_key_value_heads": 1, "head_dim": 2, "rms_norm_eps": 1e-5, "max_position_embeddings": 4096}
    with_weights(folder, shapes, {**config, "tie_word_embeddings": True})


def encoder_of_many_heads(folder):
    random_model(folder)
    size = 2 * HEADS
    table = {"word": (258, size), "position": (2048, size), "token_type": (2, size)}
    shapes = {f"embeddings.{name}_embeddings.weight": shape for name, shape in table.items()}
    matrices = {"attention.self.query": (size, size), "attention.self.key": (size, size)}
    matrices |= {"attention.self.value": (size, size), "attention.output.dense": (size, size)}
    matrices |= {"intermediate.dense": (32, size), "output.dense": (size, 32)}
    matrices |= {"attention.output.LayerNorm": (size,), "output.LayerNorm": (size,)}
    shapes |= {f"encoder.layer.0.{name}.weight": shape for name, shape in matrices.items()}
    shapes |= {f"encoder.layer.0.{name}.bias": shape[:1] for name, shape in matrices.items()}
    shapes |= {"embeddings.LayerNorm.weight": (size,), "embeddings.LayerNorm.bias": (size,)}
    config = {"model_type": "bert", "hidden_size": size, "intermediate_size": 32, "num_hidden_layers": 1}
    with_weights(folder, shapes, {**config, "max_position_embeddings": 2048, "architectures": ["BertModel"]})


def mamba(folder, heads, size, state):
    """Random weights of a Mamba 2 with one layer: its state has heads x size x state numbers for a row."""
    from mlx.utils import tree_flatten
    from mlx_lm.models.mamba2 import Model, ModelArgs

    config = {
        "model_type": "mamba2", "num_heads": heads, "head_dim": size, "vocab_size": 258, "hidden_size": 8,
        "intermediate_size": heads * size, "state_size": state, "ssm_state_size": state, "num_hidden_layers": 1,
        "layer_norm_epsilon": 1e-5, "conv_kernel": 4, "n_groups": 1, "use_bias": False, "use_conv_bias": True,
        "tie_word_embeddings": True, "time_step_limit": [0.001, 0.1], "time_step_rank": 1,
    }  # fmt: skip
    random_model(folder)
    network = Model(ModelArgs.from_dict(config))
    random = np.random.default_rng(14)
    shapes = [(name, array.shape) for name, array in tree_flatten(network.parameters())]
    weights = {name: 0.1 * random.standard_normal(shape).astype(np.float32) for name, shape in shapes}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture
def real(launch):
    in_hub_cache("tiny/random", lambda folder: random_model(folder, ends=True) and None)
    in_hub_cache("tiny/heads", many_heads)
    in_hub_cache("tiny/encoder", encoder_of_many_heads)
    return launch(model="tiny/random")


@pytest.mark.parametrize(
    ("path", "short", "body", "most"),
    [
        ("/v1/completions", {"prompt": "a"}, {"prompt": "a" * 1000}, 600),
        ("/v1/embeddings", {"input": "a"}, {"input": "a" * 1400}, 700),
    ],
    ids=["decoder", "encoder"],
)
def test_survives_a_network_of_many_heads(real, kit, path, short, body, most):
    """All scores of a chunk took 1 GB, and of a block 1.5 GB: any number, with more heads or tokens."""
    model = {"model": "tiny/encoder" if path == "/v1/embeddings" else "tiny/heads"}
    sizes = {} if path == "/v1/embeddings" else {"max_tokens": 1}
    with kit.Watch(real):
        assert real.client.post(path, {**model, **sizes, **short}).status == 200
        before = real.reset_peak()
        assert real.client.post(path, {**model, **sizes, **body}).status == 200
        assert real.peak - before < most * MEGABYTE


def test_survives_a_step_whose_arrays_are_products_of_heads_and_tokens(real, kit):
    """A chunk of 256 tokens took 2 GB for each of several arrays."""
    in_hub_cache("tiny/mamba", lambda folder: mamba(folder, heads=8192, size=1, state=1))
    with kit.Watch(real):
        before = real.reset_peak()
        body = {"model": "tiny/mamba", "prompt": "a" * 300, "max_tokens": 1}
        assert real.client.post("/v1/completions", body).status == 200
        assert real.peak - before < 1500 * MEGABYTE


def test_survives_a_state_that_fits_nothing(real, kit):
    """Each token would compute several arrays of a gigabyte."""
    in_hub_cache("tiny/mamba", lambda folder: mamba(folder, heads=64, size=1024, state=4096))
    with kit.Watch(real):
        before = real.reset_peak()
        answer = real.client.post("/v1/completions", {"model": "tiny/mamba", "prompt": "a", "max_tokens": 1})
        assert (answer.status, answer.json["error"]["code"]) == (500, "broken_model")
        assert real.peak - before < 200 * MEGABYTE
