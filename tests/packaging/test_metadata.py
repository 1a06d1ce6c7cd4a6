"""What packagers and indexes read: every distribution is complete, and all agree."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
OURS = sorted(
    path.parent for pattern in (".", "mlxk", "testing", "plugins/*") for path in ROOT.glob(f"{pattern}/pyproject.toml")
)
IDS = [folder.name for folder in OURS]


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_version_bounds_and_shared_metadata_agree() -> None:
    check = [sys.executable, ROOT / "tools" / "distributions.py", "check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), "uv run python tools/distributions.py sync"


@pytest.mark.parametrize("folder", OURS, ids=IDS)
def test_a_distribution_is_described_and_typed(folder: Path) -> None:
    data = project(folder)
    assert data["description"].endswith(".") and "\n" not in data["description"]
    assert {"authors", "keywords", "classifiers", "urls", "license"} <= set(data)
    package = "mlxk_core" if folder == ROOT else data["name"].replace("-", "_")
    assert (folder / package / "py.typed").is_file()


@pytest.mark.parametrize("folder", OURS, ids=IDS)
def test_links_of_a_readme_work_on_an_index_page_too(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("#")]
    assert [link for link in links if not link.startswith("https://")] == []
    ours = re.compile(r"https://github\.com/mlxk/mlxk/(?:blob|tree)/main/([^#]+)")
    paths = [match[1] for link in links if (match := ours.match(link))]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_meta_distribution_brings_every_plugin() -> None:
    data = project(ROOT / "mlxk")
    extras = data["optional-dependencies"].values()
    named = {re.split(r"[\[>= ]", line)[0] for lines in (data["dependencies"], *extras) for line in lines}
    libraries = {"mlxk-hub", "mlxk-protocol"}  # come with what uses them
    plugins = {project(folder)["name"] for folder in OURS if folder.parent.name == "plugins"}
    assert plugins - libraries <= named
