"""Tests of a subset pass with only that subset installed: those that need another distribution are skipped.

A test file needs what its folder is about, what it imports at module level, and what the marker `needs` of a test
names. If something is missing, the folder or file is collected as one skipped test that names it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# Folders whose tests drive processes that need more than they import.
FOLDERS = {
    "apis": ("mlx", "serve", "messages", "ollama", "responses", "embeddings"),
    "config": ("config",),
    "convert": ("convert", "mlx", "models", "run"),
    "launch": ("launch", "serve", "mlx"),
    "service": ("service", "serve", "mlx"),
    "structured": ("structured", "mlx", "serve"),
    "survival": ("serve", "mlx"),
    "acceptance": ("mlx", "gguf", "models", "pull", "run", "serve", "smollm2", "reasoning"),
    "clients": ("mlx", "serve", "smollm2"),
    "gguf": ("gguf", "run"),
    "mlx": ("mlx", "run"),
    "models": ("models",),
    "pull": ("pull", "models"),
    "push": ("push",),
    "reasoning": ("reasoning", "mlx"),
    "run": ("run", "mlx"),
    "serve": ("serve", "mlx"),
    "smollm2": ("smollm2", "gguf", "run"),
}


# They are about the repository, and skipped where the tests come from the sdist of mlxk-core.
OF_THE_REPOSITORY = (
    "clients",
    "packaging",
    "core/test_docs.py",
    "core/test_environment_docs.py",
    "core/test_language.py",
    "core/test_layout.py",
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*names): needs the distributions mlxk-NAME; skipped where one is missing")


def pytest_runtest_setup(item: pytest.Item) -> None:
    lacking = [name for marker in item.iter_markers("needs") for name in marker.args if not installed(f"mlxk_{name}")]
    if lacking:
        pytest.skip(_reason([f"mlxk_{name}" for name in lacking]))


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    lacking = _missing(module_path) or _missing_repository(module_path)
    return _Skipped.from_parent(parent, path=module_path, lacking=lacking) if lacking else None


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if path.parent != TESTS:
        return None
    needed = {f"mlxk_{name}" for name in FOLDERS.get(path.name, ())} | _imported(path / "conftest.py")
    lacking = sorted(name for name in needed if not installed(name)) or _missing_repository(path)
    return _Skipped.from_parent(parent, path=path, lacking=lacking) if lacking else None


class _Skipped(pytest.File):
    """A folder or file whose tests cannot run here."""

    def __init__(self, *, lacking: list[str], **named: object) -> None:
        super().__init__(**named)  # type: ignore[arg-type]
        self._lacking = lacking

    def collect(self) -> Iterator[pytest.Item]:
        yield _SkippedItem.from_parent(self, name="needs", lacking=self._lacking)


class _SkippedItem(pytest.Item):
    def __init__(self, *, lacking: list[str], **named: object) -> None:
        super().__init__(**named)  # type: ignore[arg-type]
        self._lacking = lacking

    def runtest(self) -> None:
        pytest.skip(_reason(self._lacking))


def _reason(modules: list[str]) -> str:
    return f"needs {', '.join(module.replace('_', '-') for module in modules)}, not here"


def _missing_repository(path: Path) -> list[str]:
    """Return what a test about the repository needs and an sdist does not have."""
    of_repository = path.relative_to(TESTS).as_posix() in OF_THE_REPOSITORY
    return ["a checkout of the repository"] if of_repository and not (TESTS.parent / "plugins").is_dir() else []


def _missing(path: Path) -> list[str]:
    """Return the modules that the test file `path` imports and that are not installed."""
    return sorted(name for name in _imported(path) if not installed(name))


@cache
def _imported(path: Path) -> frozenset[str]:
    """Return the top-level names of the absolute imports at module level; none if there is no such file."""
    if not path.exists():
        return frozenset()
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return frozenset(found - {"tests"})


@cache
def installed(module: str) -> bool:
    return find_spec(module) is not None
