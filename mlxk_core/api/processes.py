"""For work that may take any time or memory: child processes that answer requests, a bound on what runs at once,
and turns of the clients."""

from __future__ import annotations

from mlxk_core._processes.child_messages import (
    announce,
    encode_body,
    encode_message,
    pack_ids,
    read_body,
    read_message,
    unpack_ids,
)
from mlxk_core._processes.child_process import ChildProcess, ProcessNotStarted
from mlxk_core._processes.client_queues import ClientQueues
from mlxk_core._processes.slots import Slots

__all__ = [
    "ChildProcess",
    "ClientQueues",
    "ProcessNotStarted",
    "Slots",
    "announce",
    "encode_body",
    "encode_message",
    "pack_ids",
    "read_body",
    "read_message",
    "unpack_ids",
]
