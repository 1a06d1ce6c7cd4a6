import pytest

import mlxk_hello
from mlxk_testing import assert_light


@pytest.fixture
def hello(host, cli):
    host.register(mlxk_hello, name="hello")
    return lambda *args: cli("hello", *args)


def test_it_greets(hello):
    assert hello().stdout == "Hello, world!\n"
    assert hello("you", "--json").json["data"] == {"greeting": "Hello, you!"}


def test_the_settings_say_how(hello, tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text('[hello]\nword = "Hi"\nrepeat = 2\n')
    monkeypatch.setenv("MLXK_CONFIG", str(tmp_path / "config.toml"))
    assert hello().stdout == "Hi, Hi, world!\n"


def test_a_wrong_setting_names_its_line(hello, tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text("[hello]\nrepeat = 9\n")
    monkeypatch.setenv("MLXK_CONFIG", str(tmp_path / "config.toml"))
    done = hello("--json")
    assert done.code == 2
    assert "repeat" in done.json["error"]["message"]


def test_it_is_light():
    assert_light("mlxk_hello")
