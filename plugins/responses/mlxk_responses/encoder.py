"""Events of a generation as the Responses API streams them, numbered and in order."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mlxk_core.api.generation import (
    Channel,
    Completion,
    Delta,
    Event,
    Finished,
    FinishReason,
    Loading,
    TokenLogprob,
    ToolCallDelta,
)
from mlxk_core.api.generation import Usage as TokenUsage
from mlxk_core.api.server import EVENT_STREAM, ApiError, ErrorInfo
from mlxk_protocol.encode import encoded_size
from mlxk_protocol.ids import new_id
from mlxk_responses.response import (
    FunctionCallItem,
    IncompleteDetails,
    ItemStatus,
    Logprob,
    MessageItem,
    OutputItem,
    OutputText,
    Presentation,
    ReasoningItem,
    ReasoningText,
    Response,
    ResponseError,
    Usage,
    call_item,
    logprobs,
    reasoning_item,
)

_json = msgspec.json.encode
_LONGEST = 1 << 21
"""Characters of a response: they are kept until it ends, and are in five events then. Those of 500,000 tokens."""
_MOST_LOGPROBS = 8 << 20
"""Bytes of the log probabilities of a message: they are kept until it ends, and are in four events then. Those of 4,000
tokens with 20 alternatives."""


class ResponsesEncoder:
    """Writes one response. `finished` gets it when it is complete, before its last byte is written."""

    content_type = EVENT_STREAM
    heartbeat = b": keep-alive\n\n"

    def __init__(self, response: Response, how: Presentation, finished: Callable[[Response], None]) -> None:
        self._response = response
        self._how = how
        self._on_finished = finished
        self._number = 0
        self._started = False
        self._queued = False
        self._item: _OpenItem | None = None
        self._calls_seen = -1
        self._length = 0

    def piece(self, index: int, event: Event) -> bytes:
        """Return the events that `event` adds to the stream."""
        if isinstance(event, Loading):  # what fails until the prompt is known still has a status of its own
            return b""
        out = self._start()
        match event:
            case Delta(channel=Channel.REASONING, text=text):
                if text and not self._how.hide_reasoning:
                    out += self._switch(_Reasoning)
                    out += self._open.add(text)
            case Delta(text=text, tokens=tokens):
                if text or tokens:
                    out += self._switch(_Message)
                    out += self._open.add(text, tokens if self._how.logprobs else ())
            case ToolCallDelta():
                if event.index != self._calls_seen:
                    self._calls_seen = event.index
                    out += self._close_item("completed") + self._begin(_Call(self, event))
                out += self._open.add(event.arguments)
            case Finished():
                out += self._finish(event)
        return out

    def end(self) -> bytes:
        """Return nothing: the last event ended the stream."""
        return b""

    def whole(self, completions: Sequence[Completion]) -> bytes:
        """Return the response object."""
        [completion] = completions
        self._started = True
        for part in completion.parts:  # the same items as in the stream, in the same order
            self.piece(0, part)
        self._complete(completion.finish_reason, completion.usage)
        return _json(self._response)

    def error(self, error: ErrorInfo) -> bytes:
        """Return the events of a response that fails after it began."""
        out = self._start()
        self._response.status = "failed"
        self._response.error = ResponseError(_error_code(error), error.message)
        if self._response.background:
            self._on_finished(self._response)
        return out + self.event("response.failed", response=self._response)

    def event(self, type: str, **fields: Any) -> bytes:
        """Return one server-sent event with the next sequence number."""
        self._number += 1
        return _event(type, self._number - 1, fields)

    @staticmethod
    def stream_error(number: int, error: ErrorInfo) -> bytes:
        """Return the event of a stream that ends, `number` in it, while its response may go on."""
        return _event("error", number, {"code": error.code or error.type, "message": error.message, "param": None})

    def begin(self) -> bytes:
        """Return the events of a background response before its generation has a place."""
        self._started = True
        self._response.status = "queued"
        out = self.event("response.created", response=self._response)
        out += self.event("response.queued", response=self._response)
        self._queued = True
        return out

    @property
    def response(self) -> Response:
        return self._response

    @property
    def how(self) -> Presentation:
        return self._how

    def count_text(self, length: int) -> None:
        """Count characters of the response. Raises `ApiError`, 400, if there are too many."""
        self._length += length
        if self._length > _LONGEST:
            raise ApiError(
                400, f"This response has more than {_LONGEST:,} characters. Ask for less.", code="response_too_large"
            )

    @property
    def _open(self) -> _OpenItem:
        assert self._item is not None
        return self._item

    def _start(self) -> bytes:
        if self._queued:
            self._queued = False
            self._response.status = "in_progress"
            return self.event("response.in_progress", response=self._response)
        if self._started:
            return b""
        self._started = True
        return self.event("response.created", response=self._response) + self.event(
            "response.in_progress", response=self._response
        )

    def _switch(self, kind: type[_Reasoning] | type[_Message]) -> bytes:
        if isinstance(self._item, kind):
            return b""
        return self._close_item("completed") + self._begin(kind(self))

    def _begin(self, item: _OpenItem) -> bytes:
        self._item = item
        return item.begin()

    def _close_item(self, status: ItemStatus) -> bytes:
        item, self._item = self._item, None
        if item is None:
            return b""
        out, done = item.close(status)
        self._response.output.append(done)
        return out

    def _finish(self, event: Finished) -> bytes:
        out = self._complete(event.reason, event.usage)
        # The API has no event of its own for a cancelled response; its status says so.
        name = "incomplete" if self._response.status == "cancelled" else self._response.status
        return out + self.event(f"response.{name}", response=self._response)

    def _complete(self, reason: FinishReason, usage: TokenUsage) -> bytes:
        """Close the last item and the response. Return the events of the item."""
        status: ItemStatus = "incomplete" if reason in ("length", "cancelled") else "completed"
        out = self._close_item(status)
        if all(isinstance(item, ReasoningItem) for item in self._response.output):
            out += self._begin(_Message(self)) + self._close_item(status)
        self._settle(reason)
        self._response.usage = Usage.of(usage)
        self._on_finished(self._response)
        return out

    def _settle(self, reason: FinishReason) -> None:
        if reason == "length":
            self._response.status = "incomplete"
            self._response.incomplete_details = IncompleteDetails("max_output_tokens")
        elif reason == "cancelled":
            self._response.status = "cancelled"
        else:
            self._response.status = "completed"
            self._response.completed_at = int(time.time())


def _event(type: str, number: int, fields: Mapping[str, Any]) -> bytes:
    data = _json({"type": type, "sequence_number": number, **fields})
    return b"event: %b\ndata: %b\n\n" % (type.encode(), data)


def _error_code(error: ErrorInfo) -> str:
    """Return the code of a failed response: one of OpenAI's enumeration, or one that Codex reads."""
    if error.status >= 500:
        return "server_error"
    return "rate_limit_exceeded" if error.status == 429 else error.code or error.type


