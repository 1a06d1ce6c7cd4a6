"""Pins every dependency: writes constraints.txt and the same list into pyproject.toml, from a fresh resolution.

    uv run --no-project python tools/pins.py

uv's lock file names the package index, so it is not kept; these lines name nothing but names and versions.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
_LIST = re.compile(r"constraint-dependencies = \[.*?\]", re.DOTALL)


def resolve() -> list[str]:
    """`name==version` lines, with markers where a package is not for every platform."""
    export = ["uv", "export", "--no-hashes", "--no-header", "--no-annotate", "--no-emit-workspace", "--all-packages"]
    lines = subprocess.run(export, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return sorted(line.strip() for line in lines if "==" in line and "'never'" not in line)


def write(pins: list[str]) -> None:
    """Writes both places; a test holds them equal."""
    (ROOT / "constraints.txt").write_text("\n".join(pins) + "\n")
    project = ROOT / "pyproject.toml"
    listed = "constraint-dependencies = [\n" + "".join(f'  "{pin}",\n' for pin in pins) + "]"
    project.write_text(_LIST.sub(lambda _: listed, project.read_text(), count=1))


if __name__ == "__main__":
    project = ROOT / "pyproject.toml"
    project.write_text(_LIST.sub("constraint-dependencies = []", project.read_text(), count=1))
    (ROOT / "uv.lock").unlink(missing_ok=True)
    write(resolve())
