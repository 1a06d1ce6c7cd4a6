import os
from pathlib import Path

import mlxk_shelf
import pytest

from mlxk_core.api.errors import AmbiguousModel, ModelNotFound
from mlxk_core.api.models import Resolver
from mlxk_testing import assert_light, install_entry_points
from mlxk_testing.tiny_models import in_hub_cache, random_model


@pytest.fixture
def resolver(host, hub_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("MLXK_SHELF", str(tmp_path))
    host.register(mlxk_shelf, name="shelf")
    return Resolver(host)


def test_a_model_is_found_by_name(resolver, tmp_path):
    random_model(tmp_path / "toy")
    found = resolver.find("toy")
    assert (found.name, found.source, found.path) == ("toy", "shelf", tmp_path / "toy")
    assert [model.name for model in resolver.all()] == ["toy"]


def test_a_name_in_two_places_needs_its_origin(resolver, tmp_path):
    random_model(tmp_path / "toy")
    in_hub_cache("toy", random_model)
    with pytest.raises(AmbiguousModel) as caught:
        resolver.find("toy")
    assert set(caught.value.candidates) == {"hub:toy", "shelf:toy"}
    assert resolver.find("shelf:toy").source == "shelf"


def test_a_known_name_without_files_says_so(resolver, tmp_path):
    (tmp_path / "later.todo").touch()
    with pytest.raises(ModelNotFound, match="mlxk pull shelf:later"):
        resolver.find("later")


# --8<-- [start:pull]
def test_pull_copies_it(mlxk, hub_cache, tmp_path, tmp_path_factory):
    pytest.importorskip("mlxk_pull")
    origin = random_model(tmp_path_factory.mktemp("server") / "toy")
    (tmp_path / "later.todo").write_text(str(origin))
    plugins = tmp_path_factory.mktemp("plugins")
    install_entry_points(plugins, {"shelf": "mlxk_shelf"})  # not needed where it is installed
    here = str(Path(mlxk_shelf.__file__).parent)
    env = {"MLXK_SHELF": str(tmp_path), "PYTHONPATH": os.pathsep.join([str(plugins), here])}
    done = mlxk("pull", "shelf:later", "--json", env=env)
    assert done.json["data"]["status"] == "downloaded"
    assert sorted(path.name for path in (tmp_path / "later").iterdir()) == sorted(p.name for p in origin.iterdir())
    assert mlxk("pull", "shelf:later", "--dry-run", env=env).code == 2


# --8<-- [end:pull]


def test_without_a_shelf_there_is_nothing(host, hub_cache, monkeypatch):
    monkeypatch.delenv("MLXK_SHELF", raising=False)
    host.register(mlxk_shelf, name="shelf")
    assert Resolver(host).all() == []


def test_it_is_light():
    assert_light("mlxk_shelf")
