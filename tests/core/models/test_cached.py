"""Attributes that are computed once for each object."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlxk_core._models.cached import cached_property
from mlxk_core.api.models import Model


class Slow:
    def __init__(self, gate: threading.Event | None = None) -> None:
        self.gate = gate
        self.count = 0

    @cached_property
    def value(self) -> int:
        """A value."""
        if self.gate is not None:
            assert self.gate.wait(60)
        self.count += 1
        return self.count


def test_many_threads_compute_a_value_once_and_wait_for_no_other_object():
    gate = threading.Event()
    slow, quick = Slow(gate), Slow()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(lambda: slow.value) for _ in range(3)]
        assert pool.submit(lambda: quick.value).result(60) == 1
        gate.set()
        assert [each.result(60) for each in waiting] == [1, 1, 1]
    assert Slow.value.__doc__ == "A value."


def test_a_model_is_read_while_other_threads_let_it_forget(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "x"}')
    model = Model(name="m", path=tmp_path)
    over = threading.Event()

    def forget() -> None:
        while not over.is_set():
            model.forget()

    with ThreadPoolExecutor(3) as pool:
        forgetting = [pool.submit(forget) for _ in range(2)]
        try:
            assert all(model.config["model_type"] == "x" for _ in range(3000))
        finally:
            over.set()
        for each in forgetting:
            each.result(60)
