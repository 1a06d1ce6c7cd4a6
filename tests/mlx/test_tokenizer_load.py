"""Tokenizers that are read while a model is loaded: they end with a load that fails or is given up."""

from __future__ import annotations

import textwrap
import time

import pytest

from mlxk_core.api.errors import EngineFailure, Interrupted
from mlxk_core.api.models import Model
from mlxk_mlx.engine.tokenizer_process import load_in_process
from mlxk_mlx.loading.tokenizer_load import TokenizerLoad
from mlxk_testing.tiny_models import random_model

TARGET = "mlxk_mlx.loading.tokenizer_files:read_tokenizer"
ENDLESS = """
    import time


    def read(model):
        (model.path / "entered").touch()
        time.sleep(3600)
"""


class LoadFailed(Exception):
    pass


@pytest.fixture
def model(tmp_path):
    return Model(name="tiny", path=random_model(tmp_path / "tiny"))


def test_a_loaded_tokenizer_ends_with_a_load_that_fails(model):
    with pytest.raises(LoadFailed), TokenizerLoad(lambda waiting: load_in_process(model, TARGET, waiting)) as load:
        tokenizer = load.result(lambda: None).adapt(300)
        assert tokenizer.encode("ab", add_special_tokens=False) == [97, 98]
        raise LoadFailed
    with pytest.raises(EngineFailure):
        tokenizer.encode("ab", add_special_tokens=False)


def test_the_tokenizer_of_a_load_that_goes_well_stays(model):
    with TokenizerLoad(lambda waiting: load_in_process(model, TARGET, waiting)) as load:
        tokenizer = load.result(lambda: None).adapt(300)
    assert tokenizer.encode("ab", add_special_tokens=False) == [97, 98]
    tokenizer.close()


def test_a_tokenizer_that_is_read_without_end_does_not_hold_up_the_next_load(model, tmp_path, monkeypatch):
    (tmp_path / "endless_reader.py").write_text(textwrap.dedent(ENDLESS))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        pytest.raises(LoadFailed),
        TokenizerLoad(lambda waiting: load_in_process(model, "endless_reader:read", waiting)) as first,
    ):
        while not (model.path / "entered").exists():
            time.sleep(0.01)
        raise LoadFailed
    with TokenizerLoad(lambda waiting: load_in_process(model, TARGET, waiting)) as load:
        tokenizer = load.result(lambda: None).adapt(300)
    with pytest.raises(Interrupted):
        first.result(lambda: None)
    tokenizer.close()


def test_one_tokenizer_is_read_at_a_time(model):
    ended = []

    def load(waiting):
        while not ended:
            waiting()
            time.sleep(0.01)
        return load_in_process(model, TARGET, waiting)

    with pytest.raises(LoadFailed), TokenizerLoad(load) as first, TokenizerLoad(load) as second:
        raise LoadFailed
    for each in (first, second):
        with pytest.raises(Interrupted):
            each.result(lambda: None)
    ended.append(True)
    with TokenizerLoad(load) as third:
        third.result(lambda: None).close()
