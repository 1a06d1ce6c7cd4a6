"""Framework, type and capabilities of a model, from its files and not from its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from mlxk_core._errors import BrokenModel
from mlxk_core._models.cached import cached_property
from mlxk_core._models.files import open_file, weight_format
from mlxk_core._models.model import Model, gguf_templates
from mlxk_core._models.quantization_config import MLX_METHOD, declared_quantization
from mlxk_core._models.sentence_transformers import module_folders

Framework = Literal["MLX", "GGUF", "safetensors", "PyTorch", "unknown"]
Type = Literal["chat", "base", "embedding", "vision", "audio", "image", "classifier", "unknown"]
Capability = Literal["text-generation", "chat", "tools", "vision", "audio", "embeddings", "rerank"]
_T = TypeVar("_T")

_FRONT_MATTER = 8192  # bytes of a model card that its front matter may take

# Written by sentence-transformers for embedding models, some of which are decoders with a chat template.
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
# Tags of model cards, for copies whose `pipeline_tag` was replaced: mlx-lm's converter writes text-generation there.
_TAGGED: Mapping[str, Type] = {
    "sentence-transformers": "embedding",
    "feature-extraction": "embedding",
    "sentence-similarity": "embedding",
    "text-ranking": "classifier",
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
_LONGEST_CLASS = 256  # characters; megabytes take all patterns a second
_WRITES_TEXT = re.compile(r"(ForCausalLM|LMHeadModel|ForConditionalGeneration)$")
_SEES = ("vision_config", "vision_tower", "mm_vision_tower", "image_token_id", "image_token_index", "img_processor")
_HEARS = ("audio_config", "audio_token_id", "audio_token_index", "n_audio_ctx", "num_mel_bins")
_POOLING_RANK = 4  # llama.cpp's LLAMA_POOLING_TYPE_RANK: the header of a reranker
_TOOLS = re.compile(r"\btools\b")


@dataclass(frozen=True)
class Facts:
    """Facts in the files of `model`. Damaged files are ignored here; health reports them."""

    model: Model
    reads_tool_calls: Callable[[Model], bool] = field(default=lambda model: True, compare=False)
    """Whether a plugin reads the tool calls that the model writes (`Host.finds_tool_calls`)."""

    @cached_property
    def framework(self) -> Framework:
        """The framework that the weights are made for. mlx-lm runs many of `safetensors` as well."""
        formats = {weight_format(file.name) for file in self.model.files}
        if "npz" in formats:
            return "MLX"  # its own archive
        if "safetensors" in formats:
            return "MLX" if self._made_by_mlx() else "safetensors"
        if "gguf" in formats:
            return "GGUF"
        return "PyTorch" if "pytorch" in formats else "unknown"

    @cached_property
    def type(self) -> Type:
        """The purpose. Chat and base models write text, and so do some vision and audio models."""
        names = {file.name for file in self.model.files}
        if "model_index.json" in names:
            return "image"
        if self._by_class == "classifier" or self._pooling == _POOLING_RANK or self._scores_answers:
            return "classifier"
        if names & _EMBEDDING_FILES or self._pooling:
            return "embedding"
        if known := self._by_class or _DECLARED.get(self._card.pipeline) or self._card.tagged:
            return known
        if self._sees:
            return "vision"
        if self._hears:
            return "audio"
        if self.chat_template:
            return "chat"
        writes = any(_WRITES_TEXT.search(name) for name in self.classes)
        return "base" if writes or self._header or (self.architecture and not self.classes) else "unknown"

    @cached_property
    def capabilities(self) -> tuple[Capability, ...]:
        """Everything that the model can do."""
        templates = "\n".join(self._templates.values())
        found: dict[Capability, bool] = {
            "text-generation": self._writes_text,
            "chat": self._writes_text and bool(templates),
            "tools": self._writes_text and bool(_TOOLS.search(templates)) and self._calls_are_read,
            "vision": self._sees,
            "audio": self._hears,
            "embeddings": self.type == "embedding",
            "rerank": self.type == "classifier" and self._ranks,
        }
        return tuple(name for name, holds in found.items() if holds)

    @property
    def _calls_are_read(self) -> bool:
        return _unless_broken(lambda: self.reads_tool_calls(self.model), False)

    @property
    def architecture(self) -> str | None:
        """`qwen3`, as the config or the GGUF header calls it."""
        value = self._header.get("general.architecture", self._config.get("model_type"))
        return value if isinstance(value, str) and value else None

    @property
    def chat_template(self) -> str | None:
        """The default chat template, also that of GGUF variants of which none is chosen yet."""
        return self._templates.get("default")

    @cached_property
    def _templates(self) -> Mapping[str, str]:
        return _unless_broken(lambda: self.model.chat_templates, {}) or gguf_templates(self._header)

    @cached_property
    def _header(self) -> Mapping[str, Any]:
        """The GGUF metadata; empty for a model in another form."""
        header = _unless_broken(lambda: self.model.shared_gguf, None)
        return header.metadata if header else {}

    @cached_property
    def _config(self) -> Mapping[str, Any]:
        return _unless_broken(lambda: self.model.config, {})

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """`Qwen3ForCausalLM`, as the config calls the classes of transformers; the architecture of a GGUF file."""
        if self._header:
            return (self.architecture,) if self.architecture else ()
        named = self._config.get("architectures")
        listed = named if isinstance(named, list) else []
        return tuple(each for each in listed if isinstance(each, str) and len(each) <= _LONGEST_CLASS)

    @property
    def _writes_text(self) -> bool:
        if self.type in ("chat", "base"):
            return True
        # A vision or audio model writes text if it is built on a language model, as its template or class shows.
        speaks = bool(self.chat_template) or any(_WRITES_TEXT.search(name) for name in self.classes)
        return self.type in ("vision", "audio") and self._by_class is None and speaks

    @property
    def _ranks(self) -> bool:
        """Whether it returns one score: a cross-encoder with one label, or a decoder published as a reranker."""
        if self._by_class == "classifier":
            names = self._config.get("id2label")
            labels = len(names) if isinstance(names, Mapping) else self._config.get("num_labels", 2)
            return labels == 1 and any(name.endswith("ForSequenceClassification") for name in self.classes)
        return any(name.endswith("ForCausalLM") for name in self.classes)

    @cached_property
    def _scores_answers(self) -> bool:
        """Whether it is a decoder whose files name the tokens of its score."""
        none: Mapping[str, str] = {}
        return "LogitScore" in _unless_broken(lambda: module_folders(self.model), none)

    @property
    def _sees(self) -> bool:
        return self._has(_SEES) or self._by_class == "vision"

    @property
    def _hears(self) -> bool:
        return self._has(_HEARS) or "audio" in (self._by_class, _DECLARED.get(self._card.pipeline))

    def _has(self, keys: tuple[str, ...]) -> bool:
        """Whether one of `keys` has a value: configs of text models have some of them as null."""
        held = (self._config.get(key) for key in keys)
        return any(value is not None and value is not False and value != {} for value in held)

    @cached_property
    def _by_class(self) -> Type | None:
        return next((kind for pattern, kind in _CLASSES for name in self.classes if pattern.search(name)), None)

    @property
    def _pooling(self) -> int:
        value = self._header.get(f"{self.architecture}.pooling_type")
        return value if isinstance(value, int) else 0

    @cached_property
    def _card(self) -> _Card:
        return _read_card(self.model)

    def _made_by_mlx(self) -> bool:
        """Whether the config has MLX's quantization, the card its tag, or the weights its mark."""
        declaration = _unless_broken(lambda: declared_quantization(self.model), None)
        if (declaration is not None and declaration.method == MLX_METHOD) or self._card.mlx:
            return True
        return any(header.metadata.get("format") == MLX_METHOD for header in self.model.weights.headers.values())


