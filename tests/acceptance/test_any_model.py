"""What has to hold for every model: a tiny one always, and those named by the user.

MLXK_TEST_MODELS=org/name,./path uv run pytest -m named_models
"""

import os

import pytest

from mlxk_core._models.cache import hub_cache as users_hub_cache
from mlxk_testing.tiny_models import random_model

_NAMED = [name for name in os.environ.get("MLXK_TEST_MODELS", "").split(",") if name]
_USERS_CACHE = {"HF_HUB_CACHE": str(users_hub_cache())}  # read before a test gets a cache of its own


@pytest.fixture(params=["tiny", *(pytest.param(name, marks=pytest.mark.named_models) for name in _NAMED)])
def ask(request, mlxk, tmp_path):
    """`ask("--max-tokens", "8")`: one greedy answer of the model to the same question."""
    model, env = request.param, _USERS_CACHE
    if model == "tiny":
        model, env = str(tmp_path / "tiny"), {}
        random_model(tmp_path / "tiny", seed=5)

    def run(*options):
        question = ("Name three rivers.", "--temperature", "0", "--repetition-penalty", "1")
        return mlxk("run", model, *question, *options, env=env, timeout=600)

    return run


def test_stream_batch_and_json_are_one_answer_with_honest_counts(ask):
    stream, batch, document = (ask("--max-tokens", "32", *mode) for mode in ((), ("--no-stream",), ("--json",)))
    assert stream.code == batch.code == document.code == 0
    assert stream.stdout == batch.stdout
    data = document.json["data"]
    assert (data["response"] or data["reasoning"]).strip()[:20] in stream.stdout
    counted = data["usage"]["completion_tokens"]
    assert counted == 32 if data["finish_reason"] == "length" else 1 <= counted <= 32


def test_a_stop_string_ends_the_answer_where_it_begins(ask):
    whole = ask("--max-tokens", "24", "--json", "--reasoning-format", "none").json["data"]["response"]
    stop = whole[len(whole) // 2 :][:3]
    cut = ask("--max-tokens", "24", "--json", "--reasoning-format", "none", "--stop", stop).json["data"]
    assert (cut["response"], cut["finish_reason"]) == (whole[: whole.index(stop)], "stop")
