"""The log on standard error: one line a request, without bodies, keys and private paths. Writing never blocks."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlxk_core.api.paths import expand_user

LOGGER = logging.getLogger("mlxk.serve")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # in a path or a name from a client, they would forge lines
_SECRETS = (
    re.compile(r"(?i)\b(bearer\s+)[^\s'\",]+"),
    re.compile(r"(?i)\b((?:x-)?api[-_]key['\"]?\s*[:=]\s*['\"]?)[^\s'\",]+"),
    re.compile(r"\b()(?:hf_|sk-)[A-Za-z0-9_-]{8,}"),
)
_MOST_LINES = 4096
_FLUSH_SECONDS = 0.5


def event(level: int, message: str, **facts: Any) -> None:
    """Log a message with facts; those that are None are left out."""
    LOGGER.log(level, message, extra={"facts": {k: v for k, v in facts.items() if v is not None}})


class _Formatter(logging.Formatter):
    def __init__(self, secrets: Sequence[str], as_json: bool) -> None:
        super().__init__()
        self._secrets = [secret for secret in secrets if secret]
        self._home = str(expand_user("~"))
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        facts: dict[str, Any] = getattr(record, "facts", {})
        trace = self.formatException(record.exc_info) if record.exc_info else None
        if self._as_json:
            moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            line: dict[str, Any] = {
                "time": f"{moment}.{int(record.msecs):03d}Z",
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": self._redact(message),
                **{k: self._redact(v) if isinstance(v, str) else v for k, v in facts.items()},
            }
            if trace:
                line["traceback"] = self._redact(trace)
            return json.dumps(line, ensure_ascii=False, default=str)
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        listed = "".join(f" {name}={value}" for name, value in facts.items())
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        whole = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", f"{moment} {level}{message}{listed}")
        return self._redact(whole + (f"\n{trace}" if trace else ""))

    def _redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        for pattern in _SECRETS:
            text = pattern.sub(r"\1[key]", text)
        return text.replace(self._home, "~") if len(self._home) > 1 else text


class LineWriter(logging.Handler):
    """Writes lines to a file descriptor from a thread of its own.

    A pipe that is not read or a full disk costs log lines and nothing else: `dropped` counts them.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.dropped = 0
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
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
            if len(self._lines) >= _MOST_LINES:
                self.dropped += 1
                return
            self._lines.append(line)
            self._ready.notify_all()

    def flush(self) -> None:
        """Wait half a second for the lines that are not written yet."""
        deadline = time.monotonic() + _FLUSH_SECONDS
        with self._ready:
            while self._lines or self._writing:
                left = deadline - time.monotonic()
                if left <= 0 or not self._ready.wait(left):
                    return

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._lines:
                    self._ready.wait()
                line = self._lines.popleft()
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


def _descriptor() -> int:
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # replaced by an object without a file
        return 2


@contextmanager
def to_stderr(level: str, *, as_json: bool, secrets: Sequence[str] = ()) -> Iterator[None]:
    """Send what mlxk and all libraries log to standard error, in one format, while the context lasts."""
    handler = LineWriter(_descriptor())
    handler.setFormatter(_Formatter(secrets, as_json))
    root = logging.getLogger()
    # waitress warns whenever a request waits for a worker: that is in our own line.
    ours, queue = logging.getLogger("mlxk"), logging.getLogger("waitress.queue")
    levels: dict[logging.Logger, int | str] = {root: logging.WARNING, ours: level.upper(), queue: logging.ERROR}
    before = root.handlers[:], {logger: logger.level for logger in levels}
    root.handlers[:] = [handler]
    for logger, wanted in levels.items():
        logger.setLevel(wanted)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = before[0]
        for logger, old in before[1].items():
            logger.setLevel(old)
        handler.flush()
