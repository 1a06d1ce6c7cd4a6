"""`mlxk` that ends with the process that started it: `python -m mlxk_launch.agent_server serve …`.

However that process ends, its end of our standard input is closed.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

from mlxk_launch.processes import END_SECONDS


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, name="mlxk-parent-watch", daemon=True).start()
    runpy.run_module("mlxk_core", run_name="__main__")
