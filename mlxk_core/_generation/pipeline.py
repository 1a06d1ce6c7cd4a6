"""From tokens to text: detokenize, split into channels, and end at a stop string. One pipeline per request."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core._generation.engine import Sampled, ScoredToken
from mlxk_core._generation.events import (
    CONTENT,
    Channel,
    Delta,
    ExtractorEvent,
    FinishReason,
    PromptToken,
    TokenLogprob,
    ToolCallDelta,
)
from mlxk_core._generation.extractor import Cuttable, Extractor
from mlxk_core._generation.malformed_result import WrongResult
from mlxk_core._generation.tokenizer import Tokenizer
from mlxk_core._generation.tool_call_filter import ToolCallFilter
from mlxk_core._text.stop_strings import StopStrings

_LONGEST_TOKEN = 1 << 14
"""Characters that one token may complete; those of real vocabularies have some hundreds."""
_LONGEST_RESPONSE, _FOR_EACH_TOKEN = 1 << 20, 16
"""Characters of a response, and what each of its tokens adds to that. Real ones have four on average; a damaged
vocabulary's would be gigabytes."""
_MOST_EVENTS, _EVENTS_FOR_EACH_TOKEN = 4096, 4
"""The same for events: a token may open and close many parts of a response, each of which is an item in some APIs."""
_MOST_HELD = 1 << 20
"""Characters that a format may hold back."""
_LONGEST_ALTERNATIVE = 1 << 10
"""Characters of a token whose log probability is returned; a part of a prompt has up to 10,000 alternatives."""

_MUCH_HELD = 1 << 14
"""Characters that a format holds back, from which on deciding what they are may take long."""
_MOST_LOGPROBS = 1 << 14
"""Log probabilities, with alternatives, of text that is held back: 4 MB. More are passed on before their text."""


