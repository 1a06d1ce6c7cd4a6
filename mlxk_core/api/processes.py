"""For work that may take any time or memory: a child process that answers one request at a time."""

from __future__ import annotations

from mlxk_core._processes.child_messages import encode_message, read_message
from mlxk_core._processes.child_process import ChildProcess

__all__ = ["ChildProcess", "encode_message", "read_message"]
