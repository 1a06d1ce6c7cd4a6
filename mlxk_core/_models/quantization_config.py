"""Quantization that the config of a model declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from mlxk_core._errors import BrokenModel
from mlxk_core._models.bounded_json import parse_json
from mlxk_core._models.files import read_error, read_small_file

if TYPE_CHECKING:
    from mlxk_core._models.model import Model

MLX_METHOD = "mlx"


class BlockFormat(NamedTuple):
    """A float format with one scale a block (OCP Microscaling, NVFP4): the same bits whichever tool wrote it."""

    name: str
    bits: int
    group_size: int


MXFP4 = BlockFormat("mxfp4", 4, 32)
MXFP8 = BlockFormat("mxfp8", 8, 32)
NVFP4 = BlockFormat("nvfp4", 4, 16)
FLOAT_BLOCK_FORMATS: Mapping[str, BlockFormat] = {each.name: each for each in (MXFP4, MXFP8, NVFP4)}
_COMPRESSED = {"mxfp4-pack-quantized": MXFP4, "nvfp4-pack-quantized": NVFP4}


@dataclass(frozen=True, slots=True)
class QuantizationDeclaration:
    """The quantization a config names.

    `method` is its `quant_method`, `"mlx"` for MLX's own key, None when settings name no method. `place` is where
    it was found (`config.json: quantization_config`).
    """

    method: str | None
    settings: Mapping[str, Any]
    place: str

    @property
    def none_packed(self) -> str:
        """Note for a model whose tensors are not packed in spite of the declaration."""
        return f"{self.place} declares a quantization, but the tensors are not packed."

    @property
    def block_format(self) -> BlockFormat | None:
        """The block format of weights that a tool other than MLX wrote, or None."""
        settings = self.settings
        match self.method:
            case "mxfp4" | "mxfp8":
                return FLOAT_BLOCK_FORMATS[self.method]
            case "fp8":
                # Scales that are powers of two over 32x32 blocks are mxfp8 under another name (DeepSeek-V4.1).
                blocks = settings.get("weight_block_size")
                return MXFP8 if settings.get("scale_fmt") == "ue8m0" and blocks == [32, 32] else None
            case "compressed-tensors":
                return _COMPRESSED.get(str(settings.get("format")))
            case "modelopt":
                return NVFP4 if str(settings.get("quant_algo")).upper() == "NVFP4" else None
        return None


def declared_quantization(model: Model) -> QuantizationDeclaration | None:
    """Return the declaration of `model`: MLX's key first, then `quantization_config`, then ModelOpt's own file."""
    config = model.config
    own = config.get("quantization")
    if isinstance(own, Mapping) and own:
        return QuantizationDeclaration(MLX_METHOD, own, "config.json: quantization")
    nested = config.get("text_config")
    for holder, place in ((config, "quantization_config"), (nested, "text_config.quantization_config")):
        settings = holder.get("quantization_config") if isinstance(holder, Mapping) else None
        if isinstance(settings, Mapping) and settings:
            return _other_tool(settings, f"config.json: {place}")
    settings = _model_optimizer(model)
    return _other_tool({"quant_method": "modelopt", **settings}, "hf_quant_config.json") if settings else None


def _other_tool(settings: Mapping[str, Any], place: str) -> QuantizationDeclaration:
    method = settings.get("quant_method")
    inner = settings.get("quantization")  # ModelOpt nests its settings one level deeper
    if isinstance(inner, Mapping):
        settings = {**settings, **inner}
    return QuantizationDeclaration(method.lower() if isinstance(method, str) and method else None, settings, place)


def _model_optimizer(model: Model) -> Mapping[str, Any]:
    path = model.path / "hf_quant_config.json"
    try:
        value = parse_json(read_small_file(path))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise BrokenModel(
            f"{path.name} of `{model.name}` cannot be read: {read_error(error)}", file=path.name
        ) from error
    return value if isinstance(value, dict) else {}
