"""What the gguf plugin brings: the backend `gguf`, and the detector of GGUF quantizations."""

from __future__ import annotations

from mlxk_core.api import BackendSpec, QuantizationDetectorSpec, hookimpl
from mlxk_gguf.quantization import detect
from mlxk_gguf.support import accepts


@hookimpl
def mlxk_backends():
    yield BackendSpec(
        name="gguf",
        summary="GGUF files, run by MLX.",
        accepts=accepts,
        target="mlxk_gguf.engine:load",
        estimate="mlxk_gguf.engine:estimate",
    )


@hookimpl
def mlxk_quantization_detectors():
    yield QuantizationDetectorSpec(name="gguf", detect=detect)
