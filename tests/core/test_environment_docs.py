"""`mlxk help environment` and docs/reference/environment.md name every environment variable that mlxk reads."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from mlxk_core._cli.environment import VARIABLES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "environment.md").read_text(encoding="utf-8")
NAME = re.compile(r"_?[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
OTHER_WORDS = {"AGENT", "COMMANDS", "ENVIRONMENT", "FAIL", "HEAD", "MODEL", "NAME", "OPTIONS", "TRUE", "X_REQUEST_ID"}
"""Texts in capitals that are not variables, in modules that read variables."""
SET_ONLY = {
    *("HF_HUB_DISABLE_TELEMETRY", "TOKENIZERS_PARALLELISM"),
    *("TRANSFORMERS_NO_ADVISORY_WARNINGS", "TRANSFORMERS_VERBOSITY"),
}
"""Variables that mlxk sets for a library."""
READ_BY_LIBRARIES = {
    *("HF_TOKEN_PATH", "HF_XET_HIGH_PERFORMANCE", "HF_HUB_DISABLE_XET"),
    *("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "COLUMNS"),
}
FOR_AGENTS = "agents.py"
"""The variables that `mlxk launch` sets for other programs."""


def read_by_mlxk() -> set[str]:
    """The names in capitals that are string literals of their own, in modules that read the environment."""
    found = set()
    for pattern in ("mlxk_core/**/*.py", "plugins/*/mlxk_*/**/*.py"):
        for path in ROOT.glob(pattern):
            text = path.read_text(encoding="utf-8")
            if "environ" not in text or path.name in ("environment.py", FOR_AGENTS):
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
                    found |= {node.value} if len(node.value) > 3 else set()
    return found - OTHER_WORDS - SET_ONLY


def named(text: str) -> set[str]:
    return {word for word in re.findall(r"[A-Z_][A-Z_]{3,}", text) if "_" in word or word in ("TERM", "VISUAL")}


def test_the_help_names_what_the_code_reads_and_nothing_else() -> None:
    helped = {name for name, _ in VARIABLES} | {word for _, text in VARIABLES for word in named(text)}
    assert helped == read_by_mlxk() | READ_BY_LIBRARIES


def test_the_page_names_the_variables_of_the_help() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert rows == [name for name, _ in VARIABLES]
