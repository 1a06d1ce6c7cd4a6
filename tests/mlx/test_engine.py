"""The MLX engine keeps the contract, on networks that differ in what they remember."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from mlxk_core._models.model import Model
from mlxk_core.api.backends import PromptScored, Row, Sampled
from mlxk_core.api.generation import Sampling
from mlxk_mlx.loading import runtime
from mlxk_mlx.loading.load import load
from mlxk_testing.engine_contract import CHECKS, EngineHarness, describe
from mlxk_testing.tiny_models import LLAMA3_ROPE, SLIDING_WINDOW, gpt_oss_model, mxfp4_model, random_model


def hybrid_model(folder):
    """An LFM2, whose convolutions keep a state that cannot be cut back, between layers of attention."""
    runtime.start()
    from mlx.utils import tree_flatten
    from mlx_lm.models.lfm2 import Model as Network
    from mlx_lm.models.lfm2 import ModelArgs

    random_model(folder)
    config = {
        "model_type": "lfm2",
        "vocab_size": 258,
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "norm_eps": 1e-5,
        "conv_bias": False,
        "conv_L_cache": 3,
        "block_dim": 64,
        "block_ff_dim": 64,
        "block_multiple_of": 16,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": True,
        "layer_types": ["conv", "full_attention"] * 2,
        "eos_token_id": 257,
    }
    random = np.random.default_rng(7)
    shapes = {name: array.shape for name, array in tree_flatten(Network(ModelArgs.from_dict(config)).parameters())}
    weights = {
        name: np.ones(shape) if len(shape) == 1 else random.standard_normal(shape) * 1.2 / np.sqrt(shape[-1])
        for name, shape in shapes.items()
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: array.astype(np.float32) for name, array in weights.items()}, folder / "model.safetensors")


NETWORKS = {
    "llama": lambda folder: random_model(folder, seed=1),
    "scaled-rope": lambda folder: random_model(folder, seed=2, config=LLAMA3_ROPE),
    "sliding-window": lambda folder: random_model(folder, seed=3, config=SLIDING_WINDOW),
    "mxfp4": lambda folder: mxfp4_model(folder, seed=4),
    "hybrid": hybrid_model,
    "gpt-oss": lambda folder: gpt_oss_model(folder, seed=6),
}


@pytest.fixture(scope="module", params=NETWORKS)
def bench(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    NETWORKS[request.param](folder)
    with EngineHarness(load, Model(name=request.param, path=folder)) as bench:
        yield bench


@pytest.mark.parametrize("check", CHECKS, ids=describe)
def test_the_engine_contract(bench, check):
    bench.run(check)


def test_rows_have_half_of_the_time_while_a_prompt_is_scored(tmp_path):
    def drive(engine):
        """The number of tokens of another row, and of chunks, until the prompt is scored."""
        sampling = Sampling(temperature=0)
        engine.add(Row(id=1, prompt=[5], max_tokens=4000, sampling=sampling))
        engine.add(Row(id=2, prompt=[5] * 3000, max_tokens=0, sampling=sampling, prompt_logprobs=0))
        events = []
        while not any(isinstance(event, PromptScored) and event.finish for event in events):
            events += engine.step()
        engine.remove(1)
        return sum(isinstance(event, Sampled) for event in events), sum(
            isinstance(event, PromptScored) for event in events
        )

    random_model(tmp_path, context=8192)
    with EngineHarness(load, Model(name="random", path=tmp_path)) as bench:
        tokens, chunks = bench.run(drive)
    assert chunks > 6
    assert tokens > 2 * chunks


def test_prompts_are_scored_by_turns(tmp_path):
    def drive(engine):
        """The rows in the order in which they end, and what one more would need until the first one ends."""
        sampling = Sampling(temperature=0)
        for id, length in ((1, 3000), (2, 3000), (3, 20)):
            engine.add(Row(id=id, prompt=[5] * length, max_tokens=0, sampling=sampling, prompt_logprobs=0))
        last = Row(id=4, prompt=[5], max_tokens=1, sampling=sampling)
        needs, ended = [engine.memory + engine.row_bytes(last)], []
        while len(ended) < 3:
            scored = [event for event in engine.step() if isinstance(event, PromptScored)]
            ended += [event.id for event in scored if event.finish]
            if not ended:
                needs.append(engine.memory + engine.row_bytes(last))
        return ended, needs

    random_model(tmp_path, context=8192)
    with EngineHarness(load, Model(name="random", path=tmp_path)) as bench:
        ended, needs = bench.run(drive)
    assert ended == [3, 1, 2]
    assert len(needs) == 3
    assert max(needs) < 1.1 * min(needs)
