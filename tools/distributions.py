"""What all distributions share: one version, its bounds, and the metadata that packagers and indexes show.

    uv run python tools/distributions.py             list the distributions and their version
    uv run python tools/distributions.py check       exit with 1 if any pyproject.toml differs from the root's
    uv run python tools/distributions.py sync        copy version, bounds and shared metadata from the root's, and list
                                                     every plugin in the meta distribution
    uv run python tools/distributions.py version X   set the version everywhere

The root pyproject.toml is the source. Every copy is literal, so that each folder builds alone and offline.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SHARED = ("version", "requires-python", "license", "authors", "keywords", "classifiers", "urls")
# In the meta distribution's extra `full` only: experimental features.
EXPERIMENTAL = {"mlxk-push"}
# Libraries come with the plugins that use them, and are not listed.
LIBRARIES = {"mlxk-hub", "mlxk-protocol"}
_LINUX_ONLY = {"mlxk-openblas"}
_MODULE_VERSION = re.compile(r'^__version__ = ".*"$', re.MULTILINE)
_CACHE_KEYS = re.compile(r"^cache-keys = .*\n", re.MULTILINE)
_BOUND = re.compile(r'"(mlxk[a-z0-9-]*)(\[[a-z0-9,-]+\])?>=[0-9][^,"]*,<[0-9][^" ;]*')


def folders() -> list[Path]:
    """Return the folder of every distribution of ours, the root (mlxk-core) first; examples are a third party's."""
    members = project(ROOT)["tool"]["uv"]["workspace"]["members"]
    found = {path.parent for pattern in members for path in ROOT.glob(f"{pattern}/pyproject.toml")}
    return [ROOT, *sorted(folder for folder in found if folder.parent.name != "examples")]


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def bounds(version: str) -> str:
    """Return the range within which distributions of `version` work together: `>=0.1,<0.2`."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return f">={major}.{minor},<{major}.{minor + 1}"


def differences(folder: Path) -> list[str]:
    """Return what in `folder`'s pyproject.toml differs from the root's shared values, one line each."""
    root, own = project(ROOT)["project"], project(folder)["project"]
    found = [
        f"{key}: {own.get(key)!r} instead of {root.get(key)!r}"
        for key in SHARED
        if own.get(key) != root.get(key) and not (key == "license" and key in own)
    ]
    text = (folder / "pyproject.toml").read_text(encoding="utf-8")
    expected = bounds(root["version"])
    found += [f"bound: {match[0][1:]}" for match in _BOUND.finditer(text) if not match[0].endswith(expected)]
    if cache_keys(folder) not in text:
        found.append("tool.uv.cache-keys")
    return found


def cache_keys(folder: Path) -> str:
    """Return the line of `[tool.uv]` that makes uv build the distribution again when its code has changed.

    By default only a change of pyproject.toml counts, and a second `uv tool install ./mlxk` mixes old and new wheels.
    """
    [package] = [path.parent.name for path in folder.glob("mlxk*/__init__.py")]
    files = ["pyproject.toml", f"{package}/**/*.py", f"{package}/**/*.toml"]
    files += [name for name in ("hatch_build.py",) if (folder / name).exists()]
    keys = ", ".join('{ file = "' + name + '" }' for name in files)
    return f"cache-keys = [{keys}]\n"


def sync(folder: Path) -> None:
    """Write the root's version, bounds and shared metadata into `folder`'s pyproject.toml."""
    path = folder / "pyproject.toml"
    root, text = (ROOT / "pyproject.toml").read_text(encoding="utf-8"), path.read_text(encoding="utf-8")
    version = project(ROOT)["project"]["version"]
    if folder != ROOT:
        for key in ("authors", "keywords", "classifiers"):
            text = _without(text, rf"{key} = \[.*?^\]\n|{key} = \[[^\n]*\]\n")
        text = _without(text, r"\[project\.urls\]\n(?:[^\[\n][^\n]*\n)*\n?")
        text = re.sub(r'^version = ".*"$', f'version = "{version}"', text, count=1, flags=re.MULTILINE)
        python = _block(root, r'requires-python = "[^\n]*"\n')
        shared = python + "".join(_block(root, rf"{key} = \[.*?\]\n(?=[a-z#\[\n])") for key in SHARED[3:6])
        text = re.sub(r'^requires-python = "[^\n]*"\n', lambda _: shared, text, count=1, flags=re.MULTILINE)
        urls = _block(root, r"\[project\.urls\]\n(?:[^\[\n][^\n]*\n)*")
        text = re.sub(r"^(?=\[(?!build-system|project\]))", lambda _: urls + "\n", text, count=1, flags=re.MULTILINE)
    text = _BOUND.sub(lambda m: f'"{m[1]}{m[2] or ""}{bounds(version)}', text)
    text = _CACHE_KEYS.sub("", text)
    if "\n[tool.uv]\n" not in text:
        text += "\n[tool.uv]\n"
    text = text.replace("\n[tool.uv]\n", f"\n[tool.uv]\n{cache_keys(folder)}", 1)
    path.write_text(text, encoding="utf-8")
    for module in folder.glob("mlxk*/__init__.py"):
        source = module.read_text(encoding="utf-8")
        module.write_text(_MODULE_VERSION.sub(f'__version__ = "{version}"', source), encoding="utf-8")


def sync_meta() -> None:
    """Write the dependencies of the distribution `mlxk`: core and every plugin."""
    version = project(ROOT)["project"]["version"]
    names = {project(folder)["project"]["name"] for folder in folders() if folder.parent.name == "plugins"}
    names = (names | {"mlxk-core"}) - EXPERIMENTAL - LIBRARIES
    only = dict.fromkeys(_LINUX_ONLY, " ; sys_platform == 'linux'")
    lines = "".join(f'  "{name}{bounds(version)}{only.get(name, "")}",\n' for name in sorted(names))
    path = ROOT / "mlxk" / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    pattern = re.compile(r"^dependencies = \[\n.*?^\]", re.MULTILINE | re.DOTALL)
    path.write_text(pattern.sub(f"dependencies = [\n{lines}]", text, count=1), encoding="utf-8")


def set_version(version: str) -> None:
    path = ROOT / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r'^version = ".*"$', f'version = "{version}"', text, count=1, flags=re.MULTILINE))
    for folder in folders():
        sync(folder)
    sync_meta()


def _block(text: str, pattern: str) -> str:
    match = re.search(rf"^{pattern}", text, re.MULTILINE | re.DOTALL)
    assert match, f"the root pyproject.toml has no {pattern}"
    return match[0]


def _without(text: str, pattern: str) -> str:
    return re.sub(rf"^(?:{pattern})", "", text, count=1, flags=re.MULTILINE | re.DOTALL)


def main(arguments: list[str]) -> int:
    match arguments:
        case []:
            for folder in folders():
                data = project(folder)["project"]
                print(f"{data['name']:20} {data['version']:10} {folder.relative_to(ROOT)}")
        case ["check"]:
            wrong = [(folder, line) for folder in folders() for line in differences(folder)]
            for folder, line in wrong:
                print(f"{folder.relative_to(ROOT)}/pyproject.toml: {line}", file=sys.stderr)
            return 1 if wrong else 0
        case ["sync"]:
            for folder in folders():
                sync(folder)
            sync_meta()
        case ["version", version] if re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|(a|b|rc)\d+)?", version):
            set_version(version)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
