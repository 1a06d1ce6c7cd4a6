"""For work that may take any time or memory: a child process that answers one request at a time."""

from __future__ import annotations

from mlxk_core._processes.child_messages import announce, encode_message, pack_ids, read_message, unpack_ids
from mlxk_core._processes.child_process import ChildProcess, ProcessNotStarted

__all__ = [
    "ChildProcess",
    "ProcessNotStarted",
    "announce",
    "encode_message",
    "pack_ids",
    "read_message",
    "unpack_ids",
]
