"""Wheels of every distribution, built once, and environments that have some of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = os.environ.get("UV") or shutil.which("uv")


def uv(*arguments: object) -> str:
    if UV is None:
        pytest.skip("uv makes the environments of these tests")
    done = subprocess.run([UV, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of all distributions."""
    folder = tmp_path_factory.mktemp("wheels")
    uv("build", "--quiet", "--all-packages", "--wheel", "--out-dir", folder)
    return folder


@pytest.fixture(scope="module")
def install(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """`install("mlxk-core", ...)`: the folder of executables of a fresh environment with just these and their needs.

    It is deleted when another one is made, and when the module ends: each takes up to a gigabyte.
    """
    made: list[Path] = []

    def make(*requirements: str) -> Path:
        remove(made)
        folder = tmp_path_factory.mktemp("environment") / "venv"
        made.append(folder)
        uv("venv", "--quiet", "--python", sys.executable, folder)
        python = folder / "bin" / "python"
        pins = ["--constraint", ROOT / "constraints.txt", "--find-links", wheels]
        uv("pip", "install", "--quiet", "--python", python, *pins, *requirements)
        uv("pip", "check", "--quiet", "--python", python)
        return folder / "bin"

    yield make
    remove(made)


def remove(folders: list[Path]) -> None:
    while folders:
        shutil.rmtree(folders.pop(), ignore_errors=True)
