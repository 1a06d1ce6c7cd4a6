"""Subsets of the distributions work: installed from wheels, each runs its own tests and skips all others.

The wheels come first on the path: the repository is there only for the test files and the pages they read.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAST = "not smollm2 and not packaging and not clients"
TRIMS = {
    "core": (["mlxk-core"], ["tests/core"]),
    "core+models": (["mlxk-models"], ["tests/models"]),
    "core+pull+models": (["mlxk-pull", "mlxk-models"], ["tests/pull/test_selection.py", "tests/pull/test_pull.py"]),
    "core+mlx+run": (["mlxk-mlx", "mlxk-run"], ["tests/run/test_single.py", "tests/run/test_prompt.py"]),
    "core+mlx+serve+reasoning": (
        ["mlxk-mlx", "mlxk-serve", "mlxk-reasoning"],
        ["tests/serve/test_chat.py", "tests/reasoning/test_cases.py"],
    ),
}

pytestmark = pytest.mark.packaging


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        python,
        "-P",
        "-m",
        "pytest",
        "-o",
        "pythonpath=",
        "-o",
        "addopts=--import-mode=importlib --strict-markers",
        "-p",
        "no:cacheprovider",
        "-q",
        "-m",
        FAST,
        *arguments,
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("trim", TRIMS)
def test_the_tests_of_a_subset_pass_with_only_that_subset(trim: str, install: Callable[..., Path]) -> None:
    distributions, tests = TRIMS[trim]
    python = install(*distributions, "mlxk-testing[tests]") / "python"
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (Path(packages) / "the_tests.pth").write_text(f"{ROOT}\n")

    collected = run(python, "--collect-only", "tests")
    assert collected.returncode == 0, collected.stdout[-3000:]
    done = run(python, *tests)
    assert done.returncode == 0, done.stdout[-3000:]


def test_everything_together_passes_its_own_check(install: Callable[..., Path]) -> None:
    mlxk = install("mlxk[full]") / "mlxk"
    checked = subprocess.run([mlxk, "plugins", "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
