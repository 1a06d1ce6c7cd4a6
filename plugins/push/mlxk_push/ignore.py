"""Selection of the files that are not uploaded: built-in rules, the folder's `.hfignore`, and hidden files."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from mlxk_core.api.errors import InvalidOption

IGNORE_FILE = ".hfignore"
# The one hidden file that belongs in a repository. No rule can add others: `.env`, `.ssh`, `.netrc` and the like
# contain secrets, and a hub keeps its history.
_PUBLIC = ".gitattributes"
# Files that tools create, and that a repository of a model should not have.
ALWAYS = (".git/", ".cache/", ".venv/", "venv/", "__pycache__/", "*.pyc", ".DS_Store", ".gitignore", f"/{IGNORE_FILE}")


def is_hidden(name: str) -> bool:
    """Return whether file `name` (`/` separated) or one of its folders begins with a dot and must not be uploaded."""
    *folders, last = name.split("/")
    return any(folder.startswith(".") for folder in folders) or (last.startswith(".") and last != _PUBLIC)


class IgnoreRules:
    """Rules as in a `.gitignore`. Raises `InvalidOption` for a rule that is not a valid pattern."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._spec = GitIgnoreSpec(_pattern(line) for line in lines)

    @classmethod
    def of(cls, folder: Path) -> IgnoreRules:
        """Return the built-in rules and those of the folder."""
        path = folder / IGNORE_FILE
        # As file names are read, so that bytes that are not UTF-8 match themselves.
        own = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n") if path.is_file() else []
        return cls([*ALWAYS, *own])

    def __call__(self, name: str) -> bool:
        """Return whether file `name` (`/` separated) is left out.

        As in git, a rule cannot take a file back in if one of its folders is left out.
        """
        *folders, _ = accumulate(name.split("/"), lambda folder, part: f"{folder}/{part}")
        return any(self._spec.match_file(f"{folder}/") for folder in folders) or self._spec.match_file(name)


def _pattern(line: str) -> GitIgnoreSpecPattern:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of `re`, about `[[`
            pattern = GitIgnoreSpecPattern(line)
    except (ValueError, re.error) as error:
        raise _not_a_pattern(line) from error
    text = line.strip()
    if pattern.include is None and text not in ("", "/") and not text.startswith("#"):
        raise _not_a_pattern(line)  # pathspec skips it, which would upload what it excludes
    return pattern


def _not_a_pattern(line: str) -> InvalidOption:
    return InvalidOption("DIR", f"`{line.strip()}` in its {IGNORE_FILE} is not a valid pattern.")
