"""Pin every dependency: write constraints.txt and the same list into pyproject.toml.

    uv run --no-project python tools/pins.py             add what is missing, drop what is unused, keep the rest
    uv run --no-project python tools/pins.py --upgrade   resolve everything again

uv's lock file names the package index, so it is not kept; these lines hold nothing but names and versions.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
_LIST = re.compile(r"constraint-dependencies = \[.*?\]", re.DOTALL)


def resolve() -> list[str]:
    """Return `name==version` lines, with markers where a package is not for every platform."""
    form = ["--no-hashes", "--no-header", "--no-annotate", "--no-emit-workspace"]
    export = ["uv", "export", *form, "--all-packages", "--all-groups"]
    lines = subprocess.run(export, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return sorted(line.strip() for line in lines if "==" in line)


def write(pins: list[str]) -> None:
    """Write both places; a test holds them equal."""
    (ROOT / "constraints.txt").write_text("".join(f"{pin}\n" for pin in pins))
    project = ROOT / "pyproject.toml"
    listed = "constraint-dependencies = [\n" + "".join(f'  "{pin}",\n' for pin in pins) + "]"
    project.write_text(_LIST.sub(lambda _: listed, project.read_text(), count=1))


if __name__ == "__main__":
    if "--upgrade" in sys.argv[1:]:
        write([])
    (ROOT / "uv.lock").unlink(missing_ok=True)
    write(resolve())
