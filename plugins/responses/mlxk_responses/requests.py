"""The body of `POST /v1/responses`, typed and range-checked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Item = dict[str, Any]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]
"""OpenAI's limits. What a response repeats is kept as often as the response has events that hold it."""
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Stop = Annotated[str, Meta(max_length=4096)]
Label = Annotated[str, Meta(max_length=512)]
MOST_TOOLS = 1024
"""Tools of a request, or of one namespace."""


class Reasoning(Struct):
    """`reasoning`: how much, and whether a summary is wanted. The summary is the reasoning itself."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None


class TextFormat(Struct):
    """`text.format`."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: Any = None
    strict: bool | None = None
    description: str | None = None


class Text(Struct):
    """`text`. `verbosity` is a hint without effect."""

    format: TextFormat | None = None
    verbosity: str | None = None


class StreamOptions(Struct):
    """`stream_options`. Obfuscation is never added."""

    include_obfuscation: bool | None = None


class ResponseRequest(Struct, kw_only=True):
    """Fields that are listed act, are an error, or are hints that cannot change the result; others are skipped.

    OpenAI's API has no `top_k`, `min_p`, `seed`, `stop` and penalties; vLLM's has them.
    """

    model: Annotated[str, Meta(min_length=1)]
    input: str | list[Item] | None = None
    instructions: str | None = None
    tools: Annotated[list[Item], Meta(max_length=MOST_TOOLS)] | None = None
    tool_choice: str | Item | None = None
    parallel_tool_calls: bool | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(ge=0.001, le=10)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: Stop | Annotated[list[Stop], Meta(max_length=16)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    metadata: Metadata | None = None
    include: list[str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    background: bool | None = None
    context_management: Any = None
    conversation: Any = None
    prompt: Any = None
    user: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    service_tier: Label | None = None
