"""The bodies of `POST /v1/messages` and `/v1/messages/count_tokens`, typed and range-checked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Block = dict[str, Any]


class MessageIn(Struct):
    """One turn. Claude Code also sends turns of role `system`."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class ToolIn(Struct):
    """A tool of the client; `type` is absent or `custom`, else it would have to run on the server."""

    name: Annotated[str, Meta(min_length=1)]
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    type: str | None = None
    strict: bool | None = None


class ToolChoice(Struct):
    """`tool_choice`."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct):
    """`thinking`. `adaptive` leaves it to the model; `display: omitted` hides it."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, Meta(ge=1)] | None = None
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(Struct):
    """`output_config.format`, once `output_format`."""

    type: Literal["json_schema"]
    schema: Any = None


class OutputConfig(Struct):
    """`output_config`."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class CountRequest(Struct, kw_only=True):
    """The fields that determine a prompt."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[MessageIn], Meta(min_length=1)]
    system: str | list[Block] | None = None
    tools: Annotated[list[ToolIn], Meta(max_length=1024)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    mcp_servers: list[Any] | None = None
    container: Any = None


class MessageRequest(CountRequest, kw_only=True):
    """Fields that are listed act or are an error; others (`metadata`, `service_tier`, …) are skipped."""

    max_tokens: Annotated[int, Meta(ge=1)]
    stop_sequences: Annotated[list[Annotated[str, Meta(max_length=1024)]], Meta(max_length=16)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    stream: bool | None = None
