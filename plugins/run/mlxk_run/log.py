"""What the parts of mlxk log about themselves, kept until it can be noted without being in an answer's way."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mlxk_core.api.commands import Output


class Log(logging.Handler):
    """The lines that were logged, from any thread, and not told yet."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())

    def tell(self, output: Output) -> None:
        while self._lines:
            output.note(self._lines.pop(0))


@contextmanager
def kept(*, on: bool) -> Iterator[Log]:
    """While it lasts, what is logged under `mlxk` is kept; nothing is if not `on`."""
    log, logger = Log(), logging.getLogger("mlxk")
    if not on:
        yield log
        return
    before = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    try:
        yield log
    finally:
        logger.setLevel(before)
        logger.removeHandler(log)
