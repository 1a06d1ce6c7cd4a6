"""Quantization of MLX models, from the tensors first and the config second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mlxk_core.api import Model, Quantization
from mlxk_core.api.errors import BrokenModel
from mlxk_core.api.models import FLOAT_BLOCK_FORMATS, MLX_METHOD, QuantizationDeclaration, Tensor, declared_quantization

AFFINE = "affine"

# The first MLX release that quantizes and computes in a mode. mxfp4: commit 70560b6bd; mxfp8 and nvfp4 came with
# 0.29.4 but their products only with 0.30.3 (ml-explore/mlx#2946).
_MODES_SINCE = {"mxfp4": "0.29.0", "mxfp8": "0.30.3", "nvfp4": "0.30.3"}
# Of the affine mode: 3 and 6 bits c79f6a4a8, 5 bits 6ef2f67e7; 0.32.3 still refuses 1 bit (tried).
_BITS_SINCE = {3: "0.21.0", 6: "0.21.0", 5: "0.26.0", 1: "0.32.4"}
_AFFINE_BITS = (1, 2, 3, 4, 5, 6, 8)
_AFFINE_GROUPS = (64, 32, 128, 16)  # the most usual one first
_AFFINE_DEFAULT = (4, 64)  # what mx.quantize takes when a config leaves them out
# Layers whose input is the hidden state, so that the config tells their real width. Embeddings nearly always have it.
_READS_HIDDEN_STATE = frozenset({"q_proj", "k_proj", "v_proj", "qkv_proj", "gate_proj", "up_proj", "gate_up_proj"})
_EMBEDDINGS = frozenset({"embed_tokens", "lm_head"})
_TOWERS = ("vision", "visual", "audio")
_LONGEST_LIST = 6
_LARGEST = 1 << 20
"""Above every number of bits, group size and width. With others, as a config may have, results would not be finite."""


class Scheme(NamedTuple):
    """The packing of one layer."""

    mode: str
    bits: int | None
    group_size: int | None

    @property
    def short(self) -> str:
        return f"int{self.bits}" if self.mode == AFFINE else self.mode

    @property
    def label(self) -> str:
        return f"{self.short} (group {self.group_size})" if self.mode == AFFINE and self.group_size else self.short

    @property
    def since(self) -> str | None:
        if self.mode == AFFINE:
            return _BITS_SINCE.get(self.bits or 0)
        return _MODES_SINCE.get(self.mode)


def detect(model: Model) -> Iterable[Quantization]:
    """Yield one result if MLX's packing is declared or found in the tensors, none for another form of weights."""
    try:
        declaration = declared_quantization(model)
    except BrokenModel:  # health reports it; the tensors may still be readable
        declaration = None
    if declaration is None and not any(model.weights.packed):
        return
    if declaration and declaration.method != MLX_METHOD and not declaration.block_format:
        return
    if not model.weights.present and model.variants:
        return  # the config describes what the GGUF files were made from
    if found := _result(model, declaration):
        yield found


def _result(model: Model, declaration: QuantizationDeclaration | None) -> Quantization | None:
    base, overrides = _declared_schemes(declaration)
    measured = dict(_measure(model, base, overrides))
    layers = measured or {path: scheme for path, scheme in overrides.items() if scheme}
    counts = Counter(layers.values())
    main = base if not measured or base in counts else counts.most_common(1)[0][0]
    if main is None:
        return None
    others = [scheme for scheme, _ in counts.most_common() if scheme != main]
    method = declaration.method if declaration and declaration.method else MLX_METHOD
    unpacked = [declaration.none_packed] if declaration and model.weights.plain else []
    return Quantization(
        format="safetensors",
        label=_label(main, others, method),
        method=method,
        mode=main.mode,
        bits=main.bits,
        group_size=main.group_size,
        bits_per_weight=_bits_per_weight(model, base, measured),
        mixed=bool(others),
        requires_mlx=_latest(scheme.since for scheme in (main, *others)),
        notes=(
            *unpacked,
            *_disagreement(declaration, base, overrides, measured),
            *_exceptions(layers, main, overrides),
        ),
    )


# What the config says


def _declared_schemes(declaration: QuantizationDeclaration | None) -> tuple[Scheme | None, Mapping[str, Scheme | None]]:
    """Return the scheme of all layers, and of those that have their own (None: not quantized)."""
    if declaration is None:
        return None, {}
    if block := declaration.block_format:
        return Scheme(*block), {}
    settings = declaration.settings
    base = _scheme(settings)
    overrides: dict[str, Scheme | None] = {}
    for path, value in settings.items():
        if isinstance(value, Mapping):
            overrides[path] = _scheme(value)
        elif isinstance(value, bool):
            overrides[path] = base if value else None
    return base, overrides


def _scheme(settings: Mapping[str, Any]) -> Scheme:
    mode = settings.get("mode")
    mode = mode if isinstance(mode, str) and mode else AFFINE
    block = FLOAT_BLOCK_FORMATS.get(mode)
    bits, group = (block.bits, block.group_size) if block else _AFFINE_DEFAULT if mode == AFFINE else (None, None)
    return Scheme(mode, _whole(settings.get("bits"), bits), _whole(settings.get("group_size"), group))


