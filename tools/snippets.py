"""Write the code that pages of the documentation show into them, from the files that tests run.

uv run python tools/snippets.py            write
uv run python tools/snippets.py --check    exit with 1 if a page differs

The code block after `<!-- code: FILE:PART -->` is what FILE has between `[start:PART]` and `[end:PART]`; without
`:PART` it is the whole file.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parent.parent
_SNIPPET = re.compile(
    r"(?P<marker><!-- code: (?P<file>[^\s:]+)(?::(?P<part>[\w-]+))? -->\n\n)"
    r"(?P<fence>`{3,})(?P<language>\w*)\n(?:.*?\n)??(?P=fence)(?=\n|\Z)",
    re.DOTALL,
)
_MARKER = re.compile(r"<!-- code:")
_MARK = re.compile(r"--8<-- \[(?:start|end):[\w-]+\]")
_FENCES = re.compile(r"^\s*(`{3,})", re.MULTILINE)


def code(file: str, part: str | None) -> str:
    """Return the code of a snippet, without the marks of parts. Raises `ValueError` if there is no such part."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    if part is not None:
        edges = [n for n, line in enumerate(lines) if f"[start:{part}]" in line or f"[end:{part}]" in line]
        if len(edges) != 2:
            raise ValueError(f"{file} does not have one part {part}")
        lines = lines[edges[0] + 1 : edges[1]]
    text = "\n".join(line for line in lines if not _MARK.search(line))
    return dedent(re.sub(r"\n{4,}", "\n\n\n", text)).strip("\n")


def filled(page: str) -> str:
    """Return a page with the code of its snippets."""

    def write(found: re.Match[str]) -> str:
        shown = code(found["file"], found["part"])
        longest = max(map(len, _FENCES.findall(shown)), default=2)
        fence = "`" * max(3, longest + 1)
        return f"{found['marker']}{fence}{found['language']}\n{shown}\n{fence}"

    text, count = _SNIPPET.subn(write, page)
    if count != len(_MARKER.findall(page)):
        raise ValueError("a marker is not followed by an empty line and a code block")
    return text


def pages() -> Iterator[Path]:
    yield from sorted((ROOT / "docs").rglob("*.md"))


def differing() -> dict[Path, str]:
    """Return the pages whose code differs from its files, with what they should be. Raises `ValueError`."""
    found = {}
    for path in pages():
        before = path.read_text(encoding="utf-8")
        try:
            after = filled(before)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path.relative_to(ROOT)}: {error}") from error
        if after != before:
            found[path] = after
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page differs")
    check = parser.parse_args().check
    try:
        found = differing()
    except ValueError as error:
        print(error)
        return 1
    for path, text in found.items():
        if check:
            print(f"{path.relative_to(ROOT)} differs: run tools/snippets.py")
        else:
            path.write_text(text, encoding="utf-8")
    return int(bool(found) and check)


if __name__ == "__main__":
    sys.exit(main())
