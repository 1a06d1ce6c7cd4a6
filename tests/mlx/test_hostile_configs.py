"""Configs with any value in any field: the model runs, or the error is about the model."""

from __future__ import annotations

import importlib
import json
import random

import pytest

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


def test_tables_far_larger_than_the_weights_end_a_load():
    mlx = runtime.start() and importlib.import_module("mlx.core")
    network = importlib.import_module("mlx.nn").Linear(8, 8)
    network._table = mlx.zeros((1 << 20, 1 << 12))  # 16 GB, if it were evaluated
    with pytest.raises(InsufficientMemory, match="tables"):
        importlib.import_module("mlxk_mlx.loading.weight_layout").materialize(network, lambda: None)
