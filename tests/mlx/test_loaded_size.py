"""Weights that are larger in memory than in their file: they have what is free."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlxk_core.api.errors import InsufficientMemory
from mlxk_core.api.models import Model
from mlxk_mlx.loading import memory, runtime
from mlxk_mlx.loading.load import load
from mlxk_testing.engine_contract import EngineHarness
from mlxk_testing.tiny_models import mxfp4_model, random_model


def loader(size):
    return lambda model, context: load(model, replace(context, memory=size))


def quantized(engine):
    """The number of the engine's quantized layers."""
    return sum(hasattr(module, "bits") for module in engine._network.modules())


def test_a_model_with_less_memory_than_its_weights_is_not_read(tmp_path):
    model = Model(name="m", path=random_model(tmp_path / "m"))
    needed = memory.estimate_weights(model)
    with pytest.raises(InsufficientMemory), EngineHarness(loader(needed - 1), model):
        pass
    with EngineHarness(loader(needed), model) as engine:
        assert engine.run(lambda e: e.memory) >= needed


def test_quantized_layers_stay_so_where_dense_ones_do_not_fit(tmp_path):
    mxfp4_model(tmp_path / "packed")
    model = Model(name="m", path=tmp_path / "packed")
    machine = runtime.machine()
    if not (machine.cpu and machine.fast_blas):
        pytest.skip("layers stay quantized in any case")
    dense = memory.estimate_weights(model)
    with EngineHarness(loader(dense), model) as engine:
        assert engine.run(quantized) == 0
    with EngineHarness(loader(dense - 1), model) as engine:
        assert engine.run(quantized) > 0
