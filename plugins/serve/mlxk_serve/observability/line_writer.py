"""Writing of log lines, which never blocks."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque

_MOST_LINES, _MOST_BYTES = 4096, 8 << 20
"""Lines that wait to be written: those of requests with long paths have 80 kB each."""
_FLUSH_SECONDS, _LONGEST_FLUSH = 0.5, 2.0


class LineWriter(logging.Handler):
    """Writes lines to a file descriptor from a thread of its own.

    A pipe that is not read or a full disk costs log lines and nothing else: `dropped` counts them.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.dropped = 0
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._ready = threading.Condition()
        self._writing = False
        threading.Thread(target=self._run, name="mlxk-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception:  # a record whose arguments do not fit its message
            self.handleError(record)
            return
        with self._ready:
            if len(self._lines) >= _MOST_LINES or self._bytes + len(line) > _MOST_BYTES:
                self.dropped += 1
                return
            self._lines.append(line)
            self._bytes += len(line)
            self._ready.notify_all()

    def flush(self) -> None:
        """Wait for the lines that are not written yet: half a second, or two while they are being written."""
        deadline = time.monotonic() + _LONGEST_FLUSH
        with self._ready:
            while self._lines or self._writing:
                left = min(_FLUSH_SECONDS, deadline - time.monotonic())
                if left <= 0 or not self._ready.wait(left):
                    return

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._lines:
                    self._ready.wait()
                line = self._lines.popleft()
                self._bytes -= len(line)
                self._writing = True
            if not self._write(line):
                self.dropped += 1
            with self._ready:
                self._writing = False
                self._ready.notify_all()

    def _write(self, line: bytes) -> bool:
        # Not through sys.stderr: its lock would be held while a write blocks, and the interpreter needs it to exit.
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except OSError:
                return False
        return True


def dropped_lines() -> int:
    """Return the log lines lost so far."""
    return sum(handler.dropped for handler in logging.getLogger().handlers if isinstance(handler, LineWriter))
