"""The bodies of Ollama's requests, typed and range-checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from mlxk_protocol.decode import BOM, decode
from mlxk_protocol.decoders import decoder_of
from mlxk_protocol.errors import Unsupported
from mlxk_protocol.fields import check_fields

_C = TypeVar("_C", bound="Common")
Name = Annotated[str, Meta(min_length=1)]
Think = bool | Literal["low", "medium", "high", "max"]
Stops = str | Annotated[list[Annotated[str, Meta(max_length=1024)]], Meta(max_length=16)]


class Function(Struct):
    name: Name
    arguments: dict[str, Any] | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ToolCallIn(Struct):
    function: Function
    id: str | None = None


class MessageIn(Struct):
    """One turn. Calls have no ids: results belong to the calls before them, in order."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[Any] | None = None
    tool_calls: list[ToolCallIn] | None = None
    tool_name: str | None = None
    name: str | None = None
    tool_call_id: str | None = None


class ToolIn(Struct):
    function: Function | None = None
    type: str = "function"


class Options(Struct):
    """`options`. Those in `SUPPORTED_VALUES` have a few values only, those in `ENGINE_OPTIONS` are skipped."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Meta(ge=0.001, le=10)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: int | None = None
    stop: Stops | None = None
    num_predict: int | None = None
    repeat_last_n: Any = None
    logits_all: Any = None
    mirostat: Any = None
    penalize_newline: Any = None
    rope_frequency_base: Any = None
    rope_frequency_scale: Any = None
    tfs_z: Any = None
    typical_p: Any = None
    vocab_only: Any = None


ENGINE_OPTIONS = frozenset(
    {"draft_num_predict", "f16_kv", "low_vram", "main_gpu", "mirostat_eta", "mirostat_tau", "num_batch", "num_ctx",
     "num_gpu", "num_gqa", "num_keep", "num_thread", "numa", "use_mlock", "use_mmap"}
)  # fmt: skip
"""Options that tune Ollama's own engine and cannot change a response here."""
SUPPORTED_VALUES: Mapping[str, tuple[object, ...]] = {
    "logits_all": (False,), "mirostat": (0,), "penalize_newline": (True,), "repeat_last_n": (64, 0),
    "rope_frequency_base": (0,), "rope_frequency_scale": (0,), "tfs_z": (1,), "typical_p": (1,), "vocab_only": (False,),
}  # fmt: skip
"""Options of which only these values are supported: what happens without them, and 0 to turn the penalty off."""
_KNOWN_OPTIONS = ENGINE_OPTIONS.union(Options.__struct_fields__)


class _RawOptions(Struct):
    options: Raw = Raw(b"{}")


def decode_generation(body: bytes, kind: type[_C]) -> _C:
    """Return a request to generate. Raises as `decode` does, also for `options` that are misspelled or unsupported."""
    request = decode(body, kind)
    if request.options is not None:
        options = decoder_of(_RawOptions).decode(body.removeprefix(BOM)).options
        check_fields(bytes(options), _KNOWN_OPTIONS, path="options")
        for name, values in SUPPORTED_VALUES.items():
            if getattr(request.options, name) not in (None, *values):
                only = " or ".join(msgspec.json.encode(value).decode() for value in values)
                raise Unsupported(f"options.{name}", f"only {only} is supported")
    return request


class Common(Struct, kw_only=True):
    """Fields of both kinds of request. `format` is `json` or a JSON schema."""

    model: Name
    stream: bool = True
    format: Any = None
    options: Options | None = None
    think: Think | None = None
    keep_alive: float | str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


class ChatRequest(Common, kw_only=True):
    """`POST /api/chat`."""

    messages: list[MessageIn] | None = None
    tools: Annotated[list[ToolIn], Meta(max_length=1024)] | None = None


class GenerateRequest(Common, kw_only=True):
    """`POST /api/generate`. With `raw` the prompt goes to the model as it is."""

    prompt: str | None = None
    system: str | None = None
    raw: bool = False
    suffix: str | None = None
    images: list[Any] | None = None
    template: str | None = None
    context: list[int] | None = None


class EmbedRequest(Struct, kw_only=True):
    """`POST /api/embed`. Inputs that are too long are cut unless `truncate` is false. `options` are skipped."""

    model: Name
    input: str | Annotated[list[str], Meta(max_length=2048)] | None = None
    truncate: bool | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    keep_alive: float | str | None = None


class OldEmbedRequest(Struct, kw_only=True):
    """`POST /api/embeddings`."""

    model: Name
    prompt: str | None = None
    keep_alive: float | str | None = None


class PullRequest(Struct, kw_only=True):
    """`POST /api/pull`; older clients say `name`."""

    model: str | None = None
    name: str | None = None
    insecure: bool | None = None
    stream: bool | None = None


class ShowRequest(Struct, kw_only=True):
    """`POST /api/show`; older clients say `name`."""

    model: str | None = None
    name: str | None = None
