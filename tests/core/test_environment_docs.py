"""docs/reference/environment.md names every environment variable that mlxk reads, like `mlxk help environment`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from mlxk_core._cli.environment import VARIABLES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "environment.md").read_text(encoding="utf-8")
NAME = re.compile(r"MLXK_[A-Z_]+")


def read_by_mlxk() -> set[str]:
    """The names that are string literals of their own in what we ship."""
    found = set()
    for pattern in ("mlxk_core/**/*.py", "plugins/*/mlxk_*/**/*.py"):
        for path in ROOT.glob(pattern):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
                    found.add(node.value)
    return found


def test_the_page_names_every_variable_of_mlxk() -> None:
    named = set(NAME.findall(PAGE))
    assert read_by_mlxk() <= named
    assert {name for name, _ in VARIABLES} <= set(re.findall(r"`([A-Z_]+)`", PAGE))
    assert {name for name in named if name.startswith("MLXK_")} - read_by_mlxk() <= {"MLXK_COMPLETE", "MLXK_LAUNCH_KEY"}
