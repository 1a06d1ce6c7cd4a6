"""What goes wrong while the engine runs, and that it goes on afterwards."""

from __future__ import annotations

import gc
import weakref

import pytest

from mlxk_core._errors import ConstraintFailure, InsufficientMemory
from mlxk_core._generation.engine import Row
from mlxk_core._models.model import Model
from mlxk_mlx.loading import runtime
from mlxk_mlx.loading.load import load, load_tokenizer, prepare
from mlxk_testing.engine_contract import GREEDY, EngineHarness, drive
from mlxk_testing.tiny_models import random_model


def load_with_a_fault(model, context):
    """The engine of a network that fails when three rows are decoded together."""
    runtime.start_on_engine_thread(context)
    import mlx.core as mx
    from mlx_lm.utils import load_model

    sound, _ = load_model(model.path, lazy=True)

    class Faulty(type(sound)):
        def __call__(self, inputs, cache=None):
            if inputs.shape[-1] == 1 and inputs.shape[0] == 3:
                raise MemoryError("three rows are too many")
            return super().__call__(inputs, cache=cache)

    sound.__class__ = Faulty
    mx.eval(sound.parameters())
    return prepare(model, sound, lambda: load_tokenizer(model), context)


def test_a_step_that_raises_loses_its_rows_and_nothing_else(tmp_path):
    folder = random_model(tmp_path / "model")

    def rows(count):
        return [Row(id=id, prompt=[72, 105, id], max_tokens=12, sampling=GREEDY) for id in range(1, count + 1)]

    with EngineHarness(load_with_a_fault, Model(name="model", path=folder)) as bench:
        before = bench.run(lambda engine: drive(engine, rows(2)))
        with pytest.raises(MemoryError):
            bench.run(lambda engine: drive(engine, rows(3)))
        bench.run(lambda engine: engine.reset())
        after = bench.run(lambda engine: drive(engine, rows(2)))
    assert {id: outcome.tokens for id, outcome in after.items()} == {id: o.tokens for id, o in before.items()}


class FailingConstraint:
    """A constraint that allows every token, and cannot go on after some."""

    complete = False

    def __init__(self, accepted):
        self._left = accepted

    def mask(self):
        if not self._left:
            raise ConstraintFailure("It is too complex.")

    def accept(self, token):
        self._left -= 1


@pytest.mark.parametrize("accepted", [0, 2])
def test_a_row_whose_constraint_fails_is_freed_at_once(tmp_path, accepted):
    """Its error held the row and the logits of its step until garbage was collected."""
    folder, kept = random_model(tmp_path / "model"), []

    def fail(engine):
        constraint = FailingConstraint(accepted)
        kept.append(weakref.ref(constraint))
        row = Row(id=1, prompt=[72, 105], max_tokens=12, sampling=GREEDY, constraint=constraint)
        assert isinstance(drive(engine, [row])[1].error, ConstraintFailure)

    with EngineHarness(load, Model(name="model", path=folder)) as bench:
        gc.disable()
        try:
            bench.run(fail)
            assert kept[0]() is None
        finally:
            gc.enable()


def test_a_prompt_that_cannot_fit_is_refused_before_it_is_read(tmp_path):
    folder = random_model(tmp_path / "model")

    def refuse(engine):
        import mlx.core as mx

        if mx.device_info().get("max_recommended_working_set_size"):
            pytest.skip("the limit of a GPU is not ours to set")
        row = Row(id=1, prompt=[72] * 500, max_tokens=1, sampling=GREEDY)
        engine.check(row)
        limit = mx.set_memory_limit(mx.get_active_memory() + 1000)
        try:
            with pytest.raises(InsufficientMemory, match="500"):
                engine.check(row)
        finally:
            mx.set_memory_limit(limit)

    with EngineHarness(load, Model(name="model", path=folder)) as bench:
        bench.run(refuse)


def test_memory_is_given_back(tmp_path):
    folder = random_model(tmp_path / "model", hidden=256)

    def active(_):
        import mlx.core as mx

        return mx.get_active_memory()

    runtime.start()
    before = active(None)  # of other tests in this process
    with EngineHarness(load, Model(name="model", path=folder)) as bench:
        held = bench.run(active) - before
        bench.run(lambda engine: drive(engine, [Row(id=1, prompt=[72] * 300, max_tokens=5, sampling=GREEDY)]))
        bench.run(lambda engine: engine.close())
        assert bench.run(active) - before < held / 4
