"""Log records of mlxk, collected until they can be printed without interrupting an answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mlxk_core.api.commands import Output


class Log(logging.Handler):
    """Lines logged by any thread and not printed yet."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())

    def print(self, output: Output) -> None:
        """Print the collected lines to standard error."""
        while self._lines:
            output.note(self._lines.pop(0))


@contextmanager
def captured_log(*, on: bool) -> Iterator[Log]:
    """Collect what is logged under `mlxk`, if `on`."""
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
