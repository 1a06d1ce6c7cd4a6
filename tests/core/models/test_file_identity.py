"""Results about a model that are computed again only when its files change."""

from __future__ import annotations

import os
import threading

import pytest

from mlxk_core.api.errors import BrokenModel
from mlxk_core.api.models import FileIdentityCache, Model, file_identity


@pytest.fixture
def model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "part.gguf").write_bytes(b"1234")
    return Model(name="org/name", path=tmp_path)


@pytest.fixture
def computed():
    return []


@pytest.fixture
def cache(computed):
    def compute(model):
        computed.append(model.name)
        assert model.config is not None
        return len(computed)

    return FileIdentityCache(compute)


def test_a_result_is_kept_until_a_file_changes_also_below_a_folder(cache, model, computed):
    assert [cache.get(model), cache.get(Model(name="org/name", path=model.path))] == [1, 1]
    (model.path / "sub" / "part.gguf").write_bytes(b"12345")
    assert [cache.get(model), cache.get(model)] == [2, 2]
    (model.path / ".cache").mkdir()
    assert cache.get(model) == 2
    (model.path / "gone").symlink_to("nowhere")
    os.mkfifo(model.path / "pipe")
    assert [cache.get(model), cache.get(model)] == [3, 3]


def test_what_is_read_of_a_model_is_not_kept(cache, model):
    cache.get(model)
    assert "config" not in vars(model)
    assert all("config" not in vars(each) for each in cache._results)


def test_a_damaged_model_is_read_once(model, computed):
    def compute(model):
        computed.append(model.name)
        return model.config

    (model.path / "config.json").write_text("{")
    cache = FileIdentityCache(compute)
    for _ in range(2):
        with pytest.raises(BrokenModel, match=r"config\.json"):
            cache.get(model)
    assert computed == ["org/name"]
    (model.path / "config.json").write_text("{ }")
    assert cache.get(model) == {}


def test_files_that_are_gone_are_an_error_without_their_path(cache, model, tmp_path):
    gone = Model(name="org/gone", path=tmp_path / "gone")
    with pytest.raises(BrokenModel) as error:
        cache.get(gone)
    assert str(tmp_path) not in str(error.value)


def test_several_threads_compute_a_result_once(model, computed):
    go_on = threading.Event()

    def compute(model):
        computed.append(model.name)
        assert go_on.wait(180)
        return len(computed)

    cache, results = FileIdentityCache(compute), []
    threads = [threading.Thread(target=lambda: results.append(cache.get(model))) for _ in range(8)]
    for thread in threads:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert results == [1] * 8


def test_a_deleted_model_is_forgotten(cache, model, tmp_path):
    cache.get(model)
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF")
    cache.get(Model(name="other", path=other))
    other.unlink()
    cache.forget_deleted(keep=())
    assert [each.name for each in cache._results] == ["org/name"]


def test_a_single_file_has_an_identity(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    [(name, _, size, _)] = file_identity(tmp_path / "m.gguf")
    assert (name, size) == ("", 4)
