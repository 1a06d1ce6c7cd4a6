"""What kind of model it is: its framework, its type and what it can do, by its files and only then by its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar

from mlxk_core.api import Model
from mlxk_core.errors import BrokenModel
from mlxk_core.models.declaration import MLX, declared
from mlxk_core.models.filenames import weight_format

Framework = Literal["MLX", "GGUF", "PyTorch", "unknown"]
Type = Literal["chat", "base", "embedding", "vision", "audio", "image", "classifier", "unknown"]
_T = TypeVar("_T")

_OWNER = "mlx-community/"
_FRONT_MATTER = 8192  # characters of a README that its front matter may take
_ENCODERS = re.compile(r"bert|mpnet|electra|deberta|e5$|gte$")
_LISTENS = re.compile(r"whisper|wav2vec|parakeet|moonshine|speech|CTC$")
# What sentence-transformers puts beside an embedding model.
_EMBEDDING_FILES = frozenset({"modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"})
_TOOLS = re.compile(r"\btools\b")


def framework(model: Model) -> Framework:
    """Who the weights are made for."""
    formats = {weight_format(file.name) for file in model.files} - {None}
    if formats == {"gguf"}:
        return "GGUF"
    if formats & {"safetensors", "npz"} and (model.name.startswith(_OWNER) or _made_by_mlx(model)):
        return "MLX"
    return "PyTorch" if formats & {"safetensors", "pytorch"} else "unknown"


def model_type(model: Model) -> Type:
    """What it is for. Chat and base models write text, and a vision model sees besides."""
    return _told(lambda: _type(model), "unknown")


def capabilities(model: Model) -> tuple[str, ...]:
    """`text-generation`, `chat`, `tools`, `vision`, `audio`, `embeddings`: as many as hold."""
    kind = model_type(model)
    template = chat_template(model)
    found = {
        "text-generation": kind in ("chat", "base", "vision"),
        "chat": template is not None and kind in ("chat", "vision"),
        "tools": template is not None and bool(_TOOLS.search(template)),
        "vision": kind == "vision",
        "audio": kind == "audio",
        "embeddings": kind == "embedding",
    }
    return tuple(name for name, holds in found.items() if holds)


def chat_template(model: Model) -> str | None:
    """The chat template, None also where its file cannot be read."""
    return _told(lambda: model.chat_template, None)


def architecture(model: Model) -> str | None:
    """`qwen3`, as the config or the GGUF header calls it."""

    def named() -> str | None:
        if model.gguf:
            return model.gguf.architecture
        value = model.config.get("model_type")
        return value if isinstance(value, str) else None

    return _told(named, None)


def _type(model: Model) -> Type:
    config = model.config
    names = {file.name for file in model.files}
    classes = list(_strings(config.get("architectures")))
    if model.gguf:
        classes = [model.gguf.architecture or ""]
    if "model_index.json" in names:
        return "image"
    if names & _EMBEDDING_FILES or any(_encodes(name) for name in classes):
        return "embedding"
    if any(_LISTENS.search(name) for name in classes):
        return "audio"
    if any("ForSequenceClassification" in name or "ForTokenClassification" in name for name in classes):
        return "classifier"
    if isinstance(config.get("vision_config"), Mapping) or any("clip" in name.lower() for name in classes):
        return "vision"
    if model.chat_template:
        return "chat"
    return "base" if classes or config.get("model_type") else "unknown"


def _encodes(name: str) -> bool:
    """A class that turns text into numbers and writes none (`BertModel`, `bert` in a GGUF header)."""
    lowered = name.lower()
    return bool(_ENCODERS.search(lowered.removesuffix("model"))) and "for" not in lowered


def _made_by_mlx(model: Model) -> bool:
    if any(weight_format(file.name) == "npz" for file in model.files):
        return True
    declaration = _told(lambda: declared(model), None)
    if declaration and declaration.method == MLX:
        return True
    if any(header.metadata.get("format") == MLX for header in model.weights.headers.values()):
        return True
    return _readme_says_mlx(model)


def _readme_says_mlx(model: Model) -> bool:
    """`library_name: mlx`, or `mlx` among the tags, in the front matter of the model card."""
    try:
        with (model.path / "README.md").open(encoding="utf-8", errors="replace") as file:
            text = file.read(_FRONT_MATTER)
    except OSError:
        return False
    if not text.startswith("---"):
        return False
    front = text.partition("---")[2].partition("\n---")[0]
    return bool(re.search(r"^(library_name:\s*|\s*-\s*)[\"']?mlx[\"']?\s*$", front, re.MULTILINE))


def _strings(value: Any) -> Iterable[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _told(ask: Callable[[], _T], otherwise: _T) -> _T:
    """What a damaged file cannot tell is health's to report."""
    try:
        return ask()
    except BrokenModel:
        return otherwise
