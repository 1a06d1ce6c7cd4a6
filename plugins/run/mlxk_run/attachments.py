"""Files in a message of a chat: `@path` puts the text of that file before the message."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from mlxk_core.api.paths import expand_user, path_exists
from mlxk_run.input import file_block

_FILE = re.compile(r'(?<!\S)@(?:"(?P<quoted>[^"\n]+)"|(?P<plain>[^\s"@]\S*))')
_FILE_NAME = re.compile(r"\w\.[A-Za-z]\w{0,4}[.,;:!?)\]}']*$")
_PUNCTUATION = ".,;:!?)]}'"


def with_files(message: str, note: Callable[[str], None]) -> str:
    """Return `message` with the files it names by `@path` before it.

    A name that is not a file stays text, with a note if it looks like a path. Raises `InvalidOption` for a file that
    cannot be read as text.
    """
    paths = list(dict.fromkeys(_paths(message, note)))
    return "\n\n".join([*(file_block(path, option="@FILE") for path in paths), message]) if paths else message


def complete_path(word: str) -> list[str]:
    """Return the completions of an `@path` word, without the `@`: folders end with `/`."""
    folder, slash, beginning = word.rpartition("/")
    root = expand_user((folder + slash) or ".")
    try:
        entries = sorted(root.iterdir())
    except (OSError, ValueError):
        return []
    return [
        f"{folder}{slash}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries
        if entry.name.startswith(beginning) and (beginning.startswith(".") or not entry.name.startswith("."))
    ]


def _paths(message: str, note: Callable[[str], None]) -> Iterator[str]:
    for found in _FILE.finditer(message):
        name = found["quoted"] or found["plain"]
        for path in dict.fromkeys((name, name.rstrip(_PUNCTUATION))):
            if path and path_exists(expand_user(path)):
                yield path
                break
        else:
            if "/" in name or found["quoted"] or _FILE_NAME.search(name):
                note(f"warning: @{name}: no such file; sent as text.")
