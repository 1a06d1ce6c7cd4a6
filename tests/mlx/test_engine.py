"""The MLX engine keeps the contract, on networks that differ in what they remember."""

from __future__ import annotations

import pytest

from mlxk_core.models.model import Model
from mlxk_core.testing.engine_contract import CHECKS, EngineBench, describe
from mlxk_core.testing.models import LLAMA3_ROPE, SLIDING_WINDOW, gpt_oss_model, mxfp4_model, random_model
from mlxk_mlx.loading import load

NETWORKS = {
    "llama": lambda folder: random_model(folder, seed=1),
    "scaled-rope": lambda folder: random_model(folder, seed=2, config=LLAMA3_ROPE),
    "sliding-window": lambda folder: random_model(folder, seed=3, config=SLIDING_WINDOW),
    "mxfp4": lambda folder: mxfp4_model(folder, seed=4),
    "gpt-oss": lambda folder: gpt_oss_model(folder, seed=5),
}


@pytest.fixture(scope="module", params=NETWORKS)
def bench(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    NETWORKS[request.param](folder)
    with EngineBench(load, Model(name=request.param, path=folder)) as bench:
        yield bench


@pytest.mark.parametrize("check", CHECKS, ids=describe)
def test_the_engine_contract(bench, check):
    bench.run(check)
