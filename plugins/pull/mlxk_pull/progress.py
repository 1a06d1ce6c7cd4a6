"""Progress of a download: a bar on a terminal, lines in a log, JSON for programs, nothing with `--json` alone."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Protocol, Self

from mlxk_core.api.commands import Output
from mlxk_core.api.text import human_size
from mlxk_pull.reader_watch import interrupt_without_reader

_NARROW = 50  # columns of a terminal that has room for the size and the time left only
_LINE_EVERY = 30.0  # seconds, at the latest
_LINE_STEP = 0.1  # of the whole


class Progress(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def update(self, done: int) -> None:
        """Show that `done` bytes of the total are downloaded."""

    def note(self, text: str) -> None:
        """Show a sentence."""


def show_progress(output: Output, title: str, total: int, *, done: int = 0, revision: str | None = None) -> Progress:
    """Return the display for a download of `total` bytes, of which `done` were present before.

    With a `revision` it is JSON.
    """
    if revision is not None:
        return JsonLines(output, title, revision, total, done)
    if output.json:
        return Silent()
    return Bar(title, total, done) if output.stderr_is_terminal else Lines(output, title, total, done)


class Silent:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, done: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class JsonLines:
    """A JSON object on standard error for each change; standard output is for the result."""

    def __init__(self, output: Output, title: str, revision: str, total: int, done: int) -> None:
        self._output = output
        self._total = total
        self._fields = {"model": title, "revision": revision, "total": total}
        self.update(done)

    def __enter__(self) -> Self:
        interrupt_without_reader()
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, done: int) -> None:
        self._output.note(json.dumps({**self._fields, "completed": min(done, self._total)}))

    def note(self, text: str) -> None:
        pass


class Bar:
    """One bar for all files: bytes, speed and the time left."""

    def __init__(self, title: str, total: int, done: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        console = Console(stderr=True)
        columns = [
            # A long name is cut first: the numbers matter more.
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
            BarColumn(bar_width=20),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
        ]
        if console.width < _NARROW:
            columns = [columns[2], columns[4]]
        self._bar = RichProgress(
            *columns,
            console=console,
            transient=True,
            expand=True,
        )
        self._task = self._bar.add_task(title, total=total, completed=done)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def update(self, done: int) -> None:
        self._bar.update(self._task, completed=done)

    def note(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False)


class Lines:
    """A line for every tenth of the total, and one every 30 s in between."""

    def __init__(self, output: Output, title: str, total: int, done: int) -> None:
        self._output, self._title, self._total, self._before = output, title, total, done
        self._started: float | None = None  # when bytes began to arrive
        self._last = time.monotonic()
        self._next = _next_step(done / total if total else 1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, done: int) -> None:
        share = done / self._total if self._total else 1.0
        now = time.monotonic()
        if self._started is None:
            self._started, self._before = now, done
            return
        if share >= 1.0 or (share < self._next and now - self._last < _LINE_EVERY):
            return
        self._last, self._next = now, _next_step(share)
        speed = (done - self._before) / max(now - self._started, 0.001)
        left = (self._total - done) / speed if speed else 0.0
        self._output.note(
            f"{self._title}: {human_size(done)} of {human_size(self._total)} ({share:.0%}), "
            f"{human_size(round(speed))}/s, {_duration(left)} left"
        )

    def note(self, text: str) -> None:
        self._output.note(text)


def file_size(path: Path) -> int:
    """Return the size of a file in bytes, 0 if it does not exist."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _next_step(share: float) -> float:
    return (share // _LINE_STEP + 1) * _LINE_STEP


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
