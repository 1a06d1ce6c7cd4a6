"""What a packager does: build a few of the distributions, install them alone, and get an answer."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlxk_testing.tiny_models import scripted_model

ROOT = Path(__file__).parents[2]
UV = shutil.which("uv") or os.environ.get("UV")

pytestmark = [
    pytest.mark.packaging,
    pytest.mark.skipif(UV is None, reason="uv makes the environments of these tests"),
]


def uv(*args, **options):
    done = subprocess.run([UV, *map(str, args)], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Wheels of core, the engine and run: what a packager ships who wants no more."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in (ROOT, ROOT / "plugins/mlx", ROOT / "plugins/run"):
        uv("build", "--wheel", "--out-dir", folder, project)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def alone(wheels, tmp_path_factory):
    """The folder of executables of an environment with nothing but those wheels and what they ask for."""
    folder = tmp_path_factory.mktemp("alone") / "venv"
    uv("venv", "--python", sys.executable, folder)
    python = folder / "bin" / "python"
    uv("pip", "install", "--python", python, "--constraint", ROOT / "constraints.txt", *wheels)
    uv("pip", "check", "--python", python)
    return folder / "bin"


def test_core_engine_and_run_alone_give_an_answer(alone, tmp_path):
    folder = tmp_path / "talker"
    scripted_model(folder, says="Good morning.")
    done = subprocess.run(
        [alone / "mlxk", "run", folder, "Hi"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Good morning.\n", "")


def test_nothing_asks_for_the_plugins_that_were_not_shipped(alone, tmp_path):
    done = subprocess.run(
        [alone / "mlxk", "plugins", "--check", "--json"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0
    names = {plugin["name"] for plugin in json.loads(done.stdout)["data"]["plugins"]}
    assert names == {"mlx", "run"}
    missing = subprocess.run([alone / "mlxk", "serve"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert missing.returncode == 2 and "mlxk-serve" in missing.stderr


def test_every_wheel_carries_its_licence_and_says_that_it_is_typed(wheels):
    for wheel in wheels:
        listing = subprocess.run(
            [sys.executable, "-m", "zipfile", "-l", str(wheel)], capture_output=True, text=True, check=True
        ).stdout
        assert "LICENSE" in listing and "py.typed" in listing, wheel.name
