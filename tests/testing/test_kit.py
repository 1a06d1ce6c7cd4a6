"""The kit as a plugin's author gets it: installed, without configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from mlxk_testing import install_entry_points

_PROJECT = '''
from mlxk_core.api import CommandSpec, ServerExtensionSpec, hookimpl
import click


@click.command()
def hello():
    """Say hello."""
    click.echo("Hello!")


class Greeting:
    def on_get(self, req, resp):
        resp.media = {"text": "Hello!"}


def extend(server):
    server.add_route("/hello", Greeting())


@hookimpl
def mlxk_commands():
    yield CommandSpec(name="hello", summary="Say hello.", target=f"{__name__}:hello")


@hookimpl
def mlxk_server_extensions():
    yield ServerExtensionSpec(name="greeting", summary="Says hello.", target=f"{__name__}:extend")
'''

_TESTS = """
import my_plugin
from mlxk_testing import assert_light
from mlxk_testing.tiny_models import in_hub_cache, scripted_model


def test_command(host, cli):
    host.register(my_plugin, name="mine")
    assert cli("hello").stdout == "Hello!\\n"


def test_light():
    assert_light("my_plugin")


def test_model(hub_cache, mlxk):
    in_hub_cache("org/says-hello", lambda folder: scripted_model(folder, "Hello there."))
    assert mlxk("run", "org/says-hello", "Hi").stdout == "Hello there.\\n"


def test_extension(server):
    in_hub_cache("org/says-hello", lambda folder: scripted_model(folder, "Hello there."))
    running = server(plugins={"mine": "my_plugin"})
    assert running.get("/hello").json == {"text": "Hello!"}
    assert running.get("/nothing").status == 404
    body = {"model": "org/says-hello", "messages": [{"role": "user", "content": "Hi"}]}
    answer = running.post("/v1/chat/completions", body)
    assert answer.json["choices"][0]["message"]["content"] == "Hello there."
"""


def test_a_project_without_configuration_has_the_fixtures(tmp_path):
    pytest.importorskip("mlxk_serve")
    pytest.importorskip("mlxk_mlx")
    (tmp_path / "my_plugin.py").write_text(_PROJECT)
    (tmp_path / "test_mine.py").write_text(_TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_an_installed_plugin_is_not_added_twice(tmp_path):
    installed = next(iter(entry_points(group="mlxk")), None)
    given = {"mine": "my_package.plugin"} | ({installed.name: installed.value} if installed else {})
    install_entry_points(tmp_path, given)
    [text] = [path.read_text() for path in tmp_path.glob("*.dist-info/entry_points.txt")]
    assert text == "[mlxk]\nmine = my_package.plugin\n"
