"""Hooks of the gguf plugin: a backend and a quantization detector."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlxk_core.api import BackendSpec, Quantization, QuantizationDetectorSpec, Verdict, hookimpl

if TYPE_CHECKING:
    from mlxk_core.api import Model


@hookimpl
def mlxk_backends() -> Iterable[BackendSpec]:
    yield BackendSpec(
        name="gguf",
        summary="GGUF files, run by MLX.",
        accepts=_accepts,
        target="mlxk_gguf.engine:load",
        estimate="mlxk_gguf.engine:estimate",
        renderer="mlxk_mlx.loading.chat_template_files:renderer",
        constraints=True,
        prompt_logprobs=True,
        tasks=frozenset({"embeddings"}),
    )


@hookimpl
def mlxk_quantization_detectors() -> Iterable[QuantizationDetectorSpec]:
    yield QuantizationDetectorSpec(name="gguf", detect=_detect)


def _accepts(model: Model) -> Verdict:
    from mlxk_gguf.support import accepts

    return accepts(model)


def _detect(model: Model) -> Iterable[Quantization]:
    from mlxk_gguf.quantization import detect

    return detect(model)
