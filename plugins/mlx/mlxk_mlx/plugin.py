"""What the mlx plugin brings: a backend, how its weights are stored, and what MLX's libraries know of answers."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api import (
    BackendSpec,
    Evidence,
    Model,
    Quantization,
    QuantizationDetectorSpec,
    ReasoningExtractorSpec,
    Verdict,
    hookimpl,
)


@hookimpl
def mlxk_backends() -> Iterable[BackendSpec]:
    yield BackendSpec(
        name="mlx",
        summary="Models in MLX form, run by mlx-lm in one continuous batch.",
        accepts=_accepts,
        target="mlxk_mlx.loading:load",
        estimate="mlxk_mlx.memory:estimate",
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
        target="mlxk_mlx.tool_calls:around",
        tool_calls="around",
    )
    yield ReasoningExtractorSpec(
        name="response-template",
        summary="What the model's own response_template says, read by transformers",
        matches=_responses,
        target="mlxk_mlx.response_template:extractor",
        tool_calls="own",
    )


def _accepts(model: Model) -> Verdict:
    from mlxk_mlx.supported import accepts

    return accepts(model)


def _detect(model: Model) -> Iterable[Quantization]:
    from mlxk_mlx.quantization import detect

    return detect(model)


def _tool_calls(model: Model) -> Evidence | None:
    from mlxk_mlx.declared import tool_calls

    return tool_calls(model)


def _responses(model: Model) -> Evidence | None:
    from mlxk_mlx.declared import responses

    return responses(model)
