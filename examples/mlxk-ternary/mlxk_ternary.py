"""A quantization detector: weights of -1, 0 and 1, as their config declares them."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api import Model, Quantization, QuantizationDetectorSpec, hookimpl

__version__ = "0.1.0"


# --8<-- [start:detector]
@hookimpl
def mlxk_quantization_detectors() -> Iterable[QuantizationDetectorSpec]:
    yield QuantizationDetectorSpec(name="ternary", detect=detect)


def detect(model: Model) -> Iterable[Quantization]:
    declared = model.config.get("quantization_config")
    if not isinstance(declared, dict) or declared.get("quant_method") != "ternary":
        return
    packed = any(tensor.dtype == "U8" for tensor in model.weights.tensors.values())
    yield Quantization(
        format="safetensors",
        label="ternary" if packed else "ternary (not packed)",
        method="ternary",
        bits=1.58,
        notes=() if packed else ("The config says ternary, and no tensor is packed.",),
    )


# --8<-- [end:detector]
