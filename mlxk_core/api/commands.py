"""What a command works with: the session, its output and `--json`."""

from __future__ import annotations

from mlxk_core._cli.main import run
from mlxk_core._cli.output import Output, harmless
from mlxk_core._cli.session import Session, announce, json_option

__all__ = [
    "Output",
    "Session",
    "announce",
    "harmless",
    "json_option",
    "run",
]
