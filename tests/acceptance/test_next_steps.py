"""What to do next is told with what is installed: here some of our own plugins, the others turned off."""

import pytest

from mlxk_core.testing.models import in_hub_cache, random_model


@pytest.fixture
def only(mlxk):
    """`only("run")("run", "x")`: a process with these of our plugins."""
    ours = {"run", "serve", "pull", "push", "models", "mlx", "gguf", "reasoning", "smollm2"}
    return lambda *kept: lambda *args: mlxk(*args, env={"MLXK_DISABLE_PLUGINS": ",".join(ours - {*kept})})


def test_a_backend_that_is_turned_off_is_not_to_be_installed(only):
    in_hub_cache("org/tiny", random_model)
    refused = only("run")("run", "tiny", "Hi")
    assert refused.code == 1
    assert "there is no backend. Folders with safetensors run with mlxk-mlx, which MLXK_DISABLE_PLUGINS turns off." in (
        refused.stderr
    )


def test_a_gguf_file_names_the_plugin_that_runs_it(only, tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    refused = only("run", "mlx")("run", str(tmp_path / "tiny.gguf"), "Hi")
    assert refused.code == 1
    assert "GGUF files run with mlxk-gguf, which MLXK_DISABLE_PLUGINS turns off." in refused.stderr


def test_so_does_a_repository_of_several(only):
    folder = in_hub_cache("org/tiny-GGUF", random_model)
    (folder / "model.safetensors").unlink()
    for variant in ("Q4_0", "Q8_0"):
        (folder / f"tiny-{variant}.gguf").write_bytes(b"GGUF")
    assert "GGUF files run with mlxk-gguf, which" in only("run", "mlx")("run", "tiny-GGUF", "Hi").stderr


def test_a_model_that_is_not_here_is_told_with_the_commands_that_are(only):
    assert "mlxk" not in only("run")("run", "org/nope", "Hi").stderr.removeprefix("mlxk run")
    assert "`mlxk pull org/nope`" in only("run", "pull")("run", "org/nope", "Hi").stderr
    with_both = only("run", "models", "pull")("run", "nope", "Hi").stderr
    assert "mlxk list --all" in with_both and "mlxk pull ORG/NAME" in with_both
