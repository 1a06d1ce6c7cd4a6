"""What a model is: its framework, its type and what it can do, told from its files and never from its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

from mlxk_core.errors import BrokenModel
from mlxk_core.models.declaration import MLX, declared
from mlxk_core.models.filenames import weight_format
from mlxk_core.models.model import Model

Framework = Literal["MLX", "GGUF", "safetensors", "PyTorch", "unknown"]
Type = Literal["chat", "base", "embedding", "vision", "audio", "image", "classifier", "unknown"]
Capability = Literal["text-generation", "chat", "tools", "vision", "audio", "embeddings"]
_T = TypeVar("_T")

_FRONT_MATTER = 8192  # characters of a model card that its front matter may take

# Written by sentence-transformers beside an embedding model; a decoder among them has a chat template all the same.
_EMBEDDING_FILES = frozenset(
    {"modules.json", "config_sentence_transformers.json", "sentence_bert_config.json", "1_Pooling/config.json"}
)
# `pipeline_tag` of model cards, where it says more than the class (Qwen3-Embedding is a Qwen3ForCausalLM).
_DECLARED: Mapping[str, Type] = {
    "feature-extraction": "embedding",
    "sentence-similarity": "embedding",
    "text-ranking": "classifier",
    "text-classification": "classifier",
    "token-classification": "classifier",
    "automatic-speech-recognition": "audio",
    "text-to-speech": "audio",
    "text-to-audio": "audio",
    "text-to-image": "image",
}
# By class of transformers, or by architecture of a GGUF header; the first that is found in one.
_CLASSES: tuple[tuple[re.Pattern[str], Type], ...] = (
    (re.compile(r"For(Sequence|Token)Classification$|ForQuestionAnswering$"), "classifier"),
    (
        re.compile(r"(?i)^whisper|wav2vec|^parakeet|^moonshine|ForCTC$|ForSpeechSeq2Seq$|ForAudio|ForTextToSpeech"),
        "audio",
    ),
    (re.compile(r"ForMaskedLM$|EncoderModel$|(Bert|Roberta|MPNet|Electra|RobertaXL)Model$|^T5Encoder$"), "embedding"),
    (re.compile(r"^[a-z0-9-]*(bert|-embedding)(-v?\d+|-moe)?$|^t5encoder$"), "embedding"),
    (re.compile(r"^(CLIP|Siglip)\w*Model$|^clip$|ForImageClassification$|ForObjectDetection$"), "vision"),
)
_WRITES_TEXT = re.compile(r"(ForCausalLM|LMHeadModel|ForConditionalGeneration)$")
_SEES = ("vision_config", "vision_tower", "mm_vision_tower", "image_token_id", "image_token_index", "img_processor")
_HEARS = ("audio_config", "audio_token_id", "audio_token_index", "n_audio_ctx", "num_mel_bins")
_POOLING_RANK = 4  # llama.cpp's LLAMA_POOLING_TYPE_RANK: the header of a reranker
_TOOLS = re.compile(r"\btools\b")


def framework(model: Model) -> Framework:
    """Who the weights are made for. `safetensors` says that it is not known: mlx-lm runs many of them as they are."""
    formats = {weight_format(file.name) for file in model.files}
    if "safetensors" in formats or "npz" in formats:
        return "MLX" if _made_by_mlx(model, npz="npz" in formats) else "safetensors"
    if "gguf" in formats:
        return "GGUF"
    return "PyTorch" if "pytorch" in formats else "unknown"


def model_type(model: Model) -> Type:
    """What it is for. Chat and base models write text; a vision or audio model may write it besides."""
    return _Evidence(model).type


def capabilities(model: Model) -> tuple[Capability, ...]:
    """What it can do, as many as hold."""
    told = _Evidence(model)
    writes = told.writes_text
    found: dict[Capability, bool] = {
        "text-generation": writes,
        "chat": writes and told.template is not None,
        "tools": writes and bool(_TOOLS.search(told.template or "")),
        "vision": told.sees,
        "audio": told.hears,
        "embeddings": told.type == "embedding",
    }
    return tuple(name for name, holds in found.items() if holds)


def architecture(model: Model) -> str | None:
    """`qwen3`, as the config or the GGUF header calls it."""
    return _Evidence(model).architecture


@dataclass(frozen=True)
class _Evidence:
    """What the files say. One that is damaged says nothing here; health tells about it."""

    model: Model

    @cached_property
    def header(self) -> Mapping[str, Any]:
        """The GGUF metadata; of several variants the smallest one's, since they are one model."""
        model = self.model
        if model.gguf_variant is None and model.variants and not model.has_other_weights:
            model = replace(model, variant=model.variants[0].name)
        header = _told(lambda: model.gguf, None)
        return header.metadata if header else {}

    @cached_property
    def config(self) -> Mapping[str, Any]:
        return _told(lambda: self.model.config, {})

    @cached_property
    def template(self) -> str | None:
        own = _told(lambda: self.model.chat_template, None)
        if own is None and isinstance(template := self.header.get("tokenizer.chat_template"), str):
            return template
        return own

    @property
    def architecture(self) -> str | None:
        value = self.header.get("general.architecture", self.config.get("model_type"))
        return value if isinstance(value, str) and value else None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        if self.header:
            return (self.architecture,) if self.architecture else ()
        named = self.config.get("architectures")
        return tuple(each for each in named if isinstance(each, str)) if isinstance(named, list) else ()

    @cached_property
    def type(self) -> Type:
        names = {file.name for file in self.model.files}
        by_class = self._by_class()
        if "model_index.json" in names:
            return "image"
        if by_class == "classifier" or self._pooling() == _POOLING_RANK:
            return "classifier"
        if names & _EMBEDDING_FILES or self._pooling():
            return "embedding"
        if told := by_class or _DECLARED.get(_card(self.model).pipeline):
            return told
        if self.sees:
            return "vision"
        if self.hears:
            return "audio"
        if self.template:
            return "chat"
        writes = any(_WRITES_TEXT.search(name) for name in self.classes)
        return "base" if writes or self.header or (self.architecture and not self.classes) else "unknown"

    @property
    def writes_text(self) -> bool:
        if self.type in ("chat", "base"):
            return True
        # What sees or hears answers in words if it is built on a language model: it has a template, or a class, for it.
        speaks = self.template is not None or any(_WRITES_TEXT.search(name) for name in self.classes)
        return self.type in ("vision", "audio") and self._by_class() is None and speaks

    @property
    def sees(self) -> bool:
        return self._has(_SEES) or self._by_class() == "vision"

    @property
    def hears(self) -> bool:
        return self._has(_HEARS) or self._by_class() == "audio" or _DECLARED.get(_card(self.model).pipeline) == "audio"

    def _has(self, keys: tuple[str, ...]) -> bool:
        """One of `keys` holds something: configs of text models carry some of them as null."""
        held = (self.config.get(key) for key in keys)
        return any(value is not None and value is not False and value != {} for value in held)

    def _by_class(self) -> Type | None:
        return next((told for pattern, told in _CLASSES for name in self.classes if pattern.search(name)), None)

    def _pooling(self) -> int:
        value = self.header.get(f"{self.architecture}.pooling_type")
        return value if isinstance(value, int) else 0


