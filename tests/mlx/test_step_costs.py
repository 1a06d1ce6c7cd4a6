"""What steps of a network take, measured without computing them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mlxk_core._generation.engine import Row
from mlxk_core._generation.request import Sampling
from mlxk_core.api.models import Model
from mlxk_mlx.engine.prefill_chunks import PrefillChunks
from mlxk_mlx.engine.step_costs import StepCost, StepCosts
from mlxk_mlx.loading import runtime
from mlxk_mlx.loading.load import load, read_network
from mlxk_mlx.loading.network_trial import NetworkTrial
from mlxk_testing.engine_contract import EngineHarness
from mlxk_testing.tiny_models import random_model

ENOUGH = StepCost(1e12, 1e12, 1e12)


def traced(folder, **config):
    runtime.start()
    from mlxk_mlx.loading.step_trace import trace_steps

    network, _ = read_network(Model(name="random", path=random_model(folder, config=config)))
    return trace_steps(network, ENOUGH)


def test_a_longer_step_costs_more_and_so_does_a_context(tmp_path):
    costs = traced(tmp_path / "model")
    steps = [costs.of(tokens, 0) for tokens in (1, 2, 16, 40, 64, 300, 512)]
    assert [step.peak for step in steps] == sorted(step.peak for step in steps)
    assert [step.work for step in steps] == sorted(step.work for step in steps)
    assert costs.of(16, 1000).peak > costs.of(16, 0).peak
    assert costs.of(1, 1000).peak > costs.of(1, 0).peak
    assert costs.of(600, 0) is None
    assert StepCosts.of_json(json.loads(json.dumps(costs.as_json()))) == costs


def test_a_step_is_as_large_as_its_limit_allows(tmp_path):
    costs = traced(tmp_path / "model")
    assert costs.largest(512, 0, ENOUGH) == 512
    assert costs.largest(1024, 0, ENOUGH) == 512
    for tokens in (16, 64, 256):
        limit = ENOUGH._replace(work=costs.of(tokens, 0).work)
        assert costs.largest(512, 0, limit) == tokens
    assert costs.largest(512, 10**9, ENOUGH._replace(peak=costs.of(256, 0).peak)) == 1


GEAR = {
    "model_type": "gear", "vocab_size": 258, "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
    "num_attention_heads": 64, "num_key_value_heads": 1, "head_dim": 32, "rms_norm_eps": 1e-5,
    "layer_types": ["full_attention"], "max_position_embeddings": 1000, "attn_logit_softcapping": 50.0,
}  # fmt: skip


def test_keys_that_are_repeated_for_every_head_are_counted(tmp_path, network):
    """The array looks like a view of the keys: 64 tokens of a file of 17 MB took half a gigabyte a row."""
    runtime.start()
    from mlxk_mlx.loading.step_trace import trace_steps

    read, _ = read_network(Model(name="gear", path=network(tmp_path / "gear", **GEAR)))
    costs = trace_steps(read, ENOUGH)
    assert costs.of_context >= 64 * 32


INDEXED = {
    "model_type": "deepseek_v32", "vocab_size": 258, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
    "num_key_value_heads": 1, "index_n_heads": 200, "index_head_dim": 8, "index_topk": 600, "q_lora_rank": 4,
    "kv_lora_rank": 4, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 4, "intermediate_size": 4,
    "moe_intermediate_size": 4, "n_routed_experts": None, "n_shared_experts": None, "first_k_dense_replace": 1,
    "max_position_embeddings": 100000, "rope_scaling": None, "rms_norm_eps": 1e-5,
}  # fmt: skip


def test_what_begins_after_hundreds_of_tokens_is_counted(tmp_path, network):
    """The index of DeepSeek V3.2 has scores of its own once the context is longer than what it selects."""
    runtime.start()
    from mlxk_mlx.loading.step_trace import trace_steps

    read, _ = read_network(Model(name="indexed", path=network(tmp_path / "indexed", **INDEXED)))
    costs = trace_steps(read, ENOUGH)
    assert costs.of(16, 2000).peak > 16 * 2000 * 200
    assert costs.of(16, 2000).operations > costs.measured[1][1].operations + 200


def test_each_row_needs_the_memory_of_its_part_of_a_step(tmp_path, network):
    def needed(engine):
        rows = [Row(id=number, prompt=[5] * 400, max_tokens=4, sampling=Sampling()) for number in (1, 2, 3)]
        alone = engine.row_bytes(rows[0])
        for row in rows[:2]:
            engine.add(row)
        return alone, engine.row_bytes(rows[2])

    model = Model(name="gear", path=network(tmp_path / "gear", **GEAR))
    with EngineHarness(lambda model, context: load(model, replace(context, shared=True)), model) as harness:
        alone, third = harness.run(needed)
    assert alone > 4 * 400 * 64 * 32  # its caches have 26 kB
    assert third > 2.5 * alone


def test_inputs_of_an_embedding_need_the_memory_of_their_part_of_a_step(tmp_path, network):
    model = Model(name="gear", path=network(tmp_path / "gear", **GEAR))
    with EngineHarness(lambda model, context: load(model, replace(context, shared=True)), model) as harness:
        assert harness.run(lambda engine: engine.input_bytes([400, 2, 2])) > 3 * 4 * 400 * 64 * 32


DBRX = {
    "model_type": "dbrx", "vocab_size": 258, "d_model": 4, "n_heads": 2, "n_layers": 2,
    "ffn_config": {"ffn_hidden_size": 4, "moe_num_experts": 40, "moe_top_k": 30},
    "attn_config": {"kv_n_heads": 1, "clip_qkv": 8.0, "rope_theta": 1e4}, "max_position_embeddings": 1000,
}  # fmt: skip


def test_experts_that_are_chosen_in_python_are_counted(tmp_path, network):
    """Each token makes operations of its own for each expert: a file of 0.4 MB took 2.6 GB and minutes."""
    found = []

    def tried(model, context):
        with NetworkTrial(model, replace(context, shared=True)) as trial:
            found.append(trial.wait())
        return load(model, context)

    with EngineHarness(tried, Model(name="dbrx", path=network(tmp_path / "dbrx", **DBRX))):
        [costs] = found
    assert costs.of(16, 0).operations - costs.of(1, 0).operations > 15 * 2 * 30 * 6
    assert costs.of(1, 100).operations > 2 * 30 * 6


def test_a_value_that_decides_what_a_step_does_is_not_made_up():
    runtime.start()
    import mlx.core as mx

    from mlxk_mlx.loading.unknown_values import ValueNeeded, made_up_indices

    with made_up_indices(), pytest.raises(ValueNeeded):
        mx.array(1).item()
    assert mx.array(1).item() == 1


def test_a_step_that_cannot_be_exported_is_counted_and_short(tmp_path):
    runtime.start()
    from mlxk_mlx.loading.step_count import count_steps

    read, _ = read_network(Model(name="random", path=random_model(tmp_path / "model")))
    costs = count_steps(read, ENOUGH)
    assert costs.of(16, 0).operations >= costs.of(1, 0).operations > 20
    assert costs.largest(512, 0, ENOUGH) == 16
    assert count_steps(read, ENOUGH._replace(operations=10)).of(16, 0) is None


def test_wide_heads_make_a_context_cost_more(tmp_path):
    """256 tokens of a file of 34 MB, with heads of 4,096, took minutes in one step."""
    narrow, wide = (traced(tmp_path / str(size), head_dim=size) for size in (16, 2048))
    assert wide.work_of_context > 4 * narrow.work_of_context
    assert wide.largest(512, 10**6, ENOUGH) < narrow.largest(512, 10**6, ENOUGH) < 512


def test_a_step_reads_fewer_tokens_with_wide_heads():
    chunks = PrefillChunks.of(10**6)
    if not runtime.start().cpu:
        pytest.skip("a GPU adds scores up as they come")
    heads, context = 1000, 256
    narrow, wide = (chunks.limit(512, 1, heads * context, heads * context * width) for width in (128, 8192))
    assert wide * 4 < narrow
    assert chunks.longest(heads, heads * 8192) < chunks.longest(heads, heads * 128)


def test_what_is_too_large_is_not_measured_further(tmp_path):
    runtime.start()
    from mlxk_mlx.loading.step_trace import trace_steps

    network, _ = read_network(Model(name="random", path=random_model(tmp_path / "model")))
    costs = trace_steps(network, ENOUGH._replace(operations=10))
    assert [tokens for tokens, _ in costs.measured] == [1]
    assert costs.largest(512, 0, ENOUGH) == 1


@pytest.mark.parametrize(("tokens", "part"), [(1, 0), (6, 0.5), (11, 1)])
def test_between_two_steps_the_cost_is_in_proportion(tokens, part):
    costs = StepCosts(((1, StepCost(10, 20, 30)), (11, StepCost(20, 40, 30))))
    assert costs.of(tokens, 0) == StepCost(10 + 10 * part, 20 + 20 * part, 30)


WIDE = {
    "model_type": "llama", "vocab_size": 258, "hidden_size": 2, "intermediate_size": 500_000, "num_hidden_layers": 1,
    "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 2, "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
}  # fmt: skip


def test_rows_and_inputs_of_a_plain_network_need_memory_for_its_widest_layer(tmp_path, network):
    def needed(engine):
        return engine.row_bytes(Row(id=1, prompt=[5], max_tokens=4, sampling=Sampling())), engine.input_bytes([1] * 512)

    model = Model(name="wide", path=network(tmp_path / "wide", **WIDE))
    with EngineHarness(lambda model, context: load(model, replace(context, shared=True)), model) as harness:
        row, inputs = harness.run(needed)
    assert row > 2 * 4 * 500_000
    assert inputs > 512 * 2 * 4 * 500_000
