"""How far a download has come: one bar on a terminal, lines in a log, nothing with `--json`."""

from __future__ import annotations

import time
from typing import Any, Protocol, Self

from mlxk_core.api.commands import Output

_LINE_EVERY = 30.0  # seconds, at the latest
_LINE_STEP = 0.1  # of the whole


class Progress(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(self, *error: Any) -> None: ...

    def at(self, done: int) -> None:
        """`done` bytes of the whole are here."""

    def note(self, text: str) -> None:
        """Something the person who watches should know."""


def progress(output: Output, title: str, total: int) -> Progress:
    if output.json:
        return Silent()
    return Bar(title, total) if output.stderr_is_terminal else Lines(output, title, total)


class Silent:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def at(self, done: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Bar:
    """One bar for the whole download: bytes, speed and the time that is left. It goes when it is full."""

    def __init__(self, title: str, total: int) -> None:
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

        self._bar = RichProgress(
            # A long name gives way: the numbers are what one looks for.
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
            BarColumn(bar_width=20),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
            expand=True,
        )
        self._task = self._bar.add_task(title, total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def at(self, done: int) -> None:
        self._bar.update(self._task, completed=done)

    def note(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False)


class Lines:
    """A line for every tenth, and one now and then in between."""

    def __init__(self, output: Output, title: str, total: int) -> None:
        self._output, self._title, self._total = output, title, total
        self._begun = self._last = time.monotonic()
        self._next = _LINE_STEP

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def at(self, done: int) -> None:
        share = done / self._total if self._total else 1.0
        now = time.monotonic()
        if share >= 1.0 or (share < self._next and now - self._last < _LINE_EVERY):
            return
        self._last, self._next = now, (share // _LINE_STEP + 1) * _LINE_STEP
        speed = done / max(now - self._begun, 0.001)
        left = (self._total - done) / speed if speed else 0.0
        self._output.note(
            f"{self._title}: {spelled(done)} of {spelled(self._total)} ({share:.0%}), {spelled(round(speed))}/s, "
            f"{_duration(left)} left"
        )

    def note(self, text: str) -> None:
        self._output.note(text)


def spelled(size: int) -> str:
    """A size in bytes for a person: decimal, as disks and the hub count."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.95:
            return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
