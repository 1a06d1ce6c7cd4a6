"""What to do next is told with what is installed: here some of our own plugins, the others turned off."""

import contextlib
import ctypes
import signal
import sys

import pytest

from mlxk_testing.tiny_models import in_hub_cache, random_model


@pytest.fixture
def only(mlxk):
    """`only("run")("run", "x")`: a process with these of our plugins."""
    ours = {"run", "serve", "pull", "push", "models", "mlx", "gguf", "reasoning", "smollm2"}
    return lambda *kept: lambda *args: mlxk(*args, env={"MLXK_DISABLE_PLUGINS": ",".join(ours - {*kept})})


def test_a_backend_that_is_turned_off_is_not_to_be_installed(only):
    in_hub_cache("org/tiny", random_model)
    refused = only("run")("run", "tiny", "Hi")
    assert refused.code == 1
    assert "mlxk-mlx, which MLXK_DISABLE_PLUGINS turns off" in refused.stderr


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


@pytest.fixture
def without_openblas(tmp_path):
    """The environment of a Linux machine that has none."""
    if sys.platform != "linux":
        pytest.skip("macOS has a BLAS of its own")
    mx = pytest.importorskip("mlx.core")
    if mx.default_device().type != mx.DeviceType.cpu:
        pytest.skip("MLX does not compute on the CPU here")
    with contextlib.suppress(OSError):
        ctypes.CDLL("libopenblas.so.0")
        pytest.skip("this machine's own OpenBLAS serves as well")
    (tmp_path / "mlxk_openblas.py").write_text("raise ImportError")
    return {"PYTHONPATH": str(tmp_path)}


def test_a_verbose_run_says_that_openblas_is_missing(mlxk, without_openblas):
    in_hub_cache("org/tiny", random_model)
    run = ("run", "tiny", "Hi", "--max-tokens", "1")
    assert mlxk(*run, "--verbose", env=without_openblas).stderr.count("Install mlxk-openblas") == 1
    assert "openblas" not in mlxk(*run, env=without_openblas).stderr
    assert "openblas" not in mlxk(*run, "--verbose").stderr


def test_a_server_says_that_openblas_is_missing(mlxk, without_openblas):
    in_hub_cache("org/tiny", random_model)
    server = mlxk.start("serve", "--port", "0", "--model", "org/tiny", env=without_openblas)
    assert "Listening on" in server.stdout.readline()
    server.send_signal(signal.SIGINT)
    assert "Install mlxk-openblas" in server.communicate()[1]
