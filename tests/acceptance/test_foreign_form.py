"""A model of a form that only somebody's plugin knows: it is run, shown and listed like any other."""

from types import ModuleType

import pytest

import mlxk_models.plugin
import mlxk_run.plugin
from mlxk_core.api import BackendSpec, Verdict, hookimpl
from mlxk_testing.fake_engine import FakeEngine, Script
from mlxk_testing.tiny_models import in_hub_cache


def accepts(model):
    if model.config.get("model_type") != "echo":
        return Verdict.foreign("it is no echo.")
    return Verdict.yes() if (model.path / "echo.txt").is_file() else Verdict.no("echo.txt is missing.")


def load(model, context):
    said = (model.path / "echo.txt").read_text()
    return FakeEngine(Script(answer=lambda prompt: said), model.name)


def echo(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "echo", "architectures": ["EchoForCausalLM"]}')
    (folder / "echo.txt").write_text("Hello, hello.")


@pytest.fixture
def mlxk(host, cli):
    """`mlxk("list")`: the commands, and one backend whose models are a config.json and an echo.txt."""
    module = ModuleType("mlxk_echo")
    module.load = load
    module.mlxk_backends = hookimpl(
        lambda: [BackendSpec(name="echo", summary="Echoes.", accepts=accepts, target=load)],
        specname="mlxk_backends",
    )
    host.register(module, name="echo")
    host.register(mlxk_run.plugin, name="run")
    host.register(mlxk_models.plugin, name="models")
    return cli


def test_a_model_without_weights_that_mlxk_knows_runs_where_a_backend_accepts_it(mlxk):
    in_hub_cache("org/echo", echo)
    assert mlxk("run", "echo", "Hi").stdout == "Hello, hello.\n"
    shown = mlxk("show", "echo", "--json").json["data"]["model"]
    assert (shown["backend"], shown["reason"], shown["healthy"]) == ("echo", None, True)
    assert "org/echo" in mlxk("list").stdout
    assert mlxk("health", "echo").code == 0


def test_its_files_must_be_whole_all_the_same(mlxk):
    folder = in_hub_cache("org/echo", echo)
    (folder / "echo.txt").unlink()
    (folder / "echo.txt").symlink_to(folder / "gone")
    refused = mlxk("run", "echo", "Hi")
    assert refused.code == 1 and "echo.txt" in refused.stderr
    (folder / "echo.txt").unlink()
    (folder / "echo.txt").write_text("Hello.")
    (folder / "voice.incomplete").write_text("He")
    refused = mlxk("run", "echo", "Hi")
    assert refused.code == 1 and "voice.incomplete" in refused.stderr
    assert not mlxk("show", "echo", "--json").json["data"]["model"]["runnable"]


def test_where_no_backend_accepts_it_it_has_no_weights(mlxk):
    folder = in_hub_cache("org/echo", echo)
    (folder / "echo.txt").unlink()
    refused = mlxk("run", "echo", "Hi", "--json").json
    assert refused["error"]["type"] == "broken_model"
    [model] = mlxk("health", "echo", "--json").json["data"]["models"]
    assert "no_weights_found" in {problem["code"] for problem in model["problems"]}
