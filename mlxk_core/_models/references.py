"""Model references: what a user types to name a model, parsed but not yet resolved."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mlxk_core._paths import expand_user

DEFAULT_OWNER = "mlx-community"
"""The owner of a hub name that is given without one."""
# Names on the hub contain neither `@` nor `:`, and git's branches and tags contain no `:`.
_NAME = re.compile(r"(?P<name>[^@:]*)(?:@(?P<revision>[^:]*))?(?::(?P<variant>.*))?", re.DOTALL)
_HUB_PAGE = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?=[^/]+/[^/]+$)", re.IGNORECASE)
_HUB_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_HUB_NAME = re.compile(rf"{_HUB_PART}/{_HUB_PART}")


@dataclass(frozen=True, slots=True)
class PathReference:
    """A folder or a `.gguf` file. A path that does not exist is an error, never a name."""

    path: Path


@dataclass(frozen=True, slots=True)
class NameReference:
    """`NAME[@REVISION][:VARIANT]`: a name or a part of one, a branch, tag or commit prefix, and a GGUF variant.

    None means not given; an empty revision or variant was given, and matches nothing.
    """

    name: str
    revision: str | None = None
    variant: str | None = None

    @property
    def is_hub_name(self) -> bool:
        """Whether it can be the full name of a repository on the hub."""
        name = self.name
        return bool(_HUB_NAME.fullmatch(name)) and len(name) <= 96 and "--" not in name and ".." not in name


Reference = PathReference | NameReference


def parse_reference(text: str) -> Reference:
    """Return the path or the name that `text` is.

    It is a path if it begins with `/`, `./`, `../` or `~`, is `.` or `..`, or ends with `/` or `.gguf`; `@` and `:` are
    ordinary characters there. Otherwise it is a name.
    """
    text = text.strip()
    if text in (".", "..") or text.startswith(("/", "./", "../", "~")) or text.endswith("/"):
        return PathReference(expand_user(text))
    if text.lower().endswith(".gguf"):
        return PathReference(Path(text))
    return parse_name(text)


def without_hub(text: str) -> str:
    """Return the name of a model whose page is `text` (`hf.co/org/name`); any other text as it is."""
    return _HUB_PAGE.sub("", text, count=1) if _HUB_PAGE.match(text) else text


def parse_name(text: str) -> NameReference:
    """Return the parts of a name; text that looks like a path is taken as a name too."""
    match = _NAME.fullmatch(text.strip())
    assert match is not None  # every part of the pattern may be empty, and the last one matches anything
    revision, variant = match["revision"], match["variant"]
    return NameReference(
        match["name"].strip(),
        None if revision is None else revision.strip(),
        None if variant is None else variant.strip(),
    )


def full_name(name: str) -> str:
    """Return the hub's name for `name`: with the default owner if it has none."""
    return name if "/" in name else f"{DEFAULT_OWNER}/{name}"


def short_name(name: str) -> str:
    """Return the shortest name that means the same: without the default owner."""
    return name.removeprefix(f"{DEFAULT_OWNER}/")


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts names as people do: 1B, 10B, 20B, whatever their case."""
    parts = re.findall(r"\d+|\D+", name.casefold())
    return tuple((0, int(part), "") if part.isdecimal() and len(part) < 19 else (1, 0, part) for part in parts)
