"""What a packager does: build a few of the distributions, install them alone, and get an answer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlxk_testing.tiny_models import scripted_model

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.packaging


@pytest.fixture(scope="module")
def alone(install):
    """An environment with core, the engine and run: what a packager ships who wants no more."""
    return install("mlxk-core", "mlxk-mlx", "mlxk-run")


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
    examples = {folder.name.replace("-", "_") for folder in (ROOT / "examples").iterdir()}
    built = [wheel for wheel in sorted(wheels.glob("*.whl")) if wheel.name.split("-")[0] not in examples]
    assert {project.parent.name for project in ROOT.glob("plugins/*/pyproject.toml")} <= {
        wheel.name.split("-")[0].removeprefix("mlxk_") for wheel in built
    }
    for wheel in built:
        listing = subprocess.run(
            [sys.executable, "-m", "zipfile", "-l", str(wheel)], capture_output=True, text=True, check=True
        ).stdout
        assert "LICENSE" in listing and "py.typed" in listing, wheel.name
