"""Wording of what people read: docs, help, messages and docstrings avoid the phrases of the language guide.

`language_allowed.txt` names the files that still have some. Remove a file from it when its text is rewritten.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PHRASES = re.compile(
    r"\btold\b(?! apart| from)|\banew\b|\bails\b|\bto be had\b|\b(?:no|some|every)body\b|\bleash\b|\bharms\b"
    r"|(?<!there )\b(?:is|are) no (?!longer|more\b)\w+"
    r"|\bbeside\b|\bknows not\b|\bgives? its word\b|\bcomes? anew\b|\bin our words\b",
    re.IGNORECASE,
)
SOURCES = sorted(
    path
    for pattern in (
        "mlxk_core/**/*.py",
        "mlxk/**/*.py",
        "testing/**/*.py",
        "plugins/*/mlxk_*/**/*.py",
        "examples/**/*.py",
    )
    for path in ROOT.glob(pattern)
)
PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "plugins/*/README.md",
        "testing/README.md",
        "mlxk/README.md",
        "examples/*/README.md",
    )
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
STILL_ALLOWED = set((Path(__file__).parent / "language_allowed.txt").read_text(encoding="utf-8").split())


def texts(path: Path) -> Iterator[str]:
    """The string literals of a Python file, docstrings and parts of f-strings included; the whole of a page."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield source
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def found(path: Path) -> list[str]:
    return [match[0] for text in texts(path) for match in PHRASES.finditer(" ".join(text.split()))]


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_people_read_avoids_the_phrases_of_the_language_guide(path: Path) -> None:
    if path.relative_to(ROOT).as_posix() in STILL_ALLOWED:
        pytest.skip("its text is not rewritten yet")
    assert found(path) == []


def test_the_search_finds_phrases_in_docstrings_messages_and_pages(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('"""Nobody."""\nraise ValueError(f"{x} is no option")\n')
    (tmp_path / "b.md").write_text("There is no lock file. It is no longer\nused. It is no\nlock.")
    assert found(tmp_path / "a.py") == ["Nobody", "is no option"]
    assert found(tmp_path / "b.md") == ["is no lock"]
