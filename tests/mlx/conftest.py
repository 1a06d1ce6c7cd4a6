"""What the tests of the mlx backend share: loading a model on an engine thread, and one answer of it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlxk_core._generation.engine import Engine, Row
from mlxk_core._generation.request import Sampling
from mlxk_core._models.model import Model
from mlxk_mlx.loading import runtime
from mlxk_mlx.loading.load import load
from mlxk_testing.engine_contract import GREEDY, EngineHarness, Outcome, drive
from mlxk_testing.tiny_models import random_model


@pytest.fixture
def bench():
    """`with bench(folder) as engine_bench:` loads the model in `folder`."""

    def make(folder: Path, **options: Any) -> EngineHarness:
        return EngineHarness(load, Model(name=folder.name, path=folder), **options)

    return make


@pytest.fixture
def answer():
    """`answer(engine, "text")` is the outcome of one row, cached tokens and all."""

    def ask(engine: Engine, text: str, *, max_tokens: int = 60, sampling: Sampling = GREEDY) -> Outcome:
        prompt = engine.tokenizer.encode(text, add_special_tokens=False)
        row = Row(id=1, prompt=prompt, max_tokens=max_tokens, sampling=sampling, stop_tokens=engine.native_stops)
        return drive(engine, [row])[1]

    return ask


@pytest.fixture
def edit() -> Callable[..., None]:
    """`edit(file, key=value)` changes a JSON file; `...` as a value takes the key away."""

    def change(path: Path, **values: Any) -> None:
        merged = {**json.loads(path.read_text()), **values}
        path.write_text(json.dumps({key: value for key, value in merged.items() if value is not ...}))

    return change


@pytest.fixture
def network() -> Callable[..., Path]:
    """`network(folder, model_type="dots1", …)` writes a model with the random weights of mlx-lm's own network."""

    def write(folder: Path, **config: Any) -> Path:
        runtime.start()
        mlx, flatten = importlib.import_module("mlx.core"), importlib.import_module("mlx.utils").tree_flatten
        module = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
        random_model(folder)
        mlx.random.seed(14)
        built = module.Model(module.ModelArgs.from_dict(config))
        mlx.save_safetensors(str(folder / "model.safetensors"), dict(flatten(built.parameters())))
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return write
