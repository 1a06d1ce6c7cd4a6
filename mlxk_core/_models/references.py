"""References: what a user types to name a model, taken apart but not yet looked up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

# No name on the hub holds `@` or `:`, and no branch or tag of git holds `:`.
_NAME = re.compile(r"(?P<name>[^@:]*)(?:@(?P<revision>[^:]*))?(?::(?P<variant>.*))?", re.DOTALL)
_HUB_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_HUB_NAME = re.compile(rf"{_HUB_PART}/{_HUB_PART}")


@dataclass(frozen=True, slots=True)
class PathReference:
    """Files on this machine: a folder or a `.gguf` file. What is not there is an error, never a name."""

    path: Path


@dataclass(frozen=True, slots=True)
class NameReference:
    """`NAME[@REVISION][:VARIANT]`: a name or a part of one, a branch, tag or commit prefix, and a GGUF variant.

    None means not given; an empty revision or variant was given, and fits nothing.
    """

    name: str
    revision: str | None = None
    variant: str | None = None

    @property
    def is_hub_name(self) -> bool:
        """It could be the full name of a repository on the hub."""
        name = self.name
        return bool(_HUB_NAME.fullmatch(name)) and len(name) <= 96 and "--" not in name and ".." not in name


Reference = PathReference | NameReference


def parse_reference(text: str) -> Reference:
    """Takes `text` apart.

    It is a path if it begins with `/`, `./`, `../` or `~`, is `.` or `..`, or ends with `/` or `.gguf`: there, `@` and
    `:` are ordinary characters. Else it is a name.
    """
    text = text.strip()
    if text in (".", "..") or text.startswith(("/", "./", "../", "~")) or text.endswith("/"):
        return PathReference(_expanded(text))
    if text.lower().endswith(".gguf"):
        return PathReference(Path(text))
    return parse_name(text)


def parse_name(text: str) -> NameReference:
    """Takes a name apart; a text that looks like a path is a strange name here."""
    match = _NAME.fullmatch(text.strip())
    assert match is not None  # every part of the pattern may be empty, and the last one takes all there is
    revision, variant = match["revision"], match["variant"]
    return NameReference(
        match["name"].strip(),
        None if revision is None else revision.strip(),
        None if variant is None else variant.strip(),
    )


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~someone who has no account here
        return Path(text)
