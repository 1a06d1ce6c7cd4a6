"""The error for a function of an engine that returns a value of another type."""

from __future__ import annotations


class WrongResult(TypeError):
    """`returned_by`, a function of an engine or its tokenizer, returned a value of another type."""

    def __init__(self, problem: str, returned_by: object) -> None:
        super().__init__(problem)
        self.returned_by = returned_by
