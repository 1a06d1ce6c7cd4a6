"""The message object and its content blocks, as they are written."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Literal

from msgspec import Struct

from mlxk_core.api.generation import Channel, Completion, Delta, FinishReason, ToolCallDelta
from mlxk_core.api.generation import Usage as TokenUsage
from mlxk_protocol.arguments import arguments_object
from mlxk_protocol.ids import new_id

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]
_STOP_REASONS: dict[str, StopReason] = {"length": "max_tokens", "cancelled": "max_tokens", "tool_calls": "tool_use"}


class TextBlock(Struct, tag_field="type", tag="text"):
    text: str


class ThinkingBlock(Struct, tag_field="type", tag="thinking"):
    thinking: str
    signature: str


class ToolUseBlock(Struct, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: Any


ContentBlock = TextBlock | ThinkingBlock | ToolUseBlock


class Usage(Struct):
    """Token counts. `input_tokens` are those that were read, without the ones from the prompt cache."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0

    @classmethod
    def of(cls, usage: TokenUsage) -> Usage:
        return cls(
            input_tokens=usage.prompt_tokens - usage.cached_tokens,
            output_tokens=usage.completion_tokens,
            cache_read_input_tokens=usage.cached_tokens,
        )


class MessageObject(Struct, kw_only=True):
    """One response."""

    id: str
    type: str = "message"
    role: str = "assistant"
    model: str
    content: list[ContentBlock]
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    usage: Usage


def signature(thinking: str) -> str:
    """Return the signature of a thinking block. Blocks are accepted back with any."""
    return base64.b64encode(hashlib.sha256(thinking.encode("utf-8", "surrogatepass")).digest()).decode()


def stop_reason(reason: FinishReason, stop_string: str | None) -> StopReason:
    """Return Anthropic's word for why a generation ended."""
    if reason == "stop" and stop_string is not None:
        return "stop_sequence"
    return _STOP_REASONS.get(reason, "end_turn")


def content_blocks(completion: Completion, *, thinking: bool) -> list[ContentBlock]:
    """Return the blocks of a whole response, in the order of its stream."""
    blocks: list[ContentBlock] = []
    for part in completion.parts:
        last = blocks[-1] if blocks else None
        match part:
            case ToolCallDelta():
                blocks.append(_tool_use(part))
            case Delta(channel=Channel.REASONING, text=text):
                if not text or not thinking:
                    continue
                before = last.thinking if isinstance(last, ThinkingBlock) else ""
                blocks[len(blocks) - bool(before) :] = [ThinkingBlock(before + text, signature(before + text))]
            case Delta(text=text):
                if text:
                    before = last.text if isinstance(last, TextBlock) else ""
                    blocks[len(blocks) - bool(before) :] = [TextBlock(before + text)]
    return blocks


def _tool_use(call: ToolCallDelta) -> ToolUseBlock:
    """Return a whole call as a block; arguments that are not a JSON object are kept as text."""
    return ToolUseBlock(call.id or new_id("toolu"), call.name or "", arguments_object(call.arguments))
