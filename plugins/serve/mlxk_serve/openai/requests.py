"""Request bodies: typed, range-checked and bounded; every error has the path of the invalid field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

MaxTokens = Annotated[int, Meta(ge=-1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
NonEmpty = Annotated[str, Meta(min_length=1)]
StopText = Annotated[str, Meta(max_length=4096)]
Stops = StopText | Annotated[list[StopText], Meta(max_length=16)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Bias = Annotated[dict[str, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=1024)]
Role = Literal["system", "developer", "user", "assistant", "tool"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Budget = Annotated[int, Meta(ge=-1)]
TemplateOptions = Annotated[dict[str, Any], Meta(max_length=256)]
TokenId = Annotated[int, Meta(ge=0)]


class ReasoningOptions(Struct):
    """Options of reasoning, as OpenRouter and OpenAI write them."""

    max_tokens: Budget | None = None
    effort: Effort | None = None
    exclude: bool | None = None


class StreamOptions(Struct):
    """Options of a stream. `continuous_usage_stats` puts the usage so far into every chunk."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class Part(Struct, gc=False):
    """A piece of a message's content; only text is supported."""

    type: str
    text: str | None = None


class FunctionCall(Struct):
    """The function of a call."""

    name: str
    arguments: Raw = msgspec.field(default_factory=Raw)


class ToolCallIn(Struct):
    """A call of the history. Without an id it gets one; `arguments` is JSON text or the object itself."""

    function: FunctionCall
    id: str | None = None
    type: Literal["function"] | None = None


class ChatMessage(Struct, gc=False):
    """A turn of the conversation. Reasoning is accepted under either name; `function_call` is an error."""

    role: Role
    content: str | list[Part] | None = None
    name: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCallIn] | None = None
    tool_call_id: str | None = None
    function_call: Raw = msgspec.field(default_factory=Raw)


class Function(Struct):
    """A function that the model may call; `parameters` is its JSON schema."""

    name: NonEmpty
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolIn(Struct):
    """A tool; only functions are supported."""

    function: Function | None = None
    type: str | None = None


class CommonRequest(Struct, kw_only=True):
    """The fields of both kinds of request."""

    model: NonEmpty | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: MaxTokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    min_p: Probability | None = None
    repetition_penalty: Annotated[float, Meta(ge=0.001, le=10)] | None = None
    repeat_penalty: Annotated[float, Meta(ge=0.001, le=10)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Bias | None = None
    seed: Seed | None = None
    stop: Stops | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=256)] | None = None
    ignore_eos: bool | None = None
    min_tokens: Annotated[int, Meta(ge=0)] | None = None
    ttl: Annotated[float, Meta(ge=-1)] | None = None
    keep_alive: str | float | None = None
    n: Annotated[int, Meta(ge=1, le=16)] | None = None
    user: str | None = None
    response_format: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    guided_json: Any = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    grammar: str | None = None
    json_schema: Any = None
    prompt_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    thinking_token_budget: Budget | None = None
    thinking_budget: Budget | None = None
    reasoning_budget: Budget | None = None
    reasoning: ReasoningOptions | None = None


class ChatRequest(CommonRequest, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_completion_tokens: MaxTokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Annotated[list[ToolIn], Meta(max_length=1024)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None
    include_reasoning: bool | None = None
    chat_template_kwargs: TemplateOptions | None = None
    enable_thinking: bool | None = None
    think: bool | Effort | None = None
    thinking: dict[str, Any] | bool | None = None


class TextRequest(CommonRequest, kw_only=True):
    """`POST /v1/completions`."""

    prompt: str | list[str | TokenId | list[TokenId]]
    suffix: str | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
