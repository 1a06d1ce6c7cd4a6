"""Which files of a folder are not uploaded: our own list, and the folder's `.hfignore`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mlxk_core.api.errors import InvalidOption

IGNORE_FILE = ".hfignore"
# The one hidden file that belongs to a repository. All others stay here whatever the rules say: `.env`, `.ssh`,
# `.netrc` and their like hold secrets, and a hub does not forget.
_PUBLIC = ".gitattributes"
# What tools leave in a folder, and what no repository of a model is to hold.
ALWAYS = (".git/", ".cache/", ".venv/", "venv/", "__pycache__/", "*.pyc", ".DS_Store", ".gitignore", f"/{IGNORE_FILE}")


def is_hidden(name: str) -> bool:
    """File `name` (`/` separated), or a folder it is in, begins with a dot and is not meant for a hub."""
    *folders, last = name.split("/")
    return any(folder.startswith(".") for folder in folders) or (last.startswith(".") and last != _PUBLIC)


@dataclass(frozen=True, slots=True)
class Rule:
    pattern: re.Pattern[str]
    keeps: bool


class Ignore:
    """Rules as in a `.gitignore`: the last one that fits decides, `!` takes a file back in, a `/` in front or in the
    middle ties a pattern to the folder itself, one at the end means folders only, `**` goes over `/`."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules = [rule for rule in map(_rule, lines) if rule]

    @classmethod
    def of(cls, folder: Path) -> Ignore:
        path = folder / IGNORE_FILE
        # As names of files are read: bytes that are no UTF-8 fit themselves.
        own = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if path.is_file() else []
        return cls([*ALWAYS, *own])

    def __call__(self, name: str) -> bool:
        """Whether file `name` (`/` separated) stays here."""
        ignored = False
        for rule in self._rules:
            if rule.pattern.fullmatch(name):
                ignored = not rule.keeps
        return ignored


def _rule(line: str) -> Rule | None:
    text = line.strip()
    if not text or text.startswith("#"):
        return None
    keeps = text.startswith("!")
    text = text.removeprefix("!")
    folders_only, text = text.endswith("/"), text.rstrip("/")
    anchored = "/" in text
    body = _as_regex(text.lstrip("/"))
    before = "" if anchored else "(?:.*/)?"
    after = "/.*" if folders_only else "(?:/.*)?"
    try:
        return Rule(re.compile(before + body + after, re.DOTALL), keeps)
    except re.error as error:  # to pass over it would upload what was to stay
        raise InvalidOption("DIR", f"`{line.strip()}` in its {IGNORE_FILE} is no pattern ({error.msg}).") from error


_PART = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)
_WILD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _as_regex(glob: str) -> str:
    regex = ""
    for part in _PART.findall(glob):
        if part in _WILD:
            regex += _WILD[part]
        elif part.startswith("[") and part.endswith("]"):
            negated = part[1] == "!"
            inner = re.sub(r"[\[\\&~|]", r"\\\g<0>", part[1 + negated : -1])
            regex += f"[{'^' if negated else ''}{inner}]"
        else:
            regex += re.escape(part)
    return regex
