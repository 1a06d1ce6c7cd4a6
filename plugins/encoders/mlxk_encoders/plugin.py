"""Hook of the encoders plugin: a backend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlxk_core.api import BackendSpec, Verdict, hookimpl

if TYPE_CHECKING:
    from mlxk_core.api import Model


@hookimpl
def mlxk_backends() -> Iterable[BackendSpec]:
    yield BackendSpec(
        name="encoders",
        summary="Encoders of the BERT kind, for embeddings and reranking.",
        accepts=_accepts,
        target="mlxk_encoders.load:load",
        estimate="mlxk_mlx.loading.memory:estimate",
        tasks=frozenset({"embeddings", "rerank"}),
    )


def _accepts(model: Model) -> Verdict:
    from mlxk_encoders.support import accepts

    return accepts(model)
