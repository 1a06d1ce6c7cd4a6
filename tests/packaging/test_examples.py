"""The example plugins, built as wheels and installed together in an environment of their own, pass their own tests."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/pyproject.toml"))

pytestmark = pytest.mark.packaging


@pytest.fixture(scope="module")
def environment(install):
    """The executables of an environment with every example, the engine, the server and the kit."""
    return install(
        "mlxk-mlx", "mlxk-serve", "mlxk-pull", "mlxk-launch", "mlxk-testing", *(folder.name for folder in EXAMPLES)
    )


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_an_example_passes_its_own_tests(environment, folder, tmp_path):
    command = [environment / "python", "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", folder / "tests"]
    done = subprocess.run(
        [*command, "--rootdir", tmp_path, "-c", "/dev/null"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def test_all_of_them_together_pass_the_deep_check(environment, tmp_path):
    done = subprocess.run(
        [environment / "mlxk", "plugins", "--check"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_kind_of_plugin_has_an_example_and_a_tutorial():
    from mlxk_core._host.hookspecs import HookSpecs

    sources = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("examples/*/mlxk_*/*.py"))
    sources += "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("examples/*/mlxk_*.py"))
    pages = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("docs/plugins/tutorials/*.md"))
    for hook in vars(HookSpecs):
        if hook.startswith("mlxk_"):
            assert f"def {hook}(" in sources, hook
    for folder in EXAMPLES:
        assert folder.name in pages, folder.name
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert re.fullmatch(r"mlxk-[a-z-]+", project["name"])
