"""Networks whose state takes in padding: a prompt that is read next to a longer one has the answer it has alone."""

from __future__ import annotations

from mlxk_core.api.backends import Row
from mlxk_testing.engine_contract import GREEDY, alone, drive

LINEAR = {
    "model_type": "bailing_moe_linear",
    "vocab_size": 258,
    "hidden_size": 64,
    "intermediate_size": 64,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "num_shared_experts": 1,
    "first_k_dense_replace": 0,
    "layer_group_size": 2,
    "group_norm_size": 1,
    "n_group": 1,
    "topk_group": 1,
    "score_function": "softmax",
    "norm_topk_prob": True,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e4,
    "rope_traditional": False,
    "use_bias": False,
    "use_qkv_bias": False,
    "norm_head": False,
    "norm_softmax": False,
    "use_qk_norm": False,
    "tie_word_embeddings": False,
}


def test_prompts_of_different_lengths_do_not_change_each_other(tmp_path, network, bench):
    prompts = [[7 * number % 250 + 1 for number in range(first, first + length)] for first, length in ((0, 60), (9, 5))]
    rows = [Row(id=id, prompt=prompt, max_tokens=8, sampling=GREEDY) for id, prompt in enumerate(prompts, start=1)]

    def compare(engine):
        expected = {row.id: alone(engine, row).tokens for row in rows}
        engine.reset()
        return {id: outcome.tokens for id, outcome in drive(engine, rows).items()}, expected

    with bench(network(tmp_path / "linear", **LINEAR)) as engine_bench:
        together, expected = engine_bench.run(compare)
    assert together == expected
