import json

import mlxk_ternary
import pytest

from mlxk_core.api.models import Model
from mlxk_testing import assert_light
from mlxk_testing.tiny_models import random_model


@pytest.fixture
def model(tmp_path):
    folder = random_model(tmp_path / "ternary")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "ternary"}}))
    return Model(name="ternary", path=folder)


def test_it_is_shown(host, model):
    host.register(mlxk_ternary, name="ternary")
    [found] = host.quantizations(model)
    assert (found.method, found.bits, found.label) == ("ternary", 1.58, "ternary (not packed)")
    assert found.notes


def test_other_models_are_none_of_its_business(host, tmp_path):
    host.register(mlxk_ternary, name="ternary")
    assert host.quantizations(Model(name="plain", path=random_model(tmp_path / "plain"))) == []


def test_it_is_light():
    assert_light("mlxk_ternary")