@dataclass(frozen=True, slots=True)
class _Card:
    """Front matter of the model card."""

    pipeline: str = ""
    mlx: bool = False
    tagged: Type | None = None


def _read_card(model: Model) -> _Card:
    try:
        with open_file(model.path / "README.md") as file:
            text = file.read(_FRONT_MATTER).decode("utf-8", "replace")
    except OSError:
        return _Card()
    if not text.startswith("---"):
        return _Card()
    front = text.removeprefix("---").partition("\n---")[0]
    pipeline = re.search(r"^pipeline_tag:\s*[\"']?([\w-]+)", front, re.MULTILINE)
    library = re.search(r"^library_name:\s*[\"']?mlx[\"']?\s*$", front, re.MULTILINE)
    listed = re.search(r"^tags:[ \t]*(\[.*\]|(?:\n[ \t]*-.*)*)", front, re.MULTILINE)
    tags = re.findall(r"\w+(?:[.-]+\w+)*", re.sub(r"(?m)^\s*-\s", "", listed[1])) if listed else []
    tagged = next((_TAGGED[tag] for tag in tags if tag in _TAGGED), None) or _by_origin(front)
    return _Card(pipeline[1] if pipeline else "", bool(library) or "mlx" in tags, tagged)


def _by_origin(front: str) -> Type | None:
    """Return the type by the name of the model it was converted from: `base_model: Qwen/Qwen3-Reranker-0.6B`."""
    origin = re.search(r"^base_model:[ \t]*(?:\n[ \t]*-)?(.*)$", front, re.MULTILINE)
    kind = re.search(r"(?i)rerank|embedding", origin[1]) if origin else None
    return None if kind is None else "classifier" if kind[0].lower() == "rerank" else "embedding"


def _unless_broken(ask: Callable[[], _T], otherwise: _T) -> _T:
    try:
        return ask()
    except BrokenModel:
        return otherwise
