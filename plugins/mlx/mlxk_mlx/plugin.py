"""What the mlx plugin brings: a backend, and a detector of how MLX weights are stored."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api import BackendSpec, Model, Quantization, QuantizationDetectorSpec, Verdict, hookimpl


@hookimpl
def mlxk_backends() -> Iterable[BackendSpec]:
    yield BackendSpec(
        name="mlx",
        summary="Models in MLX form, run by mlx-lm in one continuous batch.",
        accepts=_accepts,
        target="mlxk_mlx.loading:load",
        estimate="mlxk_mlx.weights:estimate",
    )


@hookimpl
def mlxk_quantization_detectors() -> Iterable[QuantizationDetectorSpec]:
    yield QuantizationDetectorSpec(name="mlx", detect=_detect)


def _accepts(model: Model) -> Verdict:
    from mlxk_mlx.supported import accepts

    return accepts(model)


def _detect(model: Model) -> Iterable[Quantization]:
    from mlxk_mlx.quantization import detect

    return detect(model)
