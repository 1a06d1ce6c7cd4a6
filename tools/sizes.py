"""Measure subsets of the distributions, installed from wheels, and write the table into docs/how-to/package.md.

uv run python tools/sizes.py            write
uv run python tools/sizes.py --check    exit with 1 if a subset changed by more than a tenth, or in its packages
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "how-to" / "package.md"
TRIMS = {
    "core": ["mlxk-core"],
    "models": ["mlxk-models"],
    "pull and models": ["mlxk-pull", "mlxk-models"],
    "run": ["mlxk-mlx", "mlxk-run"],
    "serve": ["mlxk-mlx", "mlxk-serve", "mlxk-reasoning"],
    "everything": ["mlxk[full]"],
}
_TABLE = re.compile(r"(<!-- sizes:[^\n]*-->\n).*?(<!-- end of sizes -->)", re.DOTALL)
_ROW = re.compile(r"^\| ([a-z ]+) \| .* \| (\d+) \| (\d+) MB \|$", re.MULTILINE)


def measure() -> dict[str, tuple[int, int]]:
    """Return the number of packages and the megabytes of each subset."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        wheels = Path(scratch) / "wheels"
        _uv("build", "--all-packages", "--wheel", "--out-dir", wheels)
        for name, requirements in TRIMS.items():
            target = Path(scratch) / name.replace(" ", "-")
            pins = ["--constraint", ROOT / "constraints.txt", "--find-links", wheels]
            _uv("pip", "install", "--target", target, *pins, *requirements)
            size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file() and not path.is_symlink())
            found[name] = (len(list(target.glob("*.dist-info"))), round(size / 10**6))
    return found


def table(sizes: dict[str, tuple[int, int]]) -> str:
    lines = ["", "| subset | distributions | packages | installed |", "|---|---|---|---|"]
    for name, (packages, megabytes) in sizes.items():
        distributions = ", ".join(f"`{requirement}`" for requirement in TRIMS[name])
        lines.append(f"| {name} | {distributions} | {packages} | {megabytes} MB |")
    return "\n".join([*lines, "", ""])


def main(arguments: list[str]) -> int:
    sizes, text = measure(), PAGE.read_text(encoding="utf-8")
    print(table(sizes), end="")
    if "--check" in arguments:
        written = {name: (int(packages), int(size)) for name, packages, size in _ROW.findall(text)}
        changed = [name for name in sizes if name not in written or _differs(sizes[name], written[name])]
        print(f"changed: {', '.join(changed)}" if changed else "unchanged", file=sys.stderr)
        return 1 if changed else 0
    PAGE.write_text(_TABLE.sub(lambda match: match[1] + table(sizes) + match[2], text), encoding="utf-8")
    return 0


def _differs(new: tuple[int, int], old: tuple[int, int]) -> bool:
    return new[0] != old[0] or abs(new[1] - old[1]) > old[1] / 10


def _uv(*arguments: object) -> None:
    subprocess.run(["uv", *map(str, arguments), "--quiet"], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
