"""Paths that a user typed, and a user without a home folder."""

import pytest

from mlxk_core.api.models import cached_repositories, check_hub_cache
from mlxk_core.api.paths import NoHomeFolder, expand_user, is_file, is_folder, path_exists, user_folder


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
