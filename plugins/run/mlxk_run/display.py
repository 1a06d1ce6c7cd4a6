"""One answer at a terminal: its events shown as they come, and Ctrl-C that stops it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from mlxk_core.api.commands import Output
from mlxk_core.api.errors import MlxkError
from mlxk_core.api.generation import Completion, Delta, Event, Generation, Loading, Progress, Started, join_events
from mlxk_run.spinner import PULSE, Activity
from mlxk_run.writer import AnswerWriter


@dataclass(frozen=True, kw_only=True)
class View:
    """How answers are shown. `stream` False shows an answer when it is whole; it looks the same."""

    stream: bool = True
    hide_reasoning: bool = False
    verbose: bool = False


def take(generation: Generation, view: View, output: Output, told: set[str]) -> Completion:
    """Shows an answer and returns it whole. With `--json` it is not shown, only noted about. Notes that were `told` are
    not told again.

    Ctrl-C cancels the answer (a second one raises `KeyboardInterrupt`): its `finish_reason` is `"cancelled"` then.
    """
    activity = Activity(output)
    seen: list[Event] = []
    writer = None
    if not output.json:
        terminal = output.stdout_is_terminal
        dim = terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        writer = AnswerWriter(output.write, hide_reasoning=view.hide_reasoning, dim=dim, tame=terminal)
    with generation, interrupts_cancel(generation):
        try:
            for event in _events(generation, activity):
                seen.append(event)
                _tell(event, activity, output, told)
                if isinstance(event, Delta):
                    activity.clear()
                    if writer and view.stream:
                        writer.add(event.channel, event.text)
                        if writer.began:
                            activity.end()
        except MlxkError:
            if writer and writer.began:
                writer.finish()  # what went wrong is told on a line of its own
            raise
        finally:
            activity.clear()
    completion = join_events(seen)
    if writer:
        if not view.stream:
            for event in seen:
                if isinstance(event, Delta):
                    writer.add(event.channel, event.text)
        writer.finish()
    _explain_silence(completion, view, output)
    _explain_end(completion, output)
    if view.verbose:
        output.note(summary(completion))
    return completion


@contextmanager
def interrupts_cancel(generation: Generation) -> Iterator[None]:
    """While this holds, SIGINT cancels the answer instead of breaking off whatever the main thread is in. Where it is
    ignored (a script's background job) it stays so."""
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


def summary(completion: Completion) -> str:
    """Counts, times and the reason of the end, on a line."""
    usage, times = completion.usage, completion.timings
    parts = [
        f"prompt {usage.prompt_tokens} tokens ({usage.cached_tokens} cached) in {times.prompt:.2f} s",
        f"answer {usage.completion_tokens} tokens in {times.generation:.2f} s"
        f" ({tokens_per_second(completion):.1f} tokens/s)",
        f"load {times.load:.2f} s",
        f"end: {completion.finish_reason}" + (f" at {completion.stop_string!r}" if completion.stop_string else ""),
    ]
    return "[" + ", ".join(parts) + "]"


def tokens_per_second(completion: Completion) -> float:
    """The rate behind the first token, 0 where there is none."""
    after_first = completion.usage.completion_tokens - 1
    return after_first / completion.timings.generation if completion.timings.generation > 0 else 0.0


def _events(generation: Generation, activity: Activity) -> Iterator[Event]:
    """The events, with the activity line kept moving between them."""
    while True:
        try:
            event = generation.next(PULSE)
        except StopIteration:
            return
        if event is None:
            activity.show()
        else:
            yield event


def _tell(event: Event, activity: Activity, output: Output, told: set[str]) -> None:
    match event:
        case Loading():
            activity.show(f"Loading {event.model} …")
        case Started():
            activity.clear()
            activity.show("Thinking …")
            for note in event.notes:
                if note not in told:
                    output.note(note)
            told.update(event.notes)
        case Progress() if event.done < event.total:
            activity.show(f"Reading the prompt … {event.done} of {event.total} tokens")
        case _:
            pass


def _explain_silence(completion: Completion, view: View, output: Output) -> None:
    if completion.content.strip() or not completion.reasoning.strip() or completion.finish_reason == "cancelled":
        return
    if view.hide_reasoning:
        output.note("All that came was reasoning, and --hide-reasoning hides it.")
    else:
        output.note("All that came was reasoning; there is no answer.")


def _explain_end(completion: Completion, output: Output) -> None:
    if completion.finish_reason == "length":
        count = completion.usage.completion_tokens
        output.note(f"The answer was cut at {count} token{'' if count == 1 else 's'}.")