def _whole(value: object, default: int | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST else default


# What the tensors say


def _measure(model: Model, base: Scheme | None, overrides: Mapping[str, Scheme | None]) -> Iterator[tuple[str, Scheme]]:
    tensors = model.weights.tensors
    hidden = _hidden_size(model)
    for path in model.weights.packed:
        weight, scales = tensors[f"{path}.weight"], tensors[f"{path}.scales"]
        if not weight.shape or not scales.shape or not scales.shape[-1]:
            continue
        if scales.dtype == "U8":
            scheme = _block_scheme(weight, scales)
        else:
            last = "" if any(tower in path for tower in _TOWERS) else path.rpartition(".")[2]
            scheme = _affine_scheme(
                weight,
                scales,
                expected=overrides.get(path) or base,
                width=hidden if last in _READS_HIDDEN_STATE else None,
                likely=hidden if last in _EMBEDDINGS else None,
            )
        if scheme:
            yield path, scheme


def _block_scheme(weight: Tensor, scales: Tensor) -> Scheme | None:
    product = weight.shape[-1] * 32 // scales.shape[-1]
    return next(
        (Scheme(*each) for each in FLOAT_BLOCK_FORMATS.values() if each.bits * each.group_size == product), None
    )


def _affine_scheme(
    weight: Tensor, scales: Tensor, *, expected: Scheme | None, width: int | None, likely: int | None
) -> Scheme | None:
    """Return the scheme of a layer. The shapes give `bits * group_size`; telling them apart takes the layer's width, or
    the config."""
    packed, groups = weight.shape[-1] * 32, scales.shape[-1]
    product = packed // groups
    if scheme := _affine_of_width(packed, groups, width):
        return scheme
    if expected and expected.mode == AFFINE and (expected.bits or 0) * (expected.group_size or 0) == product:
        return expected
    if scheme := _affine_of_width(packed, groups, likely):
        return scheme
    for group in (expected.group_size if expected else None, *_AFFINE_GROUPS):
        if group and product % group == 0 and product // group in _AFFINE_BITS:
            return Scheme(AFFINE, product // group, group)
    return None


def _affine_of_width(packed: int, groups: int, width: int | None) -> Scheme | None:
    if not width or packed % width or width % groups or packed // width not in _AFFINE_BITS:
        return None
    return Scheme(AFFINE, packed // width, width // groups)


def _hidden_size(model: Model) -> int | None:
    try:
        config = model.config
    except BrokenModel:
        return None
    nested = config.get("text_config")
    for holder in (config, nested if isinstance(nested, Mapping) else {}):
        if width := _whole(holder.get("hidden_size"), None):
            return width
    return None


def _bits_per_weight(model: Model, base: Scheme | None, measured: Mapping[str, Scheme]) -> float | None:
    def bits_of(layer: str) -> float | None:
        scheme = measured.get(layer, base)
        return scheme.bits if scheme else None

    return model.weights.bits_per_weight(bits_of)


# Words


def _label(main: Scheme, others: list[Scheme], method: str) -> str:
    if not others:
        label = main.label
    else:
        shorts = list(dict.fromkeys(scheme.short for scheme in (main, *others)))
        groups = {scheme.group_size for scheme in (main, *others)}
        alike = all(scheme.mode == AFFINE for scheme in (main, *others)) and len(groups) == 1
        if len(shorts) == 1:  # one width in several group sizes
            label = f"{shorts[0]} (groups {', '.join(str(g) for g in sorted(filter(None, groups)))})"
        else:
            label = " + ".join(shorts) + (f" (group {main.group_size})" if alike else "")
    return label if method in (MLX_METHOD, main.mode, "fp8") else f"{label} ({method})"


def _disagreement(
    declaration: QuantizationDeclaration | None,
    base: Scheme | None,
    overrides: Mapping[str, Scheme | None],
    measured: Mapping[str, Scheme],
) -> Iterator[str]:
    if declaration is None:
        yield "config.json declares no quantization, but MLX has packed the tensors: mlx-lm cannot load them."
        return
    wrong = Counter(
        (said.label if said else "unquantized weights", scheme.label)
        for path, scheme in measured.items()
        for said in (overrides.get(path, base),)
        if said != scheme
    )
    for (said, found), count in wrong.most_common():
        layers = f"{_layers(count)} {'is' if count == 1 else 'are'}"
        yield f"{declaration.place} declares {said}, but {layers} stored as {found}; using the stored type."


def _exceptions(layers: Mapping[str, Scheme], main: Scheme, overrides: Mapping[str, Scheme | None]) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for path, scheme in layers.items():
        if scheme != main:
            groups.setdefault(scheme.label, []).append(path)
    for label, paths in groups.items():
        yield f"{label} in {_layers(len(paths))}: {_names(paths)}."
    plain = [path for path, scheme in overrides.items() if scheme is None and path not in layers]
    if plain:
        yield f"Not quantized: {_layers(len(plain))} ({_names(plain)})."


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _names(paths: Iterable[str]) -> str:
    """Return the names of layers without their numbers: `self_attn.q_proj, lm_head`."""
    kinds = list(dict.fromkeys(_kind(path) for path in paths))
    shown = ", ".join(kinds[:_LONGEST_LIST])
    return shown + (f" and {len(kinds) - _LONGEST_LIST} other kinds" if len(kinds) > _LONGEST_LIST else "")


def _kind(path: str) -> str:
    parts = path.split(".")
    numbers = [index for index, part in enumerate(parts) if part.isdigit()]
    inner = parts[numbers[-1] + 1 :] if numbers else parts[-1:]
    return ".".join(inner or parts[-2:])


def _latest(versions: Iterable[str | None]) -> str | None:
    known = [version for version in versions if version]
    return max(known, key=lambda version: [int(part) for part in version.split(".")], default=None)