@dataclass(frozen=True, slots=True)
class _Card:
    """What the front matter of the model card says."""

    pipeline: str = ""
    mlx: bool = False


def _card(model: Model) -> _Card:
    try:
        with (model.path / "README.md").open(encoding="utf-8", errors="replace") as file:
            text = file.read(_FRONT_MATTER)
    except OSError:
        return _Card()
    if not text.startswith("---"):
        return _Card()
    front = text.removeprefix("---").partition("\n---")[0]
    pipeline = re.search(r"^pipeline_tag:\s*[\"']?([\w-]+)", front, re.MULTILINE)
    library = re.search(r"^library_name:\s*[\"']?mlx[\"']?\s*$", front, re.MULTILINE)
    listed = re.search(r"^tags:[ \t]*(\[.*\]|(?:\n\s*-.*)*)", front, re.MULTILINE)
    tagged = listed is not None and re.search(
        r"(?:^\s*-|[\[,])\s*[\"']?mlx[\"']?\s*(?:$|[\],])", listed[1], re.MULTILINE
    )
    return _Card(pipeline[1] if pipeline else "", bool(library or tagged))


def _made_by_mlx(model: Model, *, npz: bool) -> bool:
    """MLX's own archive, its quantization in the config, its mark in the weights, or its tag on the card."""
    declaration = _told(lambda: declared(model), None)
    return (
        npz
        or (declaration is not None and declaration.method == MLX)
        or any(header.metadata.get("format") == MLX for header in model.weights.headers.values())
        or _card(model).mlx
    )


def _told(ask: Callable[[], _T], otherwise: _T) -> _T:
    try:
        return ask()
    except BrokenModel:
        return otherwise
