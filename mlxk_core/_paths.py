"""Paths that a user typed or set in the environment: `~`, whether they exist, what they contain, the user's own
folders, and files in them that are replaced.

`pathlib` raises where these functions return: for an unknown `~name`, for a name that is too long, and in a folder that
may not be read.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

from mlxk_core._errors import MlxkError


class NoHomeFolder(MlxkError):
    """A folder is below the home folder of a user who has none."""


def expand_user(text: str | Path) -> Path:
    """Return the path with a leading `~` or `~name` replaced, if there is such a home folder."""
    return Path(os.path.expanduser(text))  # noqa: PTH111


def path_exists(path: str | Path) -> bool:
    """Return whether something is at `path`; False also where that cannot be found out."""
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: str | Path) -> bool:
    """Return whether a file is at `path`; False also where that cannot be found out."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: str | Path) -> bool:
    """Return whether a folder is at `path`; False also where that cannot be found out."""
    return os.path.isdir(path)  # noqa: PTH112


def read_typed_file(path: str | Path, limit: int = 16 << 20) -> bytes:
    """Return the bytes of a file, which may be a pipe (`<(command)` in a shell).

    Raises `OSError` also for a file of more than `limit` bytes: a device may have no end.
    """
    with Path(path).open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"File too large (at most {limit >> 20} MiB)", str(path))
    return data


def replace_file(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, and create its folder. A link to a file stays a link.

    The file is replaced at once, or stays as it is and `MlxkError` is raised.
    """
    target, written = Path(os.path.realpath(path)), None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = target.stat().st_mode if target.exists() else stat.S_IFREG | 0o644
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as new:
            written = Path(new.name)
            new.write(text.encode())
        written.chmod(stat.S_IMODE(mode))
        os.replace(written, target)  # noqa: PTH105
    except BaseException as error:
        if written is not None:
            written.unlink(missing_ok=True)
        if not isinstance(error, OSError | UnicodeEncodeError):
            raise
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise MlxkError(f"Cannot write {target}: {reason}.", path=str(target)) from error


def user_folder(variable: str, default: str) -> Path:
    """Return the folder that an environment variable names, else `default`, which begins with `~`.

    Raises `NoHomeFolder` where the variable is not set and the user has no home folder.
    """
    folder = expand_user(os.environ.get(variable) or default)
    if str(folder).startswith("~"):
        raise NoHomeFolder(f"The home folder of this user is unknown. Set HOME or {variable}.")
    return folder


def home_folder() -> Path:
    """Return the home folder of the user. Raises `NoHomeFolder`."""
    folder = expand_user("~")
    if str(folder) == "~":
        raise NoHomeFolder("The home folder of this user is unknown. Set HOME.")
    return folder
