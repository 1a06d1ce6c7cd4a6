"""Configs with any value in any field: the model runs, or the error is about the model."""

from __future__ import annotations

import importlib
import json
import random
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mlxk_core.api.backends import EngineContext
from mlxk_core.api.errors import BrokenModel, InsufficientMemory, ModelError
from mlxk_core.api.models import Facts, Model, check_health, model_context_length
from mlxk_mlx.loading import runtime
from mlxk_mlx.loading.load import load, load_tokenizer
from mlxk_mlx.loading.memory import estimate
from mlxk_testing.tiny_models import gpt_oss_model, mxfp4_model, random_model

ABSENT = object()
VALUES = [ABSENT, None, "x", -1, 0, 1e308, [], {}, 10**9, True, 2.5, [1]]
FIELDS = {
    "rope_scaling": [
        {"rope_type": "yarn"},
        {"rope_type": "yarn", "factor": None},
        {"type": "linear"},
        {"type": "linear", "factor": 0},
        {"rope_type": "longrope"},
        {"type": "yarn", "factor": 0, "original_max_position_embeddings": 0},
        {"type": [], "factor": 2.0},
    ],
    "quantization": [{"bits": 0, "group_size": 64}, {"bits": "x", "group_size": []}, {"mode": "x"}, "x", [1]],
    "layer_types": ["x", ["y"] * 2],
    "num_experts": [10**9],
    "head_dim": [0, 3, 10**9, -2],
    "sliding_window": [0, -1, True],
    "text_config": [{"num_hidden_layers": 10**9}, []],
}
ALWAYS = 8
"""The first values of each field in `FIELDS` that are tried in any case; of all others, `SAMPLE` are."""
SAMPLE = 20


def outcome(folder):
    """Load the model and return the message of the error, None if it loads."""
    model = Model(name="odd", path=folder)
    context = EngineContext(alive=lambda: None, at_thread_exit=lambda call: None, cache_bytes=0, concurrency=1)
    model_context_length(model)
    check_health(model)
    try:
        _ = Facts(model).capabilities
        estimate(model)
        load(model, context).close()
    except ModelError as error:
        return str(error)
    return None


@pytest.mark.parametrize("write", [random_model, gpt_oss_model, mxfp4_model], ids=lambda write: write.__name__)
def test_any_value_of_any_field_runs_or_is_an_error_of_the_model(tmp_path, write):
    folder = write(tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text())
    rest = [(field, value) for field in sorted({*config, *FIELDS}) for value in VALUES]
    known = [(field, value) for field, values in FIELDS.items() for value in values[:ALWAYS]]
    for field, value in [*known, *random.Random(14).sample(rest, SAMPLE)]:
        changed = {key: each for key, each in config.items() if key != field}
        (folder / "config.json").write_text(json.dumps(changed if value is ABSENT else {**changed, field: value}))
        message = outcome(folder)
        assert message is None or "odd" in message, (field, value)


