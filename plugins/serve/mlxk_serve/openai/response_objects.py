"""The objects of OpenAI's responses. What is encoded and the OpenAPI document both come from these structs."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

FinishReason = Literal["stop", "length", "tool_calls"]


class PromptTokensDetails(Struct):
    """Part of the prompt tokens."""

    cached_tokens: int


class CompletionTokensDetails(Struct):
    """Part of the completion tokens."""

    reasoning_tokens: int


class UsageObject(Struct, kw_only=True):
    """Token counts of a response. A prompt counts once, however many choices it has."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class TopLogprob(Struct):
    """An alternative token. `bytes` is None where the tokenizer does not know them."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprobObject(Struct):
    """A token of a chat response and its alternatives, most likely first."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[TopLogprob]


class PromptLogprob(Struct):
    """A scored token of the prompt or an alternative to it, in vLLM's shape. `rank` 1 is the most likely."""

    logprob: float
    rank: int
    decoded_token: str


PromptLogprobsList = list[dict[str, PromptLogprob] | None]
"""One entry for each prompt token, by token id. The first one is None."""


class ChatLogprobs(Struct):
    """Log probabilities of a chat response, one entry for each token of the content."""

    content: list[TokenLogprobObject]
    refusal: None = None


class CalledFunction(Struct):
    """The function of a tool call; `arguments` is JSON text."""

    name: str
    arguments: str


class ResponseToolCall(Struct):
    """A tool call of a chat response."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class ResponseMessage(Struct, kw_only=True):
    """The message of a chat response. Reasoning has both names that clients read."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[ResponseToolCall] | UnsetType = UNSET


class ChatChoice(Struct):
    """A choice of a chat response."""

    index: int
    message: ResponseMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(Struct, kw_only=True):
    """The response of `/v1/chat/completions`."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: UsageObject
    prompt_logprobs: PromptLogprobsList | UnsetType = UNSET


class FunctionDelta(Struct, kw_only=True):
    """More of a called function; `name` comes once."""

    name: str | UnsetType = UNSET
    arguments: str


class ToolCallDeltaObject(Struct, kw_only=True):
    """More of tool call number `index`; `id` and `type` come once."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionDelta


class ChatDelta(Struct, kw_only=True):
    """The part of a message that a chunk adds."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[ToolCallDeltaObject] | UnsetType = UNSET


class ChatChunkChoice(Struct, kw_only=True):
    """A choice of a chunk."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(Struct, kw_only=True):
    """One event of a streamed chat response. `usage` is there with `stream_options.include_usage`."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChunkChoice]
    usage: UsageObject | UnsetType | None = UNSET


class TextLogprobs(Struct):
    """Log probabilities of a completion, one entry for each token. A prompt's first token has None (`echo`)."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class TextChoice(Struct):
    """A choice of a completion, streamed or not."""

    text: str
    index: int
    logprobs: TextLogprobs | None
    finish_reason: FinishReason | None
    prompt_logprobs: PromptLogprobsList | UnsetType = UNSET


class TextCompletion(Struct, kw_only=True):
    """The response of `/v1/completions`; streamed, one event of it."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: UsageObject | UnsetType | None = UNSET
