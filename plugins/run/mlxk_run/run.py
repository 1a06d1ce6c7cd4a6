"""The command run: its options, and how they become requests."""

from __future__ import annotations

import sys
from typing import Any

import click

from mlxk_core.api.commands import Session, json_option
from mlxk_core.api.errors import Interrupted, ModelNotFound, UsageError
from mlxk_core.api.generation import Completion, GenerationRequest, GenerationService, Message, machine_memory
from mlxk_core.api.models import Model, Resolver
from mlxk_run.chat import Chat
from mlxk_run.display import View, take, tokens_per_second
from mlxk_run.input import Number, Text, asked
from mlxk_run.log import Log, kept
from mlxk_run.sampling import sampling_for
from mlxk_run.spinner import Activity

_LAST_WORDS = 1.0  # seconds for an engine to end before the process leaves without it


@click.command("run")
@click.argument("model")
@click.argument("prompt", nargs=-1, type=Text())
@click.option("--system", type=Text(), metavar="TEXT", help="System prompt.")
@click.option(
    "--max-tokens", type=click.IntRange(min=1), help="Most tokens of an answer [default: all of the context]."
)
@click.option("--temperature", type=Number(min=0), help="0 always takes the likeliest token [default: 0.7].")
@click.option("--top-p", type=Number(min=0, max=1, min_open=True), help="Nucleus sampling [default: 0.9].")
@click.option("--top-k", type=click.IntRange(min=0), help="Draw from the K likeliest tokens only (0: from all).")
@click.option("--min-p", type=Number(min=0, max=1), help="Leave out tokens less likely than this share of the best.")
@click.option("--repetition-penalty", type=Number(min=0, min_open=True), help="Above 1 repeats less [default: 1.1].")
@click.option("--seed", type=click.IntRange(min=0), help="Draw the same answer again.")
@click.option(
    "--stop",
    multiple=True,
    type=Text(may_be_empty=False),
    metavar="TEXT",
    help="End the answer before this text (repeatable).",
)
@click.option("--no-stream", is_flag=True, help="Show the answer when it is whole.")
@click.option("--no-chat-template", is_flag=True, help="Take the prompt as it is: no turns, no chat stops.")
@click.option("--no-chat-stops", is_flag=True, help="Do not stop at lines such as `User:`.")
@click.option("--hide-reasoning", is_flag=True, help="Show the answer only.")
@click.option(
    "--reasoning-format", metavar="NAME", help="How the model marks its reasoning; `none` shows all as it is."
)
@click.option("--backend", metavar="NAME", help="What runs the model.")
@click.option("--verbose", is_flag=True, help="Note counts, times and the reason of the end on standard error.")
@json_option
@click.pass_context
def run(ctx: click.Context, /, model: str, prompt: tuple[str, ...], **options: Any) -> dict[str, Any] | None:
    """Answer a prompt with a model, or chat with it.

    MODEL is a name that `mlxk list` shows, a folder or a .gguf file.

    Without PROMPT this is a chat; where standard input is no terminal, it is the prompt. With PROMPT standard input is
    read only for a word `-`, and comes before the other words.

    A model's own sampling values come before the defaults named here.
    """
    session: Session = ctx.obj
    question = asked(prompt, stdin_is_terminal=sys.stdin is not None and sys.stdin.isatty())
    if question is None and session.output.json:
        raise UsageError("--json needs a prompt: a chat has no one answer.")
    if question is None and options["no_chat_template"]:
        raise UsageError("--no-chat-template needs a prompt: a chat is made of turns.")
    if options["no_chat_template"] and options["system"]:
        raise UsageError("--system and --no-chat-template exclude each other: a system prompt is a turn.")
    found = _find(ctx, model)
    service = GenerationService(session.host, concurrency=1, memory=machine_memory())
    desk = _Desk(session, service, found, options, ctx.with_resource(kept(on=options["verbose"])))
    try:
        if question is None:
            desk.open()
            Chat(desk.answer, session.output, options["system"]).run()
            return None
        return desk.single(question)
    finally:
        service.close(_LAST_WORDS)