class _OpenItem(ABC):
    """An output item that is being written. `index` is its place in the output."""

    def __init__(self, encoder: ResponsesEncoder, prefix: str) -> None:
        self.encoder = encoder
        self.id = new_id(prefix)
        self.index = len(encoder.response.output)
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def keep(self, text: str) -> None:
        """Keep more text for the events that close the item. Raises `ApiError` if the response is too long."""
        self.encoder.count_text(len(text))
        self._pieces.append(text)

    def event(self, type: str, **fields: Any) -> bytes:
        return self.encoder.event(type, item_id=self.id, output_index=self.index, **fields)

    def added(self, item: OutputItem) -> bytes:
        return self.encoder.event("response.output_item.added", output_index=self.index, item=item)

    def done(self, item: OutputItem) -> bytes:
        return self.encoder.event("response.output_item.done", output_index=self.index, item=item)

    @abstractmethod
    def begin(self) -> bytes:
        """Return the events that open the item."""

    @abstractmethod
    def add(self, text: str, tokens: Sequence[TokenLogprob] = ()) -> bytes:
        """Return the events of more text."""

    @abstractmethod
    def close(self, status: ItemStatus) -> tuple[bytes, OutputItem]:
        """Return the events that close the item, and the whole item."""


class _Message(_OpenItem):
    def __init__(self, encoder: ResponsesEncoder) -> None:
        super().__init__(encoder, "msg")
        self.logprobs: list[Logprob] = []
        self.logprobs_size = 0

    def begin(self) -> bytes:
        return self.added(MessageItem(self.id, [], "in_progress")) + self.event(
            "response.content_part.added", content_index=0, part=OutputText("")
        )

    def add(self, text: str, tokens: Sequence[TokenLogprob] = ()) -> bytes:
        self.keep(text)
        new = logprobs(tokens)
        self.logprobs += new
        self.logprobs_size += encoded_size(new)
        if self.logprobs_size > _MOST_LOGPROBS:
            raise ApiError(
                400, "This response has too many log probabilities. Ask for fewer.", code="too_many_logprobs"
            )
        return self.event("response.output_text.delta", content_index=0, delta=text, logprobs=new)

    def close(self, status: ItemStatus) -> tuple[bytes, OutputItem]:
        part = OutputText(self.text, logprobs=self.logprobs)
        item = MessageItem(self.id, [part], status)
        out = self.event("response.output_text.done", content_index=0, text=part.text, logprobs=self.logprobs)
        return out + self.event("response.content_part.done", content_index=0, part=part) + self.done(item), item


