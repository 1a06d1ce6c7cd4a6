"""The pages of the clients: each is in the table, with the version that the tests use, and shows what they run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ENVIRONMENTS = Path(__file__).with_name("environments")
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "how-to" / "clients"
ROW = re.compile(r"\| \[.*\]\((.*)\) \| `(.*)` \((npm|PyPI)\) \| (\S+) \|")


def _pinned() -> set[tuple[str, str, str]]:
    npm = [json.loads(file.read_text())["dependencies"] for file in ENVIRONMENTS.glob("*.json")]
    lines = [line for file in ENVIRONMENTS.glob("*.in") for line in file.read_text().split()]
    pypi = [(re.sub(r"\[.*\]", "", line.partition("==")[0]), line.partition("==")[2]) for line in lines]
    return {("npm", *pair) for packages in npm for pair in packages.items()} | {("PyPI", *pair) for pair in pypi}


@pytest.fixture
def rows():
    return ROW.findall((FOLDER / "README.md").read_text(encoding="utf-8"))


def test_every_page_is_in_the_table_with_the_version_that_the_tests_use(rows):
    pages = {path.name for path in FOLDER.glob("*.md")} - {"README.md"}
    assert {page for page, *_ in rows} == pages
    assert {(index, package, version) for _, package, index, version in rows} <= _pinned()


def test_every_page_shows_a_part_of_a_script(rows):
    for page, *_ in rows:
        text = (FOLDER / page).read_text(encoding="utf-8")
        assert "<!-- code: tests/clients/" in text or page == "lm-evaluation-harness.md"
