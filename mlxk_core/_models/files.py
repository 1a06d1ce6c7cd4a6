"""The files of a model: which may be opened, and which hold weights."""

from __future__ import annotations

import errno
import re
import stat
from pathlib import Path, PurePosixPath
from typing import Literal

WeightFormat = Literal["safetensors", "gguf", "pytorch", "npz", "other"]

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")
# What transformers, diffusers and PyTorch itself name weights; `training_args.bin` and `tokenizer.bin` are none.
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
    """The form of weights in file `name`, or None if it holds none."""
    path = PurePosixPath(name)
    if known := _FORMATS.get(path.suffix.lower()):
        return known
    return "pytorch" if _PYTORCH.fullmatch(path.name) else None


def parse_shard(name: str) -> tuple[str, int, int]:
    """What a weight file's name says of shards: the name without suffix and numbers, its number and how many there are.

    (`m-Q4_0`, 2, 3) for `m-Q4_0-00002-of-00003.gguf`; a whole file is number 1 of 1.
    """
    stem = str(PurePosixPath(name).with_suffix(""))
    match = _SHARD.search(stem)
    return (stem[: match.start()], int(match[1]), int(match[2])) if match and int(match[2]) else (stem, 1, 1)


def regular_file(path: Path) -> Path:
    """`path`, if it is a regular file. Raises `OSError` where there is none, and for a pipe, a socket, a device or a
    folder: to open a pipe that nobody writes to takes for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "It is no regular file", str(path))
    return path


def read_small_file(path: Path, limit: int = 4 << 20) -> bytes:
    """Return the bytes of a regular file.

    Raises `OSError` also for a file of more than `limit` bytes: what is parsed takes many times its size in memory.
    """
    size = regular_file(path).stat().st_size
    if size > limit:
        raise OSError(errno.EFBIG, f"File too large ({size:,} bytes, at most {limit:,})", str(path))
    return path.read_bytes()
