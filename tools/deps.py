"""Run deptry on every distribution: undeclared, unused and misplaced dependencies are errors.

    uv run python tools/deps.py [NAME …]

Each distribution's own pyproject.toml is what deptry reads; exceptions are in its `[tool.deptry]`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from distributions import ROOT, folders, project


def main(wanted: list[str]) -> int:
    status = 0
    modules = {project(folder)["project"]["name"]: _module(folder) for folder in folders()}
    mapping = ",".join(f"{name}={module}" for name, module in modules.items())
    for folder in folders():
        name = project(folder)["project"]["name"]
        if wanted and name not in wanted:
            continue
        module = modules[name]
        print(f"{name}", flush=True)
        command = ["deptry", module, "--no-ansi", "--known-first-party", name.replace("-", "_")]
        command += ["--package-module-name-map", mapping]
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr, end="", flush=True)
        status |= done.returncode
    return status


def _module(folder: Path) -> str:
    name = str(project(folder)["project"]["name"]).replace("-", "_")
    return name if (folder / name).is_dir() else "."


if __name__ == "__main__":
    print(f"deptry on {len(folders())} distributions of {ROOT.name}")
    sys.exit(main(sys.argv[1:]))
