"""The hub cache is found where huggingface_hub has it, and each name stands for the snapshot that refs/main names."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlxk_core._errors import InvalidOption, RevisionNotFound
from mlxk_core._models import cache
from mlxk_core._models.revisions import local_commit

OLD, NEW = "a" * 40, "b" * 40


def repository(hub: Path, name: str, *commits: str, **refs: str) -> cache.Repository:
    folder = hub / cache.cache_folder_name(name)
    for age, commit in enumerate(reversed(commits)):
        (folder / "snapshots" / commit).mkdir(parents=True)
        os.utime(folder / "snapshots" / commit, (1_000_000 - age, 1_000_000 - age))
    for ref, commit in refs.items():
        path = folder / "refs" / ref.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)
    return cache.Repository(name, folder)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"HF_HUB_CACHE": "/somewhere/cache"},
        {"HF_HUB_CACHE": "~/cache", "HF_HOME": "/home-of-hf"},
        {"HF_HUB_CACHE": "$BASE/cache", "BASE": "/base"},
        {"HF_HUB_CACHE": "${BASE}/cache", "BASE": "~"},
        {"HUGGINGFACE_HUB_CACHE": "~/legacy", "HF_HOME": "/home-of-hf"},
        {"HUGGINGFACE_HUB_CACHE": "/legacy", "HF_HUB_CACHE": "/new"},
        {"HF_HOME": "/home-of-hf"},
        {"HF_HOME": "$BASE/hf", "BASE": "/base"},
        {"XDG_CACHE_HOME": "/xdg"},
        {"XDG_CACHE_HOME": "~/xdg"},
        {"XDG_CACHE_HOME": "/xdg", "HF_HOME": "relative/hf"},
    ],
    ids=lambda environment: ",".join(f"{key}={value}" for key, value in environment.items()) or "nothing set",
)
def test_the_cache_is_where_huggingface_hub_says(environment, monkeypatch, tmp_path):
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGINGFACE_", "XDG_"))}
    clean |= {"HOME": str(tmp_path), **environment}
    said = subprocess.run(
        [sys.executable, "-c", "from huggingface_hub import constants; print(constants.HF_HUB_CACHE, end='')"],
        env=clean, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for key in os.environ:
        monkeypatch.delenv(key)
    for key, value in clean.items():
        monkeypatch.setenv(key, value)
    assert cache.hub_cache() == Path(said)


def test_asking_for_the_cache_imports_no_huggingface_hub():
    code = "import sys, mlxk_core._models.cache as c; c.hub_cache(); print('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("name", ["org/name", "gpt2", "org/my-model_v1.0"])
def test_a_name_and_its_folder_lead_to_each_other(name):
    assert cache.repository_name(cache.cache_folder_name(name)) == name


def test_a_damaged_folder_name_is_shown_as_it_is():
    assert cache.repository_name("models--a--b---c") == "a/b---c"
    assert cache.repository_name("models--") is None
    assert cache.repository_name("datasets--a--b") is None


def test_refs_main_names_the_snapshot_even_when_another_is_newer(tmp_path):
    assert repository(tmp_path, "org/m", OLD, NEW, main=OLD).main() == OLD


def test_refs_main_holds_when_its_files_are_not_here(tmp_path):
    assert repository(tmp_path, "org/m", OLD, main=NEW).main() == NEW


def test_without_refs_main_the_newest_snapshot_counts(tmp_path):
    assert repository(tmp_path, "org/m", OLD, NEW).main() == NEW
    assert repository(tmp_path, "org/n", NEW, OLD).main() == OLD


def test_snapshots_of_the_same_age_are_chosen_from_without_chance(tmp_path):
    one = repository(tmp_path, "org/m", OLD, NEW)
    for commit in (OLD, NEW):
        os.utime(one.snapshot(commit), (5, 5))
    assert one.main() == NEW


def test_without_any_snapshot_a_name_resolves_to_nothing(tmp_path):
    assert repository(tmp_path, "org/m").main() is None


def test_branches_tags_and_pull_requests_are_refs(tmp_path):
    one = repository(tmp_path, "org/m", OLD, NEW, main=OLD, **{"v1.0": NEW, "refs__pr__3": NEW})
    assert one.refs() == {"main": OLD, "refs/pr/3": NEW, "v1.0": NEW}
    assert one.commits() == (OLD, NEW)


def test_everything_else_in_the_cache_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository(tmp_path, "org/b", OLD)
    repository(tmp_path, "org/a", OLD)
    (tmp_path / ".locks" / "models--org--a").mkdir(parents=True)
    (tmp_path / "datasets--org--d").mkdir()
    (tmp_path / "CACHEDIR.TAG").write_text("")
    (tmp_path / "models--org--file").write_text("")
    assert [one.name for one in cache.cached_repositories()] == ["org/a", "org/b"]


def test_a_cache_that_is_not_there_is_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "nowhere"))
    assert cache.cached_repositories() == []


@pytest.mark.parametrize("text", ["../../..", "/etc", ".", "..", "a\0b", "x" * 5000, "é"])
def test_a_reference_that_could_be_no_commit_counts_for_nothing(tmp_path, text):
    found = repository(tmp_path, "org/name", NEW, main=text)
    assert (found.main(), found.refs()) == (NEW, {})


def test_a_folder_of_large_or_many_references_is_read_in_no_time(tmp_path):
    """Each request for an unknown revision reads them: 1,500 links to one file of 4 MB took a minute."""
    found = repository(tmp_path, "org/name", NEW, main=NEW)
    folder = found.path / "refs"
    (folder / "0").write_text(NEW + " " * 4_000_000)
    for number in range(3000):
        (folder / f"large{number}").hardlink_to(folder / "0")
    began = time.monotonic()
    assert set(found.refs()) <= {"main"}
    assert time.monotonic() - began < 5
    for number in range(3000):
        (folder / f"small{number}").write_text(NEW)
    assert len(found.refs()) <= 1000


def test_a_repository_of_very_many_snapshots_is_read_in_part(tmp_path):
    """Each request for any model reads their names: 300,000 links took 15 s and more."""
    found = repository(tmp_path, "org/name", "f" * 40, main="f" * 40)
    for number in range(3000):
        found.snapshot(f"{number:040}").symlink_to("f" * 40)
    for number in range(3000):
        (found.path / "snapshots" / f".{number}").symlink_to("f" * 40)
    assert 0 < len(found.commits()) <= 1000
    assert found.has_snapshots()
    assert local_commit(found, None) == local_commit(found, "main") == local_commit(found, "F" * 40) == "f" * 40
    assert local_commit(found, f"{2999:040}") == f"{2999:040}"
    with pytest.raises(RevisionNotFound) as error:
        local_commit(found, "v1")
    assert len(str(error.value)) < 1000


def test_a_cache_of_very_many_folders_is_read_in_part(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository(tmp_path, "org/a", OLD)
    for number in range(12_000):
        (tmp_path / f"models--org--{number}").symlink_to("models--org--a")
    assert 0 < len(cache.cached_repositories()) <= 10_000


def test_very_many_blobs_are_looked_at_in_part(tmp_path):
    found = repository(tmp_path, "org/name", OLD)
    (found.path / "blobs").mkdir()
    (found.path / "blobs" / "b.incomplete").write_text("12")
    (found.path / "blobs" / "a.incomplete").write_text("1")
    assert found.partial_downloads() == (1, 2)
    for number in range(25_000):
        (found.path / "blobs" / f"{number}.incomplete").symlink_to("a.incomplete")
    assert len(found.partial_downloads()) < 25_000


def test_an_empty_variable_counts_as_unset(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", "")
    monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", "")
    monkeypatch.setenv("HF_HOME", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.hub_cache() == tmp_path / "huggingface" / "hub"


@pytest.mark.parametrize("name", ["HF_HOME", "HF_HUB_CACHE"])
def test_a_file_in_the_place_of_the_cache_is_an_error_that_names_the_variable(monkeypatch, tmp_path, name):
    for each in cache.CACHE_VARIABLES:
        monkeypatch.delenv(each, raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(name, str(tmp_path / "file" / "deep"))
    with pytest.raises(InvalidOption, match=name):
        cache.cached_repositories()
