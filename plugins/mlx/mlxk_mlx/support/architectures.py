"""Support of models by mlx-lm, from their files and its module names, without importing it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mlxk_core.api.hooks import Verdict
from mlxk_mlx.support import quantization_support

if TYPE_CHECKING:
    from mlxk_core.api.models import Model

_NO_MODELS = {
    *("__init__", "activations", "base", "bitlinear_layers", "cache", "gated_delta", "mla", "pipeline"),
    *("rope_utils", "ssm", "switch_layers"),
}
"""Modules of `mlx_lm.models` that are parts of models."""

_ONE_ROW = frozenset({"gpt_bigcode"})
"""Networks that take one offset for all rows of a batch."""
_NOT_GENERATIVE = ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
_ENCODERS = {
    *("bert", "roberta", "xlm-roberta", "distilbert", "albert", "electra", "deberta", "deberta-v2", "mpnet"),
    *("nomic_bert", "modernbert", "camembert", "clip", "siglip", "vit", "whisper", "wav2vec2", "t5", "mt5", "bart"),
}


def accepts(model: Model) -> Verdict:
    """Return whether the mlx backend runs `model`, with the reason if it does not."""
    if model.gguf_path is not None or not model.path.is_dir():
        return Verdict.foreign("a GGUF file, not a folder with safetensors")
    if not model.config:
        return Verdict.foreign("config.json is missing")
    model_type = model.config.get("model_type")
    if not isinstance(model_type, str):
        return Verdict.foreign("config.json has no model_type")
    if reason := _not_generative(model, model_type):
        return Verdict.no(reason)
    if reason := _needs_code(model, model_type):
        return Verdict.no(reason)
    network = _network(model.config)
    if network is None:
        return Verdict.no(f"mlx-lm does not support model_type {model_type}")
    if unbatched := _unbatched_caches() & _imported_names(network):
        return Verdict.no(f"mlx-lm does not decode model_type {model_type} in batches ({', '.join(sorted(unbatched))})")
    if network.stem in _ONE_ROW:
        return Verdict.no(f"mlx-lm does not decode model_type {model_type} in batches")
    if not any(_is_weights(file.name) for file in model.files):
        return Verdict.no(_other_weights(model))
    if reason := quantization_support.refusal(model, network):
        return Verdict.no(reason)
    return Verdict.yes()


def supports(config: Mapping[str, Any]) -> bool:
    """Return whether mlx-lm has a module for the model type of the config, or for its architecture."""
    return module_name(config) is not None


def module_name(config: Mapping[str, Any]) -> str | None:
    """Return the name of mlx-lm's module for the config, None without one."""
    network = _network(config)
    return network.stem if network else None


def _network(config: Mapping[str, Any]) -> Path | None:
    """Return mlx-lm's module for a config, None without one."""
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        return None
    by_type, by_architecture = _remapping()
    name = by_type.get(model_type, model_type)
    for architecture in _classes(config):
        if (model_type, architecture) in by_architecture:
            name = by_architecture[model_type, architecture]
            break
    folder = _package()
    return folder / "models" / f"{name}.py" if folder and name in model_types() else None


def _classes(config: Mapping[str, Any]) -> list[str]:
    """Return the classes of transformers in a config."""
    named = config.get("architectures")
    return [each for each in (named if isinstance(named, list) else [named]) if isinstance(each, str)]


@cache
def model_types() -> frozenset[str]:
    """Return the names of mlx-lm's model modules; empty without mlx-lm."""
    folder = _package()
    if folder is None:
        return frozenset()
    return frozenset(path.stem for path in (folder / "models").glob("*.py")) - _NO_MODELS


@cache
def _remapping() -> tuple[Mapping[str, str], Mapping[tuple[str, str], str]]:
    """Return mlx-lm's two tables from model types to modules, read from its source."""
    tables: dict[str, Any] = {"MODEL_REMAPPING": {}, "MODEL_ARCHITECTURE_REMAPPING": {}}
    folder = _package()
    if folder is not None:
        for statement in ast.parse((folder / "utils.py").read_text(encoding="utf-8")).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in tables:
                    tables[name] = ast.literal_eval(value)
    return tuple(MappingProxyType(table) for table in tables.values())  # type: ignore[return-value]


@cache
def _unbatched_caches() -> frozenset[str]:
    """Return mlx-lm's key-value caches that cannot be merged, which its batch generator does for every request."""
    folder = _package()
    if folder is None:
        return frozenset()
    classes = ast.parse((folder / "models" / "cache.py").read_text(encoding="utf-8")).body
    return frozenset(
        each.name
        for each in classes
        if isinstance(each, ast.ClassDef)
        and each.name.endswith("KVCache")
        and not any(isinstance(member, ast.FunctionDef) and member.name == "merge" for member in each.body)
    )


@cache
def _imported_names(module: Path) -> frozenset[str]:
    statements = ast.parse(module.read_text(encoding="utf-8")).body
    imports = (statement for statement in statements if isinstance(statement, ast.ImportFrom))
    return frozenset(alias.name for statement in imports for alias in statement.names)


def _package() -> Path | None:
    """Return the folder of mlx_lm, without importing it."""
    spec = find_spec("mlx_lm")
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _not_generative(model: Model, model_type: str) -> str | None:
    for name in _classes(model.config):
        if name.endswith(_NOT_GENERATIVE):
            return f"{name} does not generate text"
    if model_type in _ENCODERS:
        return f"model_type {model_type} does not generate text"
    if model.config.get("is_causal") is False or model.config.get("use_bidirectional_attention"):
        return "its tokens attend to later ones, which mlx-lm does not compute"
    return None


def _needs_code(model: Model, model_type: str) -> str | None:
    if model.config.get("model_file"):
        return f"its network is code in the repository ({model.config['model_file']}), which mlxk never runs"
    if model.config.get("auto_map") and not supports(model.config):
        return f"model_type {model_type} is code in the repository, which mlxk never runs"
    own = model.tokenizer_config.get("auto_map")
    if isinstance(own, Mapping) and own.get("AutoTokenizer") and not (model.path / "tokenizer.json").is_file():
        return "its tokenizer is code in the repository, which mlxk never runs, and it has no tokenizer.json"
    return None


def _is_weights(name: str) -> bool:
    """Return whether mlx-lm reads weights from a file of that name."""
    return name.startswith("model") and name.endswith(".safetensors") and "/" not in name


def _other_weights(model: Model) -> str:
    names = [file.name for file in model.files]
    for ending, form in ((".safetensors", "safetensors under another name"), (".bin", "PyTorch"), (".npz", "NumPy")):
        if any(name.endswith(ending) for name in names):
            return f"its weights are {form}; mlx-lm reads model*.safetensors only"
    return "no weight files (model*.safetensors)"
