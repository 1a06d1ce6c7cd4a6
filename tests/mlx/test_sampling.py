"""Which tokens may be drawn, and what penalties do to logits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxk_core._generation.request import Sampling
from mlxk_core._generation.sampling import SAMPLING_LIMITS
from mlxk_mlx.engine import sampling
from mlxk_mlx.loading import runtime

runtime.start()
import mlx.core as mx  # noqa: E402

PROBABILITIES = [0.5, 0.25, 0.15, 0.07, 0.03]


def drawn(**settings):
    """The tokens that are ever drawn from `PROBABILITIES`."""
    sample = sampling.sampler_for(Sampling(**settings, seed=1), len(PROBABILITIES))
    logprobs = mx.log(mx.array([PROBABILITIES]))
    return {sample(logprobs).item() for _ in range(300)}


@pytest.mark.parametrize(
    "settings, kept",
    [
        ({}, {0, 1, 2, 3, 4}),
        ({"top_k": 2}, {0, 1}),
        ({"top_k": 5}, {0, 1, 2, 3, 4}),
        ({"top_k": 1000}, {0, 1, 2, 3, 4}),
        ({"top_p": 0.5}, {0}),
        ({"top_p": 0}, {0}),
        ({"top_p": 0.51}, {0, 1}),
        ({"top_p": 0.9}, {0, 1, 2}),
        ({"min_p": 0.29}, {0, 1, 2}),
        ({"min_p": 1.0}, {0}),
        ({"top_k": 3, "top_p": 0.8}, {0, 1}),
        ({"temperature": 0.5, "top_p": 0.9}, {0, 1}),
    ],
)
def test_only_likely_tokens_are_drawn(settings, kept):
    assert drawn(**settings) == kept


def test_without_a_temperature_the_most_likely_token_is_taken():
    assert drawn(temperature=0) == {0}


def test_a_lower_temperature_draws_the_most_likely_token_more_often():
    def share(temperature):
        sample = sampling.sampler_for(Sampling(temperature=temperature, seed=3), len(PROBABILITIES))
        logprobs = mx.log(mx.array([PROBABILITIES]))
        return sum(sample(logprobs).item() == 0 for _ in range(400)) / 400

    assert share(0.5) > share(1.0) > share(2.0)


def test_rows_with_the_same_settings_share_a_sampler_unless_seeded():
    settings = Sampling(temperature=0.7, top_p=0.9)
    assert sampling.sampler_for(settings, 100) is sampling.sampler_for(settings, 200)
    seeded = Sampling(temperature=0.7, top_p=0.9, seed=1)
    assert sampling.sampler_for(seeded, 100) is not sampling.sampler_for(seeded, 100)
    assert sampling.sampler_for(Sampling(temperature=0), 9) is sampling.sampler_for(Sampling(temperature=0, seed=1), 9)


def logits_after(settings, context, prompt_length):
    """The logits of five tokens, all 1 but the last one's -1, when each token of `context` has been processed."""
    processors = sampling.processors_for(settings, prompt_length)
    for end in range(prompt_length, len(context) + 1):
        logits = mx.array([[1.0, 1.0, 1.0, 1.0, -1.0]])
        for process in processors:
            logits = process(mx.array(context[:end]), logits)
    return logits.tolist()[0]


def test_presence_and_frequency_are_counted_in_the_answer_only():
    context = [0, 0, 1, 2, 2, 1]  # of which the first two are the prompt
    assert logits_after(Sampling(presence_penalty=0.5), context, 2) == [1, 0.5, 0.5, 1, -1]
    assert logits_after(Sampling(frequency_penalty=0.25), [*context, 1], 2) == [1, 0.25, 0.5, 1, -1]


def test_the_repetition_penalty_weakens_what_was_said_whatever_its_sign():
    assert logits_after(Sampling(repetition_penalty=2.0), [0, 0, 4], 2) == [0.5, 1, 1, 1, -2]


def test_the_repetition_penalty_forgets():
    assert logits_after(Sampling(repetition_penalty=2.0), [0] + [1] * 64, 1)[:2] == [1, 0.5]


def test_a_bias_is_added():
    assert logits_after(Sampling(logit_bias={1: 2.5, 4: -1.0}), [0], 1) == [1, 3.5, 1, 1, -2]


def test_a_token_can_be_penalized_more_often_than_the_logits_can_count():
    processors = sampling.processors_for(Sampling(frequency_penalty=1.0), 1)
    for length in range(1, 401):
        [logits] = [process(mx.array([0] * length), mx.zeros((1, 2), mx.bfloat16)) for process in processors]
    assert logits.tolist()[0] == [-400, 0]  # bfloat16 has no 257


def extremes(name):
    least, most = SAMPLING_LIMITS[name]
    return st.sampled_from([least, most]) | st.floats(least, most)


SAMPLINGS = st.builds(
    Sampling,
    logit_bias=st.dictionaries(st.integers(0, 3), extremes("logit_bias")),
    top_k=st.sampled_from([0, 1, 4, 1 << 40]),
    seed=st.integers(0, 3),
    **{name: extremes(name) for name in SAMPLING_LIMITS if name != "logit_bias"},
)


@settings(deadline=None)
@given(SAMPLINGS, st.data(), st.sampled_from([mx.float16, mx.bfloat16, mx.float32]))
def test_no_valid_value_makes_nan(values, data, dtype):
    """Token 4 is excluded by a constraint, and none of the values may bring it back."""
    logit = st.sampled_from([0.0, 65504.0, -65504.0]) | st.floats(-100, 100, width=16)
    processors = sampling.processors_for(values, 1)
    sample = sampling.sampler_for(values, 5)
    context = [0]
    for _ in range(3):
        logits = mx.array([[*data.draw(st.lists(logit, min_size=4, max_size=4)), float("-inf")]], dtype)
        for process in processors:
            logits = process(mx.array(context), logits)
        logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        assert not mx.isnan(logprobs).any().item() and logprobs.max().item() > float("-inf")
        context.append(sample(logprobs).item())
    assert 4 not in context


def test_a_processor_that_raises_is_told_once_and_harms_nothing():
    def broken(context, logits):
        raise ValueError("broken")

    errors = []
    guarded = sampling.GuardedProcessor(broken, errors.append)
    logits = mx.array([[1.0]])
    assert guarded(mx.array([0]), logits) is logits
    assert guarded(mx.array([0]), logits) is logits
    assert [str(error) for error in errors] == ["broken"]
