"""Results about a model that are computed again only when its files change."""

from __future__ import annotations

import gc
import os
import resource
import sys
import threading
import weakref
from contextlib import contextmanager

import pytest

from mlxk_core.api.errors import BrokenModel, SystemLimit
from mlxk_core.api.models import FileIdentityCache, Model, check_health, file_identity


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


def test_a_model_does_not_wait_for_the_first_look_at_another(model, tmp_path):
    (tmp_path / "other").mkdir()
    other, over, seen = Model(name="org/other", path=tmp_path / "other"), threading.Event(), []

    def compute(computed):
        if computed == model:
            seen.append(over.wait(180))
        return computed.name

    cache = FileIdentityCache(compute)
    slow = threading.Thread(target=cache.get, args=(model,))
    slow.start()
    assert cache.get(other) == "org/other"
    over.set()
    slow.join()
    assert seen == [True]


@contextmanager
def no_descriptors():
    """Let every attempt to open a file fail, as in a process with too many open ones."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_lack_of_descriptors_is_no_property_of_a_model(model, safetensors):
    (model.path / "model.safetensors").write_bytes(safetensors(8))
    identity = file_identity(model.path)
    caches = [FileIdentityCache(ask) for ask in (lambda m: m.config, lambda m: m.weights.headers, check_health)]
    for cache in caches:
        with no_descriptors(), pytest.raises(SystemLimit):
            cache.get(model)
        with no_descriptors(), pytest.raises(SystemLimit):
            cache.get(model, identity)
    assert model.config == {}
    assert [bool(cache.get(model)) for cache in caches] == [False, True, True]


def test_a_file_that_could_not_be_read_is_read_again(model):
    (model.path / "config.json").unlink()
    (model.path / "config.json").mkdir()
    cache = FileIdentityCache(lambda model: model.config)
    for _ in range(2):
        with pytest.raises(BrokenModel):
            assert model.config
    (model.path / "config.json").rmdir()
    (model.path / "config.json").write_text('{"a": 1}')
    assert model.config == cache.get(model) == {"a": 1}


def test_a_deleted_model_is_forgotten(cache, model, tmp_path):
    cache.get(model)
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF")
    cache.get(Model(name="other", path=other))
    other.unlink()
    cache.forget_deleted(keep=())
    assert [each.name for each in cache._results] == ["org/name"]


def test_a_single_file_has_an_identity(tmp_path):
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    before = file_identity(file)
    assert file_identity(file) == before
    file.write_bytes(b"GGUF2")
    assert file_identity(file) != before


def test_an_identity_is_small_whatever_the_names_of_the_files_are(tmp_path):
    """Those of 10,000 files took 41 MB, for each model of links to one folder."""
    below = tmp_path.joinpath(*["d" * 250] * 10)
    below.mkdir(parents=True)
    for number in range(1000):
        (below / f"{number}").touch()
    os.close(os.open(os.fsencode(below / "x") + b"\xff", os.O_CREAT))
    before = file_identity(tmp_path)
    assert sys.getsizeof(before) < 100
    assert file_identity(tmp_path) == before
    (below / "7").rename(below / "seven")
    assert file_identity(tmp_path) != before


def test_results_are_kept_for_a_bounded_number_of_models(cache, model):
    for number in range(21_000):
        cache.get(Model(name="org/name", path=model.path, revision=f"{number}"), b"identity")
    newest = Model(name="org/name", path=model.path, revision="20999")
    assert cache.get(newest, b"identity") == 21_000
    assert len(cache._results) <= 20_000


def test_an_error_keeps_nothing_of_what_was_read(model):
    class Read:
        """What was read of a file: megabytes."""

    def compute(model):
        read = Read()
        known.append(weakref.ref(read))
        try:
            raise ValueError("it is damaged")
        except ValueError as error:
            raise BrokenModel("The file is damaged.", model=model.name) from error

    known = []
    cache = FileIdentityCache(compute)
    for _ in range(3):
        with pytest.raises(BrokenModel, match="damaged"):
            cache.get(model)
    gc.collect()
    assert [read() for read in known] == [None]


def test_a_file_that_is_written_to_is_another_one_though_its_time_is_set_back(model):
    """As `rsync --times` and backup programs do."""
    cache = FileIdentityCache(lambda model: model.config)
    file = model.path / "config.json"
    file.write_text('{"a": 1}')
    model.note_versions()
    assert cache.get(model) == {"a": 1}
    status = file.stat()
    file.write_text('{"a": 2}')
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cache.get(model) == {"a": 2}
    with pytest.raises(BrokenModel, match="changed while"):
        model.check_unchanged()


def test_a_fault_of_ours_is_an_error_of_that_model(model, caplog):
    """One model whose files it does not expect made the list of all models fail."""
    cache = FileIdentityCache(lambda model: {[]: model})
    for _ in range(2):
        with pytest.raises(BrokenModel, match="cannot be examined"):
            cache.get(model)
    assert len([record for record in caplog.records if record.exc_info]) == 1
