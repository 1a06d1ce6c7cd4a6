"""Model files: which are safe to open, which contain weights, and which are shards."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, NamedTuple

from mlxk_core._system_limits import raise_system_limit

WeightFormat = Literal["safetensors", "gguf", "pytorch", "npz", "other"]

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")
# Names of weights in transformers, diffusers and PyTorch; not `training_args.bin` or `tokenizer.bin`.
_PYTORCH = re.compile(r".*(model|weights|consolidated)[^/]*\.(bin|pt|pth)|.*\.ckpt", re.IGNORECASE)
_FORMATS: dict[str, WeightFormat] = {
    ".safetensors": "safetensors",
    ".gguf": "gguf",
    ".npz": "npz",
    ".onnx": "other",
    ".h5": "other",
    ".msgpack": "other",
    ".tflite": "other",
}


def weight_format(name: str) -> WeightFormat | None:
    """Return the format of the weights in file `name`, or None if it contains none."""
    path = PurePosixPath(name)
    if known := _FORMATS.get(path.suffix.lower()):
        return known
    return "pytorch" if _PYTORCH.fullmatch(path.name) else None


class Shard(NamedTuple):
    """Part `number` of the `total` files of a set; `stem` is the name without suffix and numbers."""

    stem: str
    number: int
    total: int


def parse_shard(name: str) -> Shard:
    """Return which shard a weight file is, by its name.

    `m-Q4_0-00002-of-00003.gguf` is Shard("m-Q4_0", 2, 3); a file that is complete in itself is number 1 of 1.
    """
    stem = str(PurePosixPath(name).with_suffix(""))
    match = _SHARD.search(stem)
    if match and int(match[2]):
        return Shard(stem[: match.start()], int(match[1]), int(match[2]))
    return Shard(stem, 1, 1)


def regular_file(path: Path) -> Path:
    """Return `path` if it is a regular file.

    Raises `OSError` if it does not exist, and for a pipe, a socket, a device or a folder: opening a pipe without a
    writer blocks forever.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return path


def leads_outside(path: Path, folder: Path) -> bool:
    """Return whether `path`, below the model's `folder`, is a link to a hidden file or to one outside of the folder.

    The blobs of the cache repository that `folder` is a snapshot of belong to it. A link may come with a model that
    was cloned, and name any file of the user: what publishes or copies files must not follow it.
    """
    base, target = (Path(os.path.realpath(each)) for each in (folder, path))
    if target == base / path.relative_to(folder):
        return False
    if target.is_relative_to(base):
        return any(part.startswith(".") for part in target.relative_to(base).parts)
    return not any(parent.name == "snapshots" and target.parent == parent.parent / "blobs" for parent in base.parents)


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file to read its bytes during the `with` block.

    Raises what `regular_file` raises, and `SystemLimit` if the system has no descriptor or memory left for it.
    """
    try:
        # A pipe that takes the place of the file meanwhile does not block it.
        with open(regular_file(path), "rb", opener=_without_blocking) as file:
            yield file
    except OSError as error:
        raise_system_limit(error)
        raise


def _without_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def read_error(error: Exception) -> str:
    """Return why a file could not be read, without its path and the number of the error."""
    return getattr(error, "strerror", None) or str(error)


class CutOff(ValueError):
    """A file ends too soon."""

    def __init__(self) -> None:
        super().__init__("it is cut off")


def read_small_file(path: Path, limit: int = 4 << 20) -> bytes:
    """Return the bytes of a regular file.

    Raises `OSError` also for a file of more than `limit` bytes: what is parsed takes many times its size in memory.
    Raises `SystemLimit` as `open_file` does.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"File too large ({size:,} bytes, at most {limit:,})", str(path))
        # procfs files report 0 bytes, and reading one may block forever.
        return file.read(limit) if size else b""
