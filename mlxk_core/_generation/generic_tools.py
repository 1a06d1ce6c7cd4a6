"""Tools for chat models whose template does not support them: instructions, a form of calls, and its parser.

The tools are described in the system message. A call is `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, as
Hermes and Qwen write it; what a tool returns goes into a user message as `<tool_response>…</tool_response>`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from mlxk_core._generation.events import Channel, Delta, ExtractorEvent, ToolCallDelta
from mlxk_core._generation.extractor import Cuttable, Extractor, new_call_id
from mlxk_core._generation.grammar import Matches, OneOf, Part, Repeat, sequence
from mlxk_core._generation.request import Message, Tool, ToolCall
from mlxk_core._generation.response_grammar import ResponseGrammar
from mlxk_core._text.edge_trimmer import EdgeTrimmer
from mlxk_core._text.json_strings import ends_in_string
from mlxk_core._text.markers import markers

_START, _END = "<tool_call>", "</tool_call>"
_MAX_ENDS = 64
"""Ends of a call that are tried; and how often, on average, a response is read to find out what is a call in it."""
_NAMED = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*', re.DOTALL)
_INSTRUCTIONS = (
    "You can call tools. Call one when it helps to answer, and answer directly when none does. The tools, one JSON "
    "object per line:\n{tools}\n\nTo call a tool, write exactly this, with arguments that match its parameters:\n"
    '<tool_call>\n{{"name": "TOOL", "arguments": {{...}}}}\n</tool_call>\n'
    "The result comes in the next message, between <tool_response> and </tool_response>."
)


def with_tools(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    """Return the conversation with `tools` described in its system message, and calls and results as text."""
    described = "\n".join(_tool_text(tool) for tool in tools)
    instructions = _INSTRUCTIONS.format(tools=described)
    turns = calls_as_text(messages)
    if turns and turns[0].role == "system":
        content = "\n\n".join(filter(None, (turns[0].content, instructions)))
        return [replace(turns[0], content=content), *turns[1:]]
    return [Message(role="system", content=instructions), *turns]


def calls_as_text(messages: Sequence[Message]) -> list[Message]:
    """Return the conversation with its calls and results as text."""
    turns: list[Message] = []
    for of_tools, group in groupby(messages, key=lambda message: message.role == "tool"):
        if of_tools:
            results = (f"<tool_response>\n{message.content}\n</tool_response>" for message in group)
            turns.append(Message(role="user", content="\n".join(results)))
        else:
            turns += map(_with_calls_as_text, group)
    return turns


def _with_calls_as_text(message: Message) -> Message:
    if not message.tool_calls:
        return message
    text = "\n".join(filter(None, (message.content, *map(_call_text, message.tool_calls))))
    return replace(message, content=text, tool_calls=())


def _tool_text(tool: Tool) -> str:
    value = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return json.dumps(value, ensure_ascii=False, default=str)


def _call_text(call: ToolCall) -> str:
    return f"{_START}{_call_start(call.name)}{call.arguments or '{}'}}}\n{_END}"


def _call_start(name: str) -> str:
    return f'\n{{"name": {json.dumps(name)}, "arguments": '


def generic_grammar() -> ResponseGrammar:
    """Return how calls are written in the generic form."""
    return ResponseGrammar(calls=_calls, call_markers=(_START,))


def _calls(tools: Sequence[Tool], parallel: bool) -> Part:
    call = OneOf(
        tuple(
            sequence(
                _START + _call_start(tool.name),
                Matches("json_schema", tool.parameters or {"type": "object"}, not tool.strict),
                f"}}\n{_END}",
            )
            for tool in tools
        )
    )
    return sequence(call, Repeat(sequence("\n", call))) if parallel else call


class GenericToolExtractor:
    """Finds calls of `tools` in the content of `inner`; what only looks like a call stays text."""

    def __init__(self, inner: Extractor, tools: Sequence[Tool]) -> None:
        self._inner = inner
        self._names = {tool.name for tool in tools}
        self._opener = markers(_START)
        self._trimmer = EdgeTrimmer()
        self._text = ""
        self._later: list[str] = []
        """What came after `_text` and cannot end the call that is open: it is added all at once."""
        self._last = ""
        """The end of the content so far: the marker that ends a call may be cut."""
        self._open = False
        self._at = self._ends = 0
        """Where the end of the open call is searched, and how many were inside of its strings."""
        self._fed = self._looked_at = 0
        """Characters of the content, and of the texts that were looked at for a call."""
        self._calls = 0
        self._cut = False

    @property
    def channel(self) -> Channel | None:
        channel = self._inner.channel
        return None if channel is Channel.CONTENT and self._text and not self._open else channel

    def feed(self, text: str, /) -> Iterable[ExtractorEvent]:
        yield from self._take(self._inner.feed(text))

    def close(self) -> Iterable[ExtractorEvent]:
        yield from self._take(self._inner.close())
        if self._cut:
            yield from self._cut_call()
        yield from self._scan(final=True)
        if rest := self._trimmer.close():
            yield Delta(Channel.CONTENT, rest)

    def cut(self) -> None:
        """Note that a limit ends the response: `close` then returns an open call with the arguments there are."""
        self._cut = True
        if isinstance(self._inner, Cuttable):
            self._inner.cut()

    def _take(self, events: Iterable[ExtractorEvent]) -> Iterator[ExtractorEvent]:
        for event in events:
            if isinstance(event, Delta) and event.channel is Channel.CONTENT:
                self._later.append(event.text)
                seen = self._last + event.text
                self._last = seen[1 - len(_END) :]
                if not self._open or _END in seen:
                    yield from self._scan(final=False)
            else:
                yield from self._scan(final=True)
                yield event

    def _join(self) -> None:
        later = "".join(self._later)
        self._text += later
        self._fed += len(later)
        self._later.clear()

    def _scan(self, *, final: bool) -> Iterator[ExtractorEvent]:
        self._join()
        while self._text:
            if not self._open:
                found = self._opener.search(self._text, final=final)
                yield from self._emit(found.start if found else len(self._text))
                if found is None or found.marker is None:
                    return
                self._open, self._at, self._ends = True, len(_START), 0
            call, used = self._read(final=final)
            if call is not None:
                self._text, self._open = self._text[used:], False
                self._trimmer.remove()
                self._calls += 1
                yield call
            elif used:
                self._open = False
                yield from self._emit(used)
            else:
                return

    def _cut_call(self) -> Iterator[ToolCallDelta]:
        """Return the call that a limit cut, and drop one that is cut before its name is complete."""
        self._join()
        body = self._text[len(_START) :].lstrip()
        if not self._open:
            if len(self._text) > 1 and _START.startswith(self._text):
                self._drop()
            return
        if any(_call_start(name).lstrip().startswith(body) for name in self._names):
            self._drop()
        elif (named := _NAMED.match(body)) and (name := json.loads(named[1], strict=False)) in self._names:
            arguments = body[named.end() :]
            try:
                arguments = arguments[: json.JSONDecoder().raw_decode(arguments)[1]]
            except (ValueError, RecursionError):
                pass  # they are what was cut
            self._drop()
            yield ToolCallDelta(self._calls, new_call_id(), name, arguments)

    def _drop(self) -> None:
        self._text, self._open = "", False
        self._trimmer.remove()

    def _read(self, *, final: bool) -> tuple[ToolCallDelta | None, int]:
        """Return the call at the beginning of the text and its length.

        Without a call, the length is that of what is only text; 0 while more text is needed to tell.
        """
        while self._ends < _MAX_ENDS:
            at = self._text.find(_END, self._at)
            if at < 0 and not final:
                return None, 0
            self._looked_at += len(self._text)
            if self._looked_at > _MAX_ENDS * self._fed:
                return None, len(self._text)
            body = self._text[len(_START) : at if at >= 0 else len(self._text)].strip()
            if call := self._call(body):
                return call, at + len(_END) if at >= 0 else len(self._text)
            if at < 0 or not ends_in_string(body):
                return None, len(_START)
            self._at, self._ends = at + len(_END), self._ends + 1  # the marker is inside a string of the arguments
        return None, len(_START)

    def _call(self, body: str) -> ToolCallDelta | None:
        try:
            value = json.loads(body)
            name, arguments = value["name"], value.get("arguments") or {}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        if name not in self._names or not isinstance(arguments, dict):
            return None
        return ToolCallDelta(self._calls, new_call_id(), name, json.dumps(arguments, ensure_ascii=False))

    def _emit(self, length: int) -> Iterator[Delta]:
        text, self._text = self._text[:length], self._text[length:]
        if shown := self._trimmer.write(text):
            yield Delta(Channel.CONTENT, shown)