class TextPipeline:
    """The text of one response. Feed tokens in order until `reason` is set.

    `reason` is why the response ended, `stop_string` the text that ended it, `stop_token` the scored token that did.
    `blocking` is whether `feed` may wait for another process (`Detokenizer`), `heavy` whether it may need much CPU time
    from now on.
    """

    def __init__(self, tokenizer: Tokenizer, extractor: Extractor, stops: StopStrings, calls: ToolCallFilter) -> None:
        self._tokenizer = tokenizer
        self._detokenizer = tokenizer.detokenizer()
        self.blocking: bool = getattr(self._detokenizer, "blocking", False)
        self._extractor = extractor
        self._stops = stops.matcher()
        self._calls = calls
        self._logprobs: list[TokenLogprob] = []
        self.heavy = False
        self._held = 0
        self._length = 0
        self._events = 0
        self._undecided = 0
        self._channel = extractor.channel
        self.completion_tokens = 0
        self.reasoning_tokens = 0
        self.reason: FinishReason | None = None
        self.stop_string: str | None = None
        self.stop_token: TokenLogprob | None = None

    def feed(self, sampled: Sampled) -> list[ExtractorEvent]:
        """Return the events that one token completes."""
        events: list[ExtractorEvent] = []  # lists, not generators: this runs for every token of every stream
        if self.reason is not None:
            return events
        self.completion_tokens += 1
        if sampled.finish == "stop":
            self.stop_token = self._logprob(sampled) if sampled.logprob is not None else None
            return self.finish("stop")
        if sampled.logprob is not None:
            self._logprobs.append(self._logprob(sampled))
        text = self._check(self._detokenizer.add(sampled.token), self._detokenizer.add)
        self._route(self._extractor.feed(text), events)
        self._held = 0 if events else self._held + len(text)
        if self._held > _MUCH_HELD:
            self.heavy = True
        self._count_reasoning()
        if self.reason is None and len(self._logprobs) * (1 + len(sampled.top)) > _MOST_LOGPROBS:
            events.append(Delta(self._channel or CONTENT, "", self._take_logprobs()))
        self._length += len(text)
        self._events += len(events)
        if self.reason is None and (sampled.finish is not None or self._too_long()):
            events += self.finish("length" if sampled.finish in ("length", None) else "stop")
        return events

    def finish(self, reason: FinishReason) -> list[ExtractorEvent]:
        """Return the events of what is held back when the response ends for `reason`."""
        events: list[ExtractorEvent] = []
        if self.reason is not None:
            return events
        rest = self._check(self._detokenizer.finish(), self._detokenizer.finish)
        if reason != "stop":
            rest = rest.rstrip("�")  # a character that was cut in two by the limit
            if isinstance(self._extractor, Cuttable):
                self._extractor.cut()
        self._route(self._extractor.feed(rest), events)
        self._route(self._extractor.close(), events)
        self._take(self._calls.flush(whole=reason == "stop"), events)
        if self.reason is None:
            self._content(self._stops.flush(), events)
            if self._logprobs:
                events.append(Delta(self._channel or CONTENT, "", self._take_logprobs()))
            self._end("tool_calls" if self._calls.called and reason == "stop" else reason)
        return events

    def _too_long(self) -> bool:
        tokens = self.completion_tokens
        return (
            self._length > _LONGEST_RESPONSE + _FOR_EACH_TOKEN * tokens
            or self._events > _MOST_EVENTS + _EVENTS_FOR_EACH_TOKEN * tokens
            or self._held > _MOST_HELD
        )

    @staticmethod
    def _check(text: object, source: object) -> str:
        if not isinstance(text, str):
            raise WrongResult(f"the detokenizer returned {type(text).__name__}, not text", source)
        if len(text) > _LONGEST_TOKEN:
            raise WrongResult(f"the detokenizer returned {len(text)} characters for one token", source)
        return text

    def _route(self, events: Iterable[ExtractorEvent], out: list[ExtractorEvent]) -> None:
        for event in events:
            if self.reason is None:
                self._take(self._calls.feed(event), out)
            if self.reason is None and self._calls.closed:
                self._content(self._stops.flush(), out)
                self._end("tool_calls")

    def _take(self, events: Iterable[ExtractorEvent], out: list[ExtractorEvent]) -> None:
        for event in events:
            if self.reason is not None:
                return
            if isinstance(event, Delta) and event.channel is CONTENT:
                shown = self._stops.feed(event.text)
                if self._stops.found is not None:
                    if not shown:
                        self._logprobs.clear()
                    self._content(shown, out)
                    self.stop_string = self._stops.found
                    self._end("stop")
                    return
                if shown is event.text and shown and not self._logprobs:
                    out.append(event)  # the usual case
                else:
                    self._content(shown, out)
                continue
            # A stop string does not extend across text of another kind.
            self._content(self._stops.flush(), out)
            if isinstance(event, ToolCallDelta):
                out.append(event)
            elif event.text:
                out.append(Delta(event.channel, event.text, self._take_logprobs()))

    def _content(self, text: str, out: list[ExtractorEvent]) -> None:
        if text:
            # White space that the format dropped between reasoning and answer is not a token of the answer.
            while self._logprobs and self._logprobs[0].text.isspace() and not text.startswith(self._logprobs[0].text):
                del self._logprobs[0]
            out.append(Delta(CONTENT, text, self._take_logprobs()))

    def _end(self, reason: FinishReason) -> None:
        self.reason = reason
        if self._channel is Channel.REASONING:
            self.reasoning_tokens += self._undecided

    def _count_reasoning(self) -> None:
        """Count a token as reasoning if the text before or after it is: markers belong to what they enclose."""
        before, after = self._channel, self._extractor.channel
        if before is after is CONTENT and not self._undecided:
            return  # the usual case
        self._undecided += 1
        if after is None:
            return
        if Channel.REASONING in (before, after):
            self.reasoning_tokens += self._undecided
            # Those without text are markers, and must not count as tokens of the answer.
            del self._logprobs[max(0, len(self._logprobs) - self._undecided) :]
        self._undecided = 0
        self._channel = after

    def _take_logprobs(self) -> tuple[TokenLogprob, ...]:
        if not self._logprobs:
            return ()
        taken = tuple(self._logprobs)
        self._logprobs.clear()
        return taken

    def _logprob(self, sampled: Sampled) -> TokenLogprob:
        assert sampled.logprob is not None
        top = tuple(self._token(token, logprob) for token, logprob in sampled.top)
        token = self._token(sampled.token, sampled.logprob)
        return TokenLogprob(token.text, token.logprob, token.data, top, token.id)

    def scored_token(self, scored: ScoredToken) -> PromptToken:
        """Return a scored token of the prompt with its text."""
        text, data = self._text(scored.token)
        top = tuple(self._token(token, logprob) for token, logprob in scored.top)
        return PromptToken(scored.token, text, scored.logprob, scored.rank, data, top)

    def prompt_token(self, token: int) -> PromptToken:
        """Return the first token of the prompt, which has no log probability."""
        text, data = self._text(token)
        return PromptToken(token, text, data=data)

    def _token(self, token: int, logprob: float) -> TokenLogprob:
        text, data = self._text(token)
        return TokenLogprob(text, logprob, data, id=token)

    def _text(self, token: int) -> tuple[str, bytes | None]:
        data = self._tokenizer.piece(token)
        text = self._tokenizer.decode([token]) if data is None else data.decode("utf-8", errors="replace")
        if len(text) > _LONGEST_ALTERNATIVE:
            problem = f"the token {token} has {len(text):,} characters, too many for a log probability"
            raise WrongResult(problem, self._tokenizer.piece)
        return text, data
