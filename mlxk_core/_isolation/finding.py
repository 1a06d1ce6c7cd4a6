"""What is wrong with a plugin, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mlxk_core._errors import type_and_message
from mlxk_core._isolation.error_place import error_place


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a plugin. Two are equal if they differ in `place` only: one error may be met at
    several lines."""

    problem: str
    place: str | None = field(default=None, compare=False)

    @classmethod
    def of_error(
        cls, before: str, error: BaseException, packages: Iterable[str] = (), source: object = None
    ) -> Finding:
        """Return the finding about an error that was caught; `before` begins its text. `source` as in `error_place`."""
        return cls(f"{before} {type_and_message(error)}".lstrip(), error_place(error, packages, source))

    def __str__(self) -> str:
        return f"{self.problem} ({self.place})" if self.place else self.problem
