"""Integrity: whether the files of a model are complete and readable, regardless of what can run them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from mlxk_core._models.health_checks import CHECKS, Problem
from mlxk_core._models.manifest import Manifest
from mlxk_core._models.model import Model

State = Literal["healthy", "unfinished", "damaged"]

# Problems that do not count for a model whose weights only a backend knows: it may be complete without these files.
_ONLY_WITH_KNOWN_WEIGHTS = frozenset({"no_weights_found", "config_missing", "tokenizer_missing"})
# Problems of files that are absent, not damaged: a download that has not finished.
_ABSENT_FILES = frozenset(
    {
        *("download_unfinished", "snapshot_missing", "no_weights_found", "missing_shard", "index_missing_shard"),
        *("config_missing", "tokenizer_missing"),
    }
)


@dataclass(frozen=True, slots=True)
class Health:
    """The problems of a model's files, the most informative first.

    `unfinished`: files from the hub are only absent, so a pull completes the model.
    """

    problems: tuple[Problem, ...] = ()
    unfinished: bool = False

    @property
    def healthy(self) -> bool:
        return not self.problems

    @property
    def reason(self) -> str | None:
        """The first problem's sentence, None for a healthy model."""
        return self.problems[0].message if self.problems else None

    @property
    def incomplete(self) -> bool:
        """Whether files are missing: a download is unfinished, or links are broken."""
        return self.unfinished or any(problem.code == "dangling_link" for problem in self.problems)

    @property
    def state(self) -> State:
        return "healthy" if self.healthy else "unfinished" if self.unfinished else "damaged"

    @property
    def once_accepted(self) -> Health:
        """The health of a model that a backend accepts.

        Weights in no known format are in one that only the backend knows: nothing counts as missing then, but files may
        still be damaged.
        """
        if all(problem.code != "no_weights_found" for problem in self.problems):
            return self
        left = tuple(problem for problem in self.problems if problem.code not in _ONLY_WITH_KNOWN_WEIGHTS)
        return Health(left, unfinished=self.unfinished and bool(left))


def check_health(model: Model, *, left_out: Callable[[str], bool] = lambda name: False) -> Health:
    """Check every file's name, size and header, never the weights.

    If the model has a GGUF variant, the others of its repository do not count. Files for which `left_out(name)` is true
    count as absent.
    """
    manifest = Manifest(model, left_out)
    found = [problem for each in CHECKS for problem in each(manifest)]
    # One problem per file: an LFS pointer is also invalid JSON, a dangling link is also empty.
    first: dict[object, Problem] = {}
    for problem in found:
        first.setdefault(problem.file or problem, problem)
    problems = tuple(first.values())
    if model.origin != "hub" or not problems or any(problem.code not in _ABSENT_FILES for problem in problems):
        return Health(problems)
    hint = f"{problems[0].message} Unfinished download: run `mlxk pull {_pullable(model)}`."
    return Health((replace(problems[0], message=hint), *problems[1:]), unfinished=True)


def _pullable(model: Model) -> str:
    """Return the reference that a pull needs to complete the model."""
    return f"{model.name}:{model.variant}" if model.variant else model.name
