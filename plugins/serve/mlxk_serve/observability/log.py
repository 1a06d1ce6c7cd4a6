"""The log on standard error: its format, without bodies, keys and private paths."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlxk_core.api.commands import escape_control
from mlxk_core.api.paths import expand_user
from mlxk_core.api.text import shorten_middle
from mlxk_serve.observability.line_writer import LineWriter

_LONGEST_MESSAGE = 20_000
"""Characters of a message or a traceback that are searched for keys."""
LOGGER = logging.getLogger("mlxk.serve")
_SECRETS = (
    re.compile(r"(?i)\b(bearer\s+)[^\s'\",]+"),
    re.compile(r"(?i)\b((?:x-)?api[-_]key['\"]?\s*[:=]\s*['\"]?)[^\s'\",]+"),
    re.compile(r"\b()(?:hf_|sk-)[A-Za-z0-9_-]{8,}"),
)


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
        message = shorten_middle(record.getMessage(), _LONGEST_MESSAGE)
        facts: dict[str, Any] = getattr(record, "facts", {})
        trace = shorten_middle(self.formatException(record.exc_info), _LONGEST_MESSAGE) if record.exc_info else None
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
        whole = escape_control(f"{moment} {level}{message}{listed}")  # what a client sends must not forge lines
        return self._redact(whole + (f"\n{trace}" if trace else ""))

    def _redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        for pattern in _SECRETS:
            text = pattern.sub(r"\1[key]", text)
        return text.replace(self._home, "~") if len(self._home) > 1 else text


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
