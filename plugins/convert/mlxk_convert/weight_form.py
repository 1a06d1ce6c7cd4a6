"""The form of the weights to write, as the options of `convert` describe it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlxk_core.api.errors import InvalidOption, UsageError

DType = Literal["float16", "bfloat16", "float32"]
DTYPES: tuple[DType, ...] = ("float16", "bfloat16", "float32")
RECIPES = ("mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6")
"""Recipes of mlx-lm: more bits for the layers that need them."""
_SHORT = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A quantization mode of MLX: the bits and group sizes it supports, the default first."""

    bits: tuple[int, ...]
    group_sizes: tuple[int, ...]


MODES = {
    "affine": Mode(bits=(4, 2, 3, 5, 6, 8), group_sizes=(64, 32, 128)),
    "mxfp4": Mode(bits=(4,), group_sizes=(32,)),
    "mxfp8": Mode(bits=(8,), group_sizes=(32,)),
    "nvfp4": Mode(bits=(4,), group_sizes=(16,)),
}


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How to quantize. With `recipe`, `bits` applies to the layers that the recipe does not name."""

    mode: str
    bits: int
    group_size: int
    recipe: str | None = None


@dataclass(frozen=True, kw_only=True)
class WeightForm:
    """The weights to write. `dtype` is that of everything that is not quantized, None for the model's own."""

    quantization: Quantization | None
    dequantize: bool = False
    dtype: DType | None = None

    @classmethod
    def parse(
        cls,
        *,
        bits: int | None,
        group_size: int | None,
        mode: str | None,
        recipe: str | None,
        dtype: DType | None,
        quantize: bool,
        dequantize: bool,
    ) -> WeightForm:
        """Return the form that the options describe. Raises `UsageError` for options that exclude each other."""
        given = {"--bits": bits, "--group-size": group_size, "--mode": mode, "--recipe": recipe}
        if dequantize or not quantize:
            switch = "--dequantize" if dequantize else "--no-quantize"
            if dequantize and not quantize:
                raise UsageError("--dequantize cannot be used with --no-quantize.")
            for option, value in given.items():
                if value is not None:
                    raise UsageError(f"{option} cannot be used with {switch}.")
            return cls(quantization=None, dequantize=dequantize, dtype=dtype)
        if recipe is not None and (bits is not None or mode is not None):
            raise UsageError(f"{'--bits' if bits is not None else '--mode'} cannot be used with --recipe {recipe}.")
        mode = mode or "affine"
        allowed = MODES[mode]
        for option, value, values in (
            ("--bits", bits, allowed.bits),
            ("--group-size", group_size, allowed.group_sizes),
        ):
            if value is not None and value not in values:
                listed = ", ".join(map(str, sorted(values)))
                raise InvalidOption(option, f"{value} is not available with --mode {mode} (available: {listed}).")
        return cls(
            quantization=Quantization(
                mode=mode,
                bits=bits or allowed.bits[0],
                group_size=group_size or allowed.group_sizes[0],
                recipe=recipe,
            ),
            dtype=dtype,
        )

    @property
    def suffix(self) -> str:
        """The end of the converted model's name, as on the hub: `-4bit`, `-mxfp4`, `-bf16`."""
        if self.quantization is None:
            return f"-{_SHORT[self.dtype]}" if self.dtype else "-dequantized" if self.dequantize else "-mlx"
        if self.quantization.recipe:
            return f"-{self.quantization.recipe.replace('_', '-')}"
        if self.quantization.mode == "affine":
            return f"-{self.quantization.bits}bit"
        return f"-{self.quantization.mode}"
