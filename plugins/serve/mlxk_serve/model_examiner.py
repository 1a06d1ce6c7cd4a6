"""What the files of models say about them, read again only when they change."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from mlxk_core.api.host import Host
from mlxk_core.api.models import Facts, FileIdentity, FileIdentityCache, Model, check_health, model_context_length


@dataclass(frozen=True)
class ExaminedModel:
    """Properties of a model, from its files."""

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
        self._examined = FileIdentityCache(self._examine)

    def examine(self, model: Model, identity: FileIdentity | None = None) -> ExaminedModel:
        """Look at a model's files once; again only when they change. A damaged model costs as little as a good one.

        `identity` is that of its files, if it is known. Raises `MlxkError` if they cannot be read.
        """
        return self._examined.get(model, identity)

    def describe(self, model: Model) -> ExaminedModel:
        """Return all properties, also of a model that cannot be run. Raises `MlxkError` for a damaged one."""
        examined = self.examine(model)
        return examined if examined.runnable else self._describe(model, runnable=False)

    def forget_deleted(self, *, keep: Collection[Model]) -> None:
        """Forget the models whose files are gone, other than those to `keep`."""
        self._examined.forget_deleted(keep=keep)

    def _examine(self, model: Model) -> ExaminedModel:
        runnable = any(verdict.accepted for _, verdict in self._host.verdicts(model))
        runnable = runnable and check_health(model).once_accepted.healthy
        return self._describe(model, runnable=True) if runnable else ExaminedModel(False)

    def _describe(self, model: Model, *, runnable: bool) -> ExaminedModel:
        known = Facts(model, self._host.finds_tool_calls).capabilities
        return ExaminedModel(
            runnable,
            created=int(moment.timestamp()) if (moment := model.downloaded_at) else 0,
            context_length=model_context_length(model),
            capabilities=self._capabilities(model, known),
            tools=self._tools(known),
        )

    def _tools(self, known: Collection[str]) -> Literal["native", "generic"] | None:
        """Where tools are described: the chat template or the system message; None if the model cannot use tools."""
        if "tools" in known:
            return "native"
        return "generic" if "chat" in known and self._generic_tools else None

    def _capabilities(self, model: Model, known: Collection[str]) -> tuple[str, ...]:
        if only := tuple(name for name in ("embeddings", "rerank") if name in known):
            return only
        more = {"tools": "tools" in known, "reasoning": self._host.reasoning_format(model) is not None}
        return ("chat", "completions", *(name for name, holds in more.items() if holds))