class _Desk:
    """Where requests to the one model of this run are made."""

    def __init__(
        self, session: Session, service: GenerationService, model: Model, options: dict[str, Any], log: Log
    ) -> None:
        self._host = session.host
        self._output = session.output
        self._service = service
        self._model = model
        self._options = options
        self._log = log
        self._told: set[str] = set()  # what is true of the model is told once, and not at every turn
        self._view = View(
            stream=not options["no_stream"], hide_reasoning=options["hide_reasoning"], verbose=options["verbose"]
        )

    def open(self) -> None:
        """Loads the model. What it cannot do is an error of the command, and not of every turn of a chat."""
        self._host.reasoning_format(self._model, self._options["reasoning_format"])
        activity = Activity(self._output)
        try:
            self._service.preload(
                self._model,
                backend=self._options["backend"],
                waiting=lambda: activity.show(f"Loading {self._model.name} …"),
            )
        finally:
            activity.clear()
        self._log.tell(self._output)

    def answer(self, prompt: list[Message] | str) -> Completion:
        """Shows the answer to a conversation or to a raw prompt, and returns it."""
        options = self._options
        drawn = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")
        request = GenerationRequest(
            model=self._model,
            prompt=prompt,
            sampling=sampling_for(self._model, **{name: options[name] for name in drawn}),
            max_tokens=options["max_tokens"],
            stop=options["stop"],
            chat_stops=not options["no_chat_stops"],
            reasoning_format=options["reasoning_format"],
            backend=options["backend"],
        )
        completion = take(self._service.submit(request), self._view, self._output, self._told)
        self._log.tell(self._output)
        return completion

    def single(self, question: str) -> dict[str, Any] | None:
        """One answer; its data with `--json`."""
        if self._options["no_chat_template"]:
            completion = self.answer(question)
        else:
            opening = [Message(role="system", content=self._options["system"])] if self._options["system"] else []
            completion = self.answer([*opening, Message(role="user", content=question)])
        data = self._data(question, completion) if self._output.json else None
        if completion.finish_reason == "cancelled":
            interrupted = Interrupted("The answer was interrupted.")
            interrupted.data = data
            raise interrupted
        return data

    def _data(self, question: str, completion: Completion) -> dict[str, Any]:
        usage, times = completion.usage, completion.timings
        hidden = self._options["hide_reasoning"]
        return {
            "model": self._model.name,
            "revision": self._model.revision,
            "prompt": question,
            "response": completion.content,
            "reasoning": None if hidden else completion.reasoning or None,
            "finish_reason": completion.finish_reason,
            "usage": {
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "total_tokens": usage.total_tokens,
                "cached_tokens": usage.cached_tokens,
                "reasoning_tokens": usage.reasoning_tokens,
            },
            "timings": {
                "load_seconds": round(times.load, 4),
                "queue_seconds": round(times.queue, 4),
                "prompt_seconds": round(times.prompt, 4),
                "generation_seconds": round(times.generation, 4),
                "tokens_per_second": round(tokens_per_second(completion), 2),
            },
        }


def _find(ctx: click.Context, reference: str) -> Model:
    """The model; one that is not here can be pulled on the spot when somebody sits at the terminal."""
    session: Session = ctx.obj
    resolver = Resolver(session.host)
    try:
        return resolver.resolve(reference)
    except ModelNotFound as missing:
        if not missing.pullable or not _offers_pull(session, reference):
            raise
    puller = session.host.load(session.host.command("pull").target)
    with puller.make_context("pull", [reference], parent=ctx) as inner:
        puller.invoke(inner)
    return resolver.resolve(reference)


def _offers_pull(session: Session, reference: str) -> bool:
    somebody_there = sys.stdin is not None and sys.stdin.isatty() and session.output.stderr_is_terminal
    if session.output.json or not somebody_there:
        return False
    if not any(spec.name == "pull" for spec in session.host.commands()):
        return False
    return click.confirm(f"`{reference}` is not on this machine. Pull it?", default=False, err=True)
