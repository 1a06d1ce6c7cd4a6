"""The safetensors weights of a model: all tensors of the files that belong together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlxk_core._errors import BrokenModel
from mlxk_core._models.bounded_json import parse_json
from mlxk_core._models.cached import cached_property
from mlxk_core._models.files import read_small_file
from mlxk_core._models.header_budget import HeaderBudget
from mlxk_core._models.safetensors import SafetensorsHeader, Tensor, read_safetensors_header

INDEX = "model.safetensors.index.json"
_LARGEST_INDEX = 32 << 20  # bytes; 100,000 tensors take 10 MB
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_INTEGER_BITS = {"U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64}
# Tensors that describe others. They take bytes and are not parameters.
_SIDE_TENSOR = re.compile(
    r"(^|_)(scales?|scale_2|scale_inv|shape|zero_point|zeros)$"
    r"|^(biases|qzeros|g_idx|(nested_)?absmax|(nested_)?quant_map|SCB|weight_format)$"
)


@dataclass(frozen=True)
class Weights:
    """Headers and totals of the index. `unreadable` has the files that cannot be read, with the reason: the last one if
    the headers became `too_many`, after which no other was read."""

    headers: Mapping[str, SafetensorsHeader]
    unreadable: Mapping[str, str]
    total_size: int | None = None
    total_parameters: int | None = None
    too_many: bool = False

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """All tensors by name."""
        return {name: tensor for header in self.headers.values() for name, tensor in header.tensors.items()}

    @property
    def present(self) -> bool:
        """Whether there is at least one file, readable or not."""
        return bool(self.headers or self.unreadable)

    @cached_property
    def plain(self) -> bool:
        """Whether all files are readable and not packed: their tensors are floating-point numbers only."""
        tensors = self.tensors.values()
        matrices = any(len(tensor.shape) > 1 for tensor in tensors)
        return matrices and not self.unreadable and all(tensor.dtype in _FLOATS for tensor in tensors)

    @property
    def packed(self) -> Iterable[str]:
        """The layers that MLX has packed: 32-bit words in `.weight`, with `.scales` (GPTQ and AWQ use `.qweight`)."""
        tensors = self.tensors
        for name in tensors:
            layer, _, last = name.rpartition(".")
            if last == "scales" and f"{layer}.weight" in tensors and tensors[f"{layer}.weight"].dtype == "U32":
                yield layer

    def bits_per_weight(self, bits_of: Callable[[str], float | None]) -> float | None:
        """Return the bits on disk per parameter: from the totals of the index, else from the headers.

        `bits_of` returns the bits of one weight of a layer whose tensors are packed in integers, by the layer's path.
        """
        if self.total_size and self.total_parameters:
            return round(self.total_size * 8 / self.total_parameters, 2)
        if self.unreadable or not self.tensors:
            return None
        stored = sum(tensor.nbytes for tensor in self.tensors.values())
        parameters = sum(self._parameters(bits_of))
        return round(stored * 8 / parameters, 2) if parameters else None

    def _parameters(self, bits_of: Callable[[str], float | None]) -> Iterator[float]:
        for name, tensor in self.tensors.items():
            layer, _, last = name.rpartition(".")
            if _SIDE_TENSOR.search(last) or ".quant_state." in name:
                continue
            word = _INTEGER_BITS.get(tensor.dtype)
            bits = bits_of(layer) if word else None
            yield tensor.size * word / bits if word and bits and bits < word else tensor.size

    @cached_property
    def packer(self) -> str | None:
        """The tool whose names the tensors have, whatever a config says: `mlx`, `gptq`, `awq` or `bitsandbytes`."""
        if any(self.packed):
            return "mlx"
        names = self.tensors
        if any(name.endswith((".absmax", ".SCB")) or ".quant_state." in name for name in names):
            return "bitsandbytes"
        if any(name.endswith(".g_idx") for name in names):
            return "gptq"
        # Both write qweight. GPTQ packs along the inputs, so that its columns are those of the scales; AWQ the outputs.
        for name, tensor in names.items():
            layer, _, last = name.rpartition(".")
            if last == "qweight":
                scales = names.get(f"{layer}.scales")
                return "gptq" if scales and scales.shape[-1:] == tensor.shape[-1:] else "awq"
        return None


def weight_files(names: Iterable[str]) -> tuple[str, ...]:
    """Return the safetensors files that hold a model: `model*.safetensors`, else all in its top folder."""
    top = [name for name in names if name.endswith(".safetensors") and "/" not in name]
    return tuple([name for name in top if name.startswith("model")] or top)


def read_weights(folder: Path, names: Iterable[str]) -> Weights:
    """Read the headers of `weight_files(names)` in `folder` and the totals of the index. Does not raise for a damaged
    file."""
    headers: dict[str, SafetensorsHeader] = {}
    unreadable: dict[str, str] = {}
    budget = HeaderBudget()
    for name in weight_files(names):
        try:
            header = read_safetensors_header(folder / name)
            budget.add(header)
            headers[name] = header
        except BrokenModel as error:
            unreadable[name] = str(error)
        if budget.exceeded:
            break
    return Weights(headers, unreadable, *_totals(folder), too_many=budget.exceeded)


def _totals(folder: Path) -> tuple[int | None, int | None]:
    path = folder / INDEX
    try:
        metadata = parse_json(read_small_file(path, _LARGEST_INDEX))["metadata"]
        size, parameters = metadata.get("total_size"), metadata.get("total_parameters")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, None  # no index, or one that health reports
    return _positive(size), _positive(parameters)


def _positive(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and 1 <= value < 1 << 64 else None