def test_a_setting_that_rope_scaling_lacks_is_named(tmp_path):
    folder = random_model(tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rope_scaling": {"rope_type": "yarn"}}))
    assert "factor missing" in outcome(folder)


@pytest.mark.parametrize("positions", [{"n_positions": 64, "max_position_embeddings": 10**6}, {"n_positions": 65}, {}])
def test_more_positions_than_the_weights_have_are_an_error(tmp_path, positions):
    """MLX would read the memory after the table."""
    mlx = runtime.start() and importlib.import_module("mlx.core")
    folder = random_model(tmp_path / "odd")
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", **positions}))
    mlx.save_safetensors(str(folder / "model.safetensors"), {"model.wpe.weight": mlx.zeros((64, 4))})
    with pytest.raises(BrokenModel, match="64 positions"):
        load_tokenizer(Model(name="odd", path=folder))


def test_fewer_rows_than_tokens_are_an_error(tmp_path):
    """Gemma 4 looks up every token in a second table: MLX would read the memory after it."""
    folder = random_model(tmp_path / "odd")
    text = {"vocab_size": 258, "vocab_size_per_layer_input": 1, "hidden_size_per_layer_input": 32}
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma4", "text_config": text}))
    with pytest.raises(BrokenModel, match="vocab_size_per_layer_input"):
        load_tokenizer(Model(name="odd", path=folder))


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


SIZES = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
EXPERTS = {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
OTHERS = {"max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 1e4, "routed_scaling_factor": 1.0}


def test_no_groups_of_experts_are_an_error(tmp_path, network):
    """MLX divides by their number: the process would end."""
    dots = {"model_type": "dots1", "vocab_size": 258, "num_key_value_heads": 2, "first_k_dense_replace": 0}
    dots |= {**SIZES, **EXPERTS, **OTHERS, "norm_topk_prob": True, "n_group": 2, "topk_group": 1}
    folder = network(tmp_path / "odd", **dots)
    assert outcome(folder) is None
    edit(folder, n_group=0)
    assert "unflatten" in outcome(folder)


def test_no_heads_of_keys_are_an_error(tmp_path, network):
    """MLX divides by their number in attention, and the file has weights of the queries alone."""
    elm = {"model_type": "openelm", "vocab_size": 258, "head_dim": 32, "model_dim": 64, "num_transformer_layers": 1}
    elm |= {"ffn_dim_divisor": 8, "ffn_multipliers": [1.0], "num_query_heads": [2], "max_position_embeddings": 64}
    assert outcome(network(tmp_path / "sound", **elm, num_kv_heads=[2])) is None
    assert "heads" in outcome(network(tmp_path / "odd", **elm, num_kv_heads=[0]))


def test_a_list_of_more_layers_than_any_network_has_is_an_error(tmp_path):
    """The network of these would take 10 GB, without any weights."""
    folder = random_model(tmp_path / "odd")
    edit(folder, layer_types=["full_attention"] * 100_000)
    assert "modules" in outcome(folder)


def test_a_network_that_masks_tokens_it_lacks_is_an_error(tmp_path, network):
    """Phi-3-small does: MLX would write to the memory after its logits."""
    phi = {"model_type": "phi3small", "vocab_size": 258, "num_key_value_heads": 1, "layer_norm_epsilon": 1e-5}
    phi |= {**SIZES, "ff_intermediate_size": 64, "dense_attention_every_n_layers": 2, "gegelu_limit": 20.0}
    assert "token 100,351" in outcome(network(tmp_path / "odd", **phi))


@pytest.mark.parametrize("window", [0, 1 << 31])
def test_a_window_that_no_cache_can_have_is_an_error(tmp_path, window):
    folder = gpt_oss_model(tmp_path / "odd")
    edit(folder, sliding_window=window)
    assert "window" in outcome(folder)


@pytest.mark.parametrize(
    "repeats",
    [
        {"hc_sinkhorn_iters": 10**9},
        {"text_config": {"num_loops": 10**9}},
        {"sliding_window_pattern": 10**9},
        {"emb_split_num": 10**9},
    ],
)
def test_more_repeats_than_tensors_are_an_error(tmp_path, repeats):
    folder = random_model(tmp_path / "odd")
    edit(folder, **repeats)
    assert "tensors" in outcome(folder)


@pytest.mark.parametrize(
    "depth",
    [
        {"num_hidden_layers": 600},
        {"num_hidden_layers": 60, "num_loops": 10},
        {"text_config": {"num_hidden_layers": 100}, "hc_sinkhorn_iters": 50},
        {"hc_mult": 100},
    ],
)
def test_a_step_of_more_layers_than_any_network_has_is_an_error(tmp_path, depth):
    """There are as many tensors; one step silenced the server for up to 36 s."""
    mlx = runtime.start() and importlib.import_module("mlx.core")
    folder = random_model(tmp_path / "odd")
    mlx.save_safetensors(str(folder / "model.safetensors"), {f"a{number}": mlx.zeros(64) for number in range(700)})
    edit(folder, **depth)
    assert "at most" in outcome(folder)


def test_an_empty_tensor_is_an_error(tmp_path):
    mlx = runtime.start() and importlib.import_module("mlx.core")
    folder = random_model(tmp_path / "odd")
    mlx.save_safetensors(str(folder / "model.safetensors"), {"k_proj.weight": mlx.zeros((0, 64))})
    assert "k_proj.weight is empty" in outcome(folder)


def test_a_network_that_needs_another_package_is_unsupported(tmp_path):
    """Its module ends the program without that package."""
    folder = random_model(tmp_path / "odd")
    edit(folder, model_type="olmo")
    assert "odd" in outcome(folder)


def test_an_error_of_the_first_steps_is_about_the_config(tmp_path, bench, answer):
    folder = gpt_oss_model(tmp_path / "odd")
    edit(folder, layer_types=["sliding_attention", "full_attention"] * 2)
    with bench(folder) as engine_bench, pytest.raises(BrokenModel):
        engine_bench.run(lambda engine: answer(engine, "Hi"))


def test_tables_far_larger_than_the_weights_end_a_load():
    mlx = runtime.start() and importlib.import_module("mlx.core")
    network = importlib.import_module("mlx.nn").Linear(8, 8)
    network._table = mlx.zeros((1 << 20, 1 << 12))  # 16 GB, if it were evaluated
    with pytest.raises(InsufficientMemory, match="tables"):
        importlib.import_module("mlxk_mlx.loading.weight_layout").materialize(network, lambda: None)


def test_heads_of_all_layers_together_are_limited(tmp_path):
    """A token of a plain network of 17 MB computed 300 million scores for each 600 tokens before it."""
    heads = {"num_attention_heads": 1024, "num_key_value_heads": 1, "head_dim": 2}
    assert outcome(random_model(tmp_path / "sound", hidden=8, layers=2, config=heads)) is None
    assert "heads" in outcome(random_model(tmp_path / "odd", hidden=8, layers=40, config=heads))


def test_more_logits_than_any_network_has_are_an_error(tmp_path):
    folder = random_model(tmp_path / "odd", hidden=8, layers=1)
    weights = load_file(folder / "model.safetensors")
    embeddings = np.zeros(((1 << 19) + 1, 8), np.float32)
    outputs = {name: embeddings for name in ("model.embed_tokens.weight", "lm_head.weight") if name in weights}
    save_file({**weights, **outputs}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": len(embeddings)}))
    assert "logits" in outcome(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rms_norm_eps", [1] * 300),
        ("rope_theta", "1" * 300),
        ("rope_scaling", {"rope_type": "dynamic", "factor": [1] * 200_000}),
        ("factor", {"k" * 1000: dict.fromkeys(map(str, range(200_000)), 1) | {"factor": [1] * 300}}),
    ],
)
def test_a_list_or_a_text_in_the_place_of_a_number_is_an_error(tmp_path, field, value):
    """A factor times the length of a context made a list of billions."""
    folder = random_model(tmp_path / "odd", config={"rope_scaling" if isinstance(value, dict) else field: value})
    found = outcome(folder)
    assert field in found
    assert len(found) < 1000


def empty_tensors(folder, name):
    """Replace the weights by 30,000 tensors without a number."""
    header = {name.format(number): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(30_000)}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)


def test_far_more_tensors_than_the_network_can_have_are_an_error(tmp_path):
    """mlx-lm would read all of them before it compares names, with the interpreter locked."""
    folder = random_model(tmp_path / "odd")
    empty_tensors(folder, "model.layers.{}.weight")
    assert "30,000 tensors" in outcome(folder)


def test_names_of_many_numbers_are_an_error(tmp_path):
    """Comparing them would take minutes."""
    folder = random_model(tmp_path / "odd")
    edit(folder, num_experts=512)
    empty_tensors(folder, "0.a." * 35 + "{}")
    assert "too many parts" in outcome(folder)
