import json

import pytest
from mlxk_nano.plugin import SPEC

from mlxk_core.api.models import Model
from mlxk_testing import assert_light, check_engine
from mlxk_testing.tiny_models import random_model


@pytest.fixture
def model(tmp_path):
    """A folder with the tokenizer of a tiny model, and random weights of this network."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlxk_nano.network import build

    folder = random_model(tmp_path / "nano")
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    config = {"model_type": "nano", "hidden_size": 32, "heads": 2, "layers": 2, "vocab_size": vocabulary}
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    mx.random.seed(3)
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(build(config).parameters())))
    return Model(name="nano", path=folder)


def test_the_engine_does_what_it_claims(model):
    check_engine(SPEC, model)


def test_the_plugin_is_light():
    assert_light("mlxk_nano.plugin")
