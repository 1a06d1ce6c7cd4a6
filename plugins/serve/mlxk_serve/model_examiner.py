"""What the files of models say about them, read again only when they change."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlxk_core.api.host import Host
from mlxk_core.api.models import Facts, Model, check_health, model_context_length

Identity = tuple[tuple[str, int, int, int], ...]
"""The files of a model: name, inode, size and modification time of each."""


@dataclass(frozen=True)
class ExaminedModel:
    """Properties of a model, from its files."""

    identity: Identity
    runnable: bool
    created: int = 0
    context_length: int | None = None
    capabilities: tuple[str, ...] = ()
    tools: Literal["native", "generic"] | None = None


class ModelExaminer:
    """Examines models for one server. Safe for use by several threads."""

    def __init__(self, host: Host, *, generic_tools: bool) -> None:
        self._host = host
        self._generic_tools = generic_tools
        self._examined: dict[Model, ExaminedModel] = {}

    def examine(self, model: Model) -> ExaminedModel:
        """Look at a model's files once; again only when they change. A damaged model costs as little as a good one."""
        identity = _identity(model.path)
        examined = self._examined.get(model)
        if examined is not None and examined.identity == identity:
            return examined
        runnable = any(verdict.accepted for _, verdict in self._host.verdicts(model))
        runnable = runnable and check_health(model).once_accepted.healthy
        examined = self._describe(model, identity, runnable=True) if runnable else ExaminedModel(identity, False)
        self._examined[model] = examined
        return examined

    def describe(self, model: Model) -> ExaminedModel:
        """Return all properties, also of a model that cannot be run. Raises `MlxkError` for a damaged one."""
        examined = self.examine(model)
        return examined if examined.runnable else self._describe(model, examined.identity, runnable=False)

    def forget_deleted(self, *, keep: Collection[Model]) -> None:
        """Forget the models whose files are gone, other than those to `keep`."""
        kept = set(keep)
        for model in list(self._examined):  # a copy: other threads add to it
            if model not in kept and not model.path.exists():
                self._examined.pop(model, None)

    def _describe(self, model: Model, identity: Identity, *, runnable: bool) -> ExaminedModel:
        return ExaminedModel(
            identity,
            runnable,
            created=int(model.path.stat().st_mtime),
            context_length=model_context_length(model),
            capabilities=self._capabilities(model),
            tools=self._tools(model),
        )

    def _tools(self, model: Model) -> Literal["native", "generic"] | None:
        """Where tools are described: the chat template or the system message; None if the model cannot use tools."""
        capabilities = Facts(model, self._host.finds_tool_calls).capabilities
        if "tools" in capabilities:
            return "native"
        return "generic" if "chat" in capabilities and self._generic_tools else None

    def _capabilities(self, model: Model) -> tuple[str, ...]:
        known = Facts(model).capabilities
        if only := tuple(name for name in ("embeddings", "rerank") if name in known):
            return only
        more = {
            "tools": self._tools(model) == "native",
            "reasoning": self._host.reasoning_format(model) is not None,
        }
        return ("chat", "completions", *(name for name, holds in more.items() if holds))


def _identity(path: Path) -> Identity:
    """Return the identity of the files at `path` (a folder, or one file). Raises `OSError` if it does not exist."""
    if not path.is_dir():
        return (_stamp("", path.stat()),)
    with os.scandir(path) as entries:
        return tuple(sorted(_stamp(entry.name, _status(entry)) for entry in entries))


def _stamp(name: str, status: os.stat_result) -> tuple[str, int, int, int]:
    return (name, status.st_ino, status.st_size, status.st_mtime_ns)


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except OSError:  # a dangling link
        return entry.stat(follow_symlinks=False)