class _Reasoning(_OpenItem):
    def __init__(self, encoder: ResponsesEncoder) -> None:
        super().__init__(encoder, "rs")
        self.summarize = encoder.how.summarize

    def begin(self) -> bytes:
        out = self.added(ReasoningItem(self.id, status="in_progress"))
        if self.summarize:
            part = ReasoningText("", "summary_text")
            return out + self.event("response.reasoning_summary_part.added", summary_index=0, part=part)
        return out + self.event("response.content_part.added", content_index=0, part=ReasoningText(""))

    def add(self, text: str, tokens: Sequence[TokenLogprob] = ()) -> bytes:
        self.keep(text)
        if self.summarize:
            return self.event("response.reasoning_summary_text.delta", summary_index=0, delta=text)
        return self.event("response.reasoning_text.delta", content_index=0, delta=text)

    def close(self, status: ItemStatus) -> tuple[bytes, OutputItem]:
        text = self.text
        item = reasoning_item(self.id, text, self.encoder.how, status)
        if self.summarize:
            out = self.event("response.reasoning_summary_text.done", summary_index=0, text=text)
            out += self.event("response.reasoning_summary_part.done", summary_index=0, part=item.summary[0])
        else:
            out = self.event("response.reasoning_text.done", content_index=0, text=text)
            out += self.event("response.content_part.done", content_index=0, part=item.content[0])
        return out + self.done(item), item


class _Call(_OpenItem):
    def __init__(self, encoder: ResponsesEncoder, first: ToolCallDelta) -> None:
        super().__init__(encoder, "fc")
        self.call_id = first.id or new_id("call")
        self.name = first.name or ""

    def _item(self, status: ItemStatus) -> OutputItem:
        return call_item(self.id, self.call_id, self.name, self.text, self.encoder.how, status)

    def begin(self) -> bytes:
        return self.added(self._item("in_progress"))

    def add(self, text: str, tokens: Sequence[TokenLogprob] = ()) -> bytes:
        if not text:
            return b""
        self.keep(text)
        return self.event("response.function_call_arguments.delta", delta=text)

    def close(self, status: ItemStatus) -> tuple[bytes, OutputItem]:
        item = self._item(status)
        assert isinstance(item, FunctionCallItem)
        out = self.event("response.function_call_arguments.done", name=item.name, arguments=item.arguments)
        return out + self.done(item), item
