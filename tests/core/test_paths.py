"""Paths that a user typed, and a user without a home folder."""

import os

import pytest

from mlxk_core.api.errors import MlxkError
from mlxk_core.api.models import cached_repositories, check_hub_cache
from mlxk_core.api.paths import NoHomeFolder, expand_user, is_file, is_folder, path_exists, replace_file, user_folder


@pytest.mark.parametrize("text", ["~no-such-account/x", "a" * 300, "\0", ""])
def test_what_cannot_be_a_path_does_not_exist(text):
    path = expand_user(text) if text else text
    assert not path_exists(path) and not is_file(path) and not is_folder(path)


def test_a_folder_of_the_user_is_the_variable_or_below_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "")
    assert user_folder("XDG_STATE_HOME", "~/.local/state") == tmp_path / ".local" / "state"
    monkeypatch.setenv("XDG_STATE_HOME", "~/mine")
    assert user_folder("XDG_STATE_HOME", "~/.local/state") == tmp_path / "mine"


def test_without_a_home_folder_there_are_no_settings_and_writing_names_the_variable(homeless, host):
    assert host.settings.file is None
    with pytest.raises(NoHomeFolder, match="XDG_STATE_HOME"):
        user_folder("XDG_STATE_HOME", "~/.local/state")


def test_without_a_home_folder_the_model_cache_is_empty_and_cannot_be_written(homeless):
    assert cached_repositories() == []
    with pytest.raises(NoHomeFolder, match="HF_HOME"):
        check_hub_cache()


def test_a_file_is_replaced_whole_or_not_at_all_and_a_link_to_it_stays(tmp_path):
    file, link = tmp_path / "own" / "settings.toml", tmp_path / "link.toml"
    link.symlink_to(file)
    replace_file(link, "one")
    file.chmod(0o600)
    replace_file(link, "zwei\u00fc")
    assert link.is_symlink() and file.read_bytes() == "zwei\u00fc".encode() and file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(MlxkError):
        replace_file(link, "x" * 1_000_000 + "\udcff")
    assert file.read_bytes() == "zwei\u00fc".encode() and list(file.parent.iterdir()) == [file]


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "folder" / "x").mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "folder", tmp_path / "pipe", tmp_path / "folder" / ("x" * 300)):
        with pytest.raises(MlxkError):
            replace_file(path, "text")
    assert list((tmp_path / "folder").iterdir()) == [tmp_path / "folder" / "x"]
