"""Display of one answer: events are shown as they arrive, and Ctrl-C cancels it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import FrameType

from mlxk_core.api.commands import Output
from mlxk_core.api.errors import MlxkError
from mlxk_core.api.generation import (
    Channel,
    Completion,
    Delta,
    Event,
    Generation,
    Loading,
    Progress,
    Started,
    join_events,
)
from mlxk_run.loop_guard import LoopGuard
from mlxk_run.options import View
from mlxk_run.spinner import PULSE, Spinner
from mlxk_run.writer import TextWriter, Writer

REPETITION = "repetition"
"""The finish reason of an answer that the loop guard ended."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A completion and why it ended; `finish_reason` is the completion's, or `"repetition"`."""

    completion: Completion
    finish_reason: str


class NoRoom(Exception):
    """The prompt leaves fewer tokens for the answer than the caller requires; nothing was shown."""


class Display:
    """Shows answers; a note about the model is shown once, not with every answer."""

    def __init__(self, output: Output, view: View) -> None:
        self.output = output
        self.view = view
        self._noted: set[str] = set()

    def show(self, generation: Generation, *, loop_guard: bool = True, room: int = 0) -> Answer:
        """Show an answer and return it. With `--json` only notes are printed.

        Ctrl-C cancels the answer, a second one raises `KeyboardInterrupt`. Raises `NoRoom` if fewer than `room` tokens
        are left for the answer.
        """
        writer = None if self.output.json else self._writer()
        guard = _RepetitionGuard(on=loop_guard)
        seen: list[Event] = []
        shown = self._show(generation, writer, room=room)
        with generation, interrupts_cancel(generation), closing(shown):
            for event in shown:
                seen.append(event)
                if isinstance(event, Delta) and guard.repeats(event):
                    generation.cancel()
        completion = join_events(seen)
        if writer:
            if not self.view.stream:
                for event in seen:
                    if isinstance(event, Delta):
                        writer.add(event.channel, event.text)
            writer.finish()
        repeated = guard.found and completion.finish_reason == "cancelled"
        answer = Answer(completion=completion, finish_reason=REPETITION if repeated else completion.finish_reason)
        self._explain(answer)
        return answer

    def _show(self, generation: Generation, writer: Writer | None, *, room: int) -> Generator[Event]:
        """Yield the events, each after it was shown: text by `writer`, everything else by a spinner and notes."""
        spinner = Spinner(self.output, on=not self.view.quiet)
        try:
            for event in _events(generation, spinner):
                if isinstance(event, Started) and event.max_tokens < room:
                    raise NoRoom
                if isinstance(event, Delta):
                    spinner.clear()
                    if writer and self.view.stream:
                        writer.add(event.channel, event.text)
                        if writer.began:
                            spinner.end()
                else:
                    self._report(event, spinner)
                yield event
        except MlxkError:
            if writer and writer.began:
                writer.finish()  # the error starts on a line of its own
            raise
        finally:
            spinner.clear()

    def note(self, text: str) -> None:
        """Print a line to standard error, unless --quiet is set."""
        if not self.view.quiet:
            self.output.note(text)

    def _writer(self) -> Writer:
        output, view = self.output, self.view
        if not output.stdout_is_terminal:
            return TextWriter(output.write, hide_reasoning=view.hide_reasoning)
        from mlxk_run.terminal_writer import TerminalWriter

        ansi = os.environ.get("TERM") != "dumb"
        return TerminalWriter(output.write, hide_reasoning=view.hide_reasoning, markdown=not view.plain, ansi=ansi)

    def _report(self, event: Event, spinner: Spinner) -> None:
        match event:
            case Loading():
                spinner.show(f"Loading {event.model} …")
            case Started():
                spinner.clear()
                spinner.show("Thinking …")
                for note in event.notes:
                    if note not in self._noted:
                        self.note(note)
                self._noted.update(event.notes)
            case Progress() if event.done < event.total:
                spinner.show(f"Reading the prompt … {event.done:,} of {event.total:,} tokens")
            case _:
                pass

    def _explain(self, answer: Answer) -> None:
        completion = answer.completion
        if answer.finish_reason == REPETITION:
            self.note("Stopped: the answer repeats itself. --no-loop-guard turns this check off.")
        elif completion.finish_reason == "length":
            count = completion.usage.completion_tokens
            self.note(f"The answer was cut at {count:,} token{'' if count == 1 else 's'}.")
        if not completion.content.strip() and completion.reasoning.strip() and answer.finish_reason != "cancelled":
            hidden = " Run again without --hide-reasoning to see it." if self.view.hide_reasoning else ""
            self.note(f"The model produced only reasoning, no answer.{hidden}")
        if self.view.verbose:
            self.output.note(summary(answer))


class _RepetitionGuard:
    """Finds an answer that repeats itself; unless it is `on`, never."""

    def __init__(self, *, on: bool) -> None:
        self._guards = {channel: LoopGuard() for channel in Channel} if on else {}
        self.found = False

    def repeats(self, delta: Delta) -> bool:
        """Return whether `delta` completes the first repetition."""
        guard = self._guards.get(delta.channel)
        if self.found or guard is None or not guard.feed(delta.text):
            return False
        self.found = True
        return True


@contextmanager
def interrupts_cancel(generation: Generation) -> Iterator[None]:
    """Make SIGINT cancel the answer instead of interrupting the main thread. Where SIGINT is ignored (a script's
    background job) it stays ignored."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if stopped:
            raise KeyboardInterrupt
        stopped = True
        generation.cancel()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def summary(answer: Answer) -> str:
    """Return counts, times and the finish reason on one line."""
    completion = answer.completion
    usage, times = completion.usage, completion.timings
    prompt = f"prompt {usage.prompt_tokens} tokens ({usage.cached_tokens} cached)"
    parts = [
        # A prompt that was cancelled before its first token has no time.
        f"{prompt} in {times.prompt:.2f} s" if usage.completion_tokens else f"{prompt}, not finished",
        f"answer {usage.completion_tokens} tokens in {times.generation:.2f} s"
        f" ({tokens_per_second(completion):.1f} tokens/s)",
        f"load {times.load:.2f} s",
        f"end: {answer.finish_reason}" + (f" at {completion.stop_string!r}" if completion.stop_string else ""),
    ]
    return "[" + ", ".join(parts) + "]"


def tokens_per_second(completion: Completion) -> float:
    """Return the rate after the first token, 0 without one."""
    after_first = completion.usage.completion_tokens - 1
    return after_first / completion.timings.generation if completion.timings.generation > 0 else 0.0


def _events(generation: Generation, spinner: Spinner) -> Iterator[Event]:
    """Yield the events, and keep the spinner moving between them."""
    while True:
        try:
            event = generation.next(PULSE)
        except StopIteration:
            return
        if event is None:
            spinner.show()
        else:
            yield event
