"""The engine of a GGUF file keeps the contract of every engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxk_core.api import Model
from mlxk_testing.engine_contract import CHECKS, Check, EngineHarness, describe


@pytest.fixture(scope="module")
def bench(quantized_file: Path) -> Iterator[EngineHarness]:
    from mlxk_gguf.engine import load

    with EngineHarness(load, Model(name="tiny", path=quantized_file)) as bench:
        yield bench


@pytest.mark.parametrize("check", CHECKS, ids=describe)
def test_the_engine_contract(bench: EngineHarness, check: Check):
    bench.run(check)
