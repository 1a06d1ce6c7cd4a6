"""How long a context is, and how many tokens of it an answer may take."""

import pytest

from mlxk_core._errors import ContextLengthExceeded, InvalidOption
from mlxk_core._models.token_budget import TokenPolicy, budget, context_length, model_context_length

FULL, HALF = TokenPolicy.FULL_CONTEXT, TokenPolicy.HALF_CONTEXT


@pytest.mark.parametrize(
    "key",
    ["max_position_embeddings", "n_positions", "context_length", "max_sequence_length", "seq_len", "n_ctx"],
)
def test_every_key_in_use_names_the_context(key):
    assert context_length({key: 8192}) == 8192
    assert context_length({key: "8192"}) == 8192
    assert context_length({"text_config": {key: 8192}}) == 8192


@pytest.mark.parametrize(
    "value", [0, -1, None, "", "many", "-5", True, 1.5, [], float("inf"), float("nan"), 1e308, 10**18]
)
def test_a_value_that_is_no_length_is_passed_over(value):
    assert context_length({"max_position_embeddings": value}) is None
    assert context_length({"max_position_embeddings": value, "n_ctx": 512}) == 512
    assert context_length({"max_position_embeddings": value, "text_config": {"n_positions": 512}}) == 512


def test_the_top_of_a_config_comes_before_its_text_part():
    assert context_length({"n_ctx": 100, "text_config": {"max_position_embeddings": 200}}) == 100


def test_the_tokenizers_limit_is_not_the_context(folder):
    model = folder({"config.json": {"model_type": "llama"}, "tokenizer_config.json": {"model_max_length": 512}})
    assert model_context_length(model) is None


@pytest.mark.parametrize("config", [{}, b"{ broken", b"[]", {"max_position_embeddings": 0}, {"text_config": "x"}])
def test_a_model_that_does_not_say_has_an_unknown_context(folder, config):
    assert model_context_length(folder({"config.json": config})) is None


def test_a_folder_without_config_has_an_unknown_context(folder):
    assert model_context_length(folder({})) is None


def test_a_gguf_header_names_the_context_of_its_architecture(folder, gguf):
    assert model_context_length(folder({"m.gguf": gguf({"llama.context_length": 2048})}, name="a")) == 2048
    assert model_context_length(folder({"m.gguf": gguf({"qwen2.context_length": 2048})}, name="b")) is None
    assert model_context_length(folder({"m.gguf": b"GGUF"}, name="c")) is None
    several = {f"m-{name}.gguf": gguf({"llama.context_length": 2048}) for name in ("Q4_0", "Q8_0")}
    assert model_context_length(folder(several, name="d")) == 2048


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}


@pytest.mark.parametrize(
    "scaling, length",
    [
        (YARN, 2048),
        ({"type": "yarn", "factor": 4}, 4096),
        ({"rope_type": "linear", "factor": 2.5}, 2560),
        ({"type": "dynamic", "factor": 2.0}, 2048),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 512}, 1024),
        ({"rope_type": "longrope", "factor": 8.0}, 1024),
        ({"rope_type": "yarn", "factor": "4"}, 1024),
        ({"rope_type": "yarn", "factor": float("inf")}, 1024),
        ({"rope_type": "linear", "factor": 0.5}, 1024),
        (None, 1024),
        ("yarn", 1024),
    ],
)
def test_the_context_after_rotary_scaling(scaling, length):
    for config in ({"rope_scaling": scaling}, {"rope_parameters": scaling}):
        assert context_length({"max_position_embeddings": 1024, **config}) == length
        assert context_length({"text_config": {"max_position_embeddings": 1024, **config}}) == length


def test_scaling_by_type_of_layer_counts_for_full_attention():
    layers = {"sliding_attention": {"rope_type": "default"}, "full_attention": YARN}
    assert context_length({"max_position_embeddings": 512, "rope_parameters": layers}) == 2048


def test_gemma_3_gives_the_context_after_scaling():
    config = {"model_type": "gemma3_text", "max_position_embeddings": 1024}
    assert context_length({**config, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}) == 1024


def test_a_gguf_header_has_the_same_scaling(folder, gguf):
    header = {"llama.context_length": 1024, "llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}
    assert model_context_length(folder({"m.gguf": gguf(header)}, name="a")) == 4096
    header["llama.rope.scaling.original_context_length"] = 512
    assert model_context_length(folder({"m.gguf": gguf(header)}, name="b")) == 2048


@pytest.mark.parametrize("policy", [FULL, HALF])
def test_an_unknown_context_limits_only_the_default(policy):
    assert budget(None, 100_000, asked=None, policy=policy) == 4096
    assert budget(None, 100_000, asked=50_000, policy=policy) == 50_000


@pytest.mark.parametrize(
    ("window", "prompt", "asked", "policy", "tokens"),
    [
        (8192, 10, None, FULL, 8182),
        (8192, 0, None, FULL, 8192),
        (8192, 10, None, HALF, 4096),
        (8193, 10, None, HALF, 4096),
        (131072, 10, None, HALF, 65536),
        (4096, 1, None, HALF, 2048),
        (8192, 8000, None, HALF, 192),
        (8192, 8191, None, FULL, 1),
        (8192, 8191, None, HALF, 1),
        (1, 0, None, HALF, 1),
        (8192, 10, 5, FULL, 5),
        (8192, 10, 5, HALF, 5),
        (8192, 10, 8000, HALF, 8000),
        (8192, 10, 8182, FULL, 8182),
        (8192, 10, 9999, FULL, 8182),
        (8192, 10, 9999, HALF, 8182),
    ],
)
def test_a_budget_is_what_was_asked_for_or_the_policys_share_and_always_fits(window, prompt, asked, policy, tokens):
    assert budget(window, prompt, asked=asked, policy=policy) == tokens


@pytest.mark.parametrize("prompt", [512, 513, 100_000])
@pytest.mark.parametrize("asked", [None, 1])
def test_a_prompt_that_leaves_no_room_is_refused_with_both_numbers(prompt, asked):
    with pytest.raises(ContextLengthExceeded) as caught:
        budget(512, prompt, asked=asked, policy=FULL)
    assert caught.value.details == {"prompt_tokens": prompt, "context_length": 512}


def test_a_negative_number_of_tokens_is_an_error():
    with pytest.raises(InvalidOption, match="max_tokens"):
        budget(512, 10, asked=-1, policy=FULL)


def test_a_request_for_no_token_may_fill_the_context_with_its_prompt():
    assert budget(512, 512, asked=0, policy=FULL) == 0
    with pytest.raises(ContextLengthExceeded):
        budget(512, 513, asked=0, policy=FULL)
