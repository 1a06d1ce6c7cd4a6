"""The response object and its output items, as they are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, to_builtins

from mlxk_core.api.generation import TokenLogprob
from mlxk_core.api.generation import Usage as TokenUsage
from mlxk_protocol.encode import encoded_each
from mlxk_responses.items import encode_reasoning
from mlxk_responses.tools import Tools

ItemStatus = Literal["in_progress", "completed", "incomplete"]
Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
_MINUS_INFINITY = -9999.0  # OpenAI's stand-in: JSON has no infinity


class TopLogprob(Struct):
    token: str
    logprob: float
    bytes: list[int] | None


class Logprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class OutputText(Struct):
    text: str
    annotations: list[Any] = []
    logprobs: list[Logprob] = []
    type: str = "output_text"


class ReasoningText(Struct):
    """Text of a reasoning item. `type` is `summary_text` if a summary was requested, else `reasoning_text`."""

    text: str
    type: str = "reasoning_text"


class MessageItem(Struct, tag_field="type", tag="message"):
    id: str
    content: list[OutputText]
    status: ItemStatus = "completed"
    role: str = "assistant"


class ReasoningItem(Struct, tag_field="type", tag="reasoning"):
    id: str
    summary: list[ReasoningText] = []
    content: list[ReasoningText] = []
    encrypted_content: str | UnsetType | None = UNSET
    status: ItemStatus = "completed"


class FunctionCallItem(Struct, tag_field="type", tag="function_call"):
    id: str
    call_id: str
    name: str
    arguments: str
    namespace: str | UnsetType = UNSET
    status: ItemStatus = "completed"


OutputItem = MessageItem | ReasoningItem | FunctionCallItem


class InputTokensDetails(Struct):
    """`cache_write_tokens` is 0: writes to the prompt cache are not charged. OpenAI's SDKs require the field."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputTokensDetails(Struct):
    reasoning_tokens: int = 0


class Usage(Struct):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def of(cls, usage: TokenUsage) -> Usage:
        return cls(
            input_tokens=usage.prompt_tokens,
            input_tokens_details=InputTokensDetails(usage.cached_tokens),
            output_tokens=usage.completion_tokens,
            output_tokens_details=OutputTokensDetails(usage.reasoning_tokens),
            total_tokens=usage.total_tokens,
        )


class IncompleteDetails(Struct):
    reason: str


class ResponseError(Struct):
    code: str
    message: str


class Response(Struct, kw_only=True):
    """One response. What the request set is repeated; None is null."""

    id: str
    created_at: int
    status: Status
    model: str
    output: list[OutputItem]
    object: str = "response"
    background: bool = False
    completed_at: int | None = None
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    reasoning: dict[str, Any]
    safety_identifier: str | None = None
    service_tier: str = "default"
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: Any
    tools: list[Any]
    top_logprobs: int
    top_p: float
    truncation: str = "disabled"
    usage: Usage | None = None
    user: str | None = None


class Presentation(Struct, frozen=True):
    """Output options: whether reasoning is omitted, summarized or also encoded, and which logprobs are sent."""

    tools: Tools
    hide_reasoning: bool = False
    summarize: bool = False
    encode_reasoning: bool = False
    logprobs: bool = False


def plain(item: OutputItem) -> dict[str, Any]:
    """Return `item` as JSON objects, without the log probabilities of its tokens."""
    if isinstance(item, MessageItem):
        item = MessageItem(item.id, [OutputText(part.text) for part in item.content], item.status)
    fields: dict[str, Any] = to_builtins(item)
    return fields


def reasoning_item(id: str, text: str, how: Presentation, status: ItemStatus = "completed") -> ReasoningItem:
    """Return a reasoning item with `text` in the place the client asked for."""
    return ReasoningItem(
        id=id,
        summary=[ReasoningText(text, "summary_text")] if how.summarize and text else [],
        content=[] if how.summarize or not text else [ReasoningText(text)],
        encrypted_content=encode_reasoning(text) if how.encode_reasoning else UNSET,
        status=status,
    )


def call_item(id: str, call_id: str, name: str, arguments: str, how: Presentation, status: ItemStatus) -> OutputItem:
    """Return a function call under the names the client knows."""
    namespace, own = how.tools.split_name(name)
    return FunctionCallItem(
        id=id, call_id=call_id, name=own, arguments=arguments, namespace=namespace or UNSET, status=status
    )


def logprobs(tokens: Sequence[TokenLogprob]) -> list[Logprob]:
    """Return log probabilities as they are written, one entry a token."""
    return encoded_each(
        Logprob(t.text, max(t.logprob, _MINUS_INFINITY), _bytes(t), [_top(top) for top in t.top]) for t in tokens
    )


def _top(token: TokenLogprob) -> TopLogprob:
    return TopLogprob(token.text, max(token.logprob, _MINUS_INFINITY), _bytes(token))


def _bytes(token: TokenLogprob) -> list[int] | None:
    return None if token.data is None else list(token.data)
