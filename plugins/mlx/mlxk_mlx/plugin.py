"""Hooks of the mlx plugin: a backend, a quantization detector, and formats of tool calls and responses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlxk_core.api import (
    BackendSpec,
    Evidence,
    Quantization,
    QuantizationDetectorSpec,
    ReasoningExtractorSpec,
    Verdict,
    hookimpl,
)

if TYPE_CHECKING:
    from mlxk_core.api import Model


@hookimpl
def mlxk_backends() -> Iterable[BackendSpec]:
    yield BackendSpec(
        name="mlx",
        summary="Models in MLX form, run by mlx-lm in one continuous batch.",
        accepts=_accepts,
        target="mlxk_mlx.loading.load:load",
        estimate="mlxk_mlx.loading.memory:estimate",
        renderer="mlxk_mlx.loading.chat_template_files:renderer",
        constraints=True,
        prompt_logprobs=True,
        tasks=frozenset({"embeddings", "rerank"}),
    )


@hookimpl
def mlxk_quantization_detectors() -> Iterable[QuantizationDetectorSpec]:
    yield QuantizationDetectorSpec(name="mlx", detect=_detect)


@hookimpl
def mlxk_reasoning_extractors() -> Iterable[ReasoningExtractorSpec]:
    yield ReasoningExtractorSpec(
        name="tool-calls",
        summary="Tool calls in the formats mlx-lm reads, around any format of reasoning",
        matches=_tool_calls,
        target="mlxk_mlx.formats.tool_call_scanner:around",
        tool_calls="around",
        grammar="mlxk_mlx.formats.tool_call_grammar:response_grammar",
    )
    yield ReasoningExtractorSpec(
        name="response-template",
        summary="The model's own response_template, read by transformers",
        matches=_responses,
        target="mlxk_mlx.formats.response_template:extractor",
        grammar="mlxk_mlx.formats.response_template_grammar:grammar",
        tool_calls="own",
    )


def _accepts(model: Model) -> Verdict:
    from mlxk_mlx.support.architectures import accepts

    return accepts(model)


def _detect(model: Model) -> Iterable[Quantization]:
    from mlxk_mlx.support.quantization_detector import detect

    return detect(model)


def _tool_calls(model: Model) -> Evidence | None:
    from mlxk_mlx.formats.format_evidence import tool_calls

    return tool_calls(model)


def _responses(model: Model) -> Evidence | None:
    from mlxk_mlx.formats.format_evidence import responses

    return responses(model)
