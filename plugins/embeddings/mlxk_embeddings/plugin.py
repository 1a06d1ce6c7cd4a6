"""The plugin's descriptions."""

from __future__ import annotations

from collections.abc import Iterator

from mlxk_core.api import CommandSpec, ServerExtensionSpec, hookimpl


@hookimpl
def mlxk_commands() -> Iterator[CommandSpec]:
    yield CommandSpec(
        name="embed",
        summary="Print the embeddings of texts.",
        target="mlxk_embeddings.embed:embed",
        section="Run models",
    )


@hookimpl
def mlxk_server_extensions() -> Iterator[ServerExtensionSpec]:
    yield ServerExtensionSpec(
        name="embeddings",
        summary="Embeddings (/v1/embeddings) and reranking (/v1/rerank).",
        target="mlxk_embeddings.extension:extend",
    )
