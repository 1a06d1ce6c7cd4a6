"""For work that may take any time or memory: child processes that answer requests, and a bound on what runs at once."""

from __future__ import annotations

from mlxk_core._processes.child_messages import announce, encode_message, pack_ids, read_message, unpack_ids
from mlxk_core._processes.child_process import ChildProcess, ProcessNotStarted
from mlxk_core._processes.slots import Slots

__all__ = [
    "ChildProcess",
    "ProcessNotStarted",
    "Slots",
    "announce",
    "encode_message",
    "pack_ids",
    "read_message",
    "unpack_ids",
]
