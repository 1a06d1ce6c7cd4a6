"""The command `mlxk run`: parse its options, then answer once or chat."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import click
from click.shell_completion import CompletionItem

from mlxk_core.api.commands import (
    Session,
    complete_backend,
    complete_model,
    complete_reasoning_format,
    find_or_pull,
    json_option,
)
from mlxk_core.api.errors import Interrupted, ModelNotFound, UsageError
from mlxk_core.api.generation import SAMPLING_LIMITS, GenerationService, Message, machine_memory
from mlxk_core.api.models import Model, Resolver
from mlxk_core.api.paths import NoHomeFolder, path_exists
from mlxk_core.api.settings import temperature_warning
from mlxk_run.answer_constraint import constraint_of, parse_answer
from mlxk_run.display import Answer, Display, tokens_per_second
from mlxk_run.input import Number, Stdin, Text, file_block, mark_literals, read_prompt
from mlxk_run.keyboard import mode_restored, typing_hidden
from mlxk_run.log import captured_log
from mlxk_run.options import AnswerOptions, ChatOptions, SamplingOptions, View
from mlxk_run.runner import Runner
from mlxk_run.settings import ChatSettings

_LONGEST_HINT = 60  # characters of a prompt in an error
_SHUTDOWN_TIMEOUT = 1.0  # seconds for an engine to end before the process exits without it


class _RunCommand(click.Command):
    """A command whose prompt may begin with `-`, if it cannot be an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, mark_literals(args, self.get_params(ctx)))


def _complete_word(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the model; the prompt after it is free text."""
    if ctx.params.get("words") or ctx.params.get("model"):
        return []
    return complete_model(ctx, param, incomplete)


@click.command("run", cls=_RunCommand)
@click.argument("words", nargs=-1, type=Text(), shell_complete=_complete_word, metavar="[MODEL] [PROMPT]...")
@click.option(
    "-m",
    "--model",
    type=Text(),
    shell_complete=complete_model,
    metavar="MODEL",
    help="The model, instead of the first argument.",
)
@click.option("-s", "--system", type=Text(), metavar="TEXT", help="System prompt.")
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="Put a text file before the prompt (repeatable).",
)
@click.option("-c", "--continue", "resume", is_flag=True, help="Continue the last chat.")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    help="Maximum number of tokens to generate [default: up to the context].",
)
@click.option(
    "-t",
    "--temperature",
    type=Number(*SAMPLING_LIMITS["temperature"]),
    help="0 always picks the most likely token [default: the model's, or 0.7].",
)
@click.option(
    "--top-p", type=Number(min=0, max=1, min_open=True), help="Nucleus sampling [default: the model's, or 0.9]."
)
@click.option("--top-k", type=click.IntRange(min=0), help="Sample from the K most likely tokens only (0: from all).")
@click.option("--min-p", type=Number(min=0, max=1), help="Ignore tokens below this fraction of the top probability.")
@click.option(
    "--repetition-penalty",
    type=Number(*SAMPLING_LIMITS["repetition_penalty"]),
    help="Above 1 discourages repetition [default: the model's, or 1.1].",
)
@click.option("--seed", type=click.IntRange(min=0), help="Random seed, for repeatable answers.")
@click.option(
    "--stop",
    multiple=True,
    type=Text(may_be_empty=False),
    metavar="TEXT",
    help="End the answer before this text (repeatable).",
)
@click.option("--thinking/--no-thinking", default=None, help="Turn reasoning on or off, for models with a switch.")
@click.option(
    "--thinking-budget",
    type=click.IntRange(min=0),
    metavar="N",
    help="End the reasoning after N tokens; the answer follows.",
)
@click.option(
    "--schema", type=Text(may_be_empty=False), metavar="FILE_OR_JSON", help="Answer with JSON that matches a schema."
)
@click.option(
    "--regex", type=Text(may_be_empty=False), metavar="PATTERN", help="Answer with text that matches a pattern."
)
@click.option(
    "--grammar", type=click.Path(), metavar="FILE", help="Answer with text that matches a Lark or GBNF grammar."
)
@click.option("--hide-reasoning", is_flag=True, help="Show only the answer, not the reasoning.")
@click.option(
    "--reasoning-format",
    shell_complete=complete_reasoning_format,
    metavar="NAME",
    help="How the model marks reasoning; `none` shows the raw output.",
)
@click.option("--no-stream", is_flag=True, help="Print the answer only when it is complete.")
@click.option("--plain", is_flag=True, help="Do not render Markdown on a terminal.")
@click.option("--no-chat-template", is_flag=True, help="Use the prompt as it is, without chat template and chat stops.")
@click.option("--no-chat-stops", is_flag=True, help="Do not stop at lines such as `User:`.")
@click.option("--no-loop-guard", is_flag=True, help="Do not stop an answer that repeats itself.")
@click.option("--no-trim", is_flag=True, help="In a chat, fail when the context is full instead of dropping old turns.")
@click.option("--no-save", is_flag=True, help="Do not save this chat.")
@click.option("--backend", shell_complete=complete_backend, metavar="NAME", help="The backend that runs the model.")
@click.option("-q", "--quiet", is_flag=True, help="Print the answer and errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Print token counts, timing and stop reason to stderr.")
@json_option
@click.pass_context
def run(ctx: click.Context, /, **options: Any) -> dict[str, Any] | None:
    """Answer a prompt with a model, or chat with it.

    MODEL is a name that `mlxk list` shows, a folder or a .gguf file.

    With PROMPT, one answer is printed; a pipe or a file on standard input, and every -f FILE, comes before it. Without
    PROMPT, a pipe or a file is the prompt, and at a terminal a chat begins.

    \b
    Examples:
      mlxk run smollm2 "Why is the sky blue?"
      cat notes.txt | mlxk run smollm2 "Summarize this."
      mlxk run smollm2 -f main.py "Explain this code."
      mlxk run smollm2 "Name a city." --schema city.json
      mlxk run smollm2
      mlxk run -c
    """
    with mode_restored():
        return _run(ctx, _Arguments.parse(ctx.obj, **options))


@dataclass(frozen=True, kw_only=True)
class _Arguments:
    """The command line of `run`."""

    model: str | None
    sentence: str | None
    """All words, if the first one may be part of a prompt without quotes and not a model."""
    words: tuple[str, ...]
    files: tuple[str, ...]
    resume: bool
    raw: bool
    """Without chat template."""
    answer: AnswerOptions
    view: View
    chat: ChatOptions

    @classmethod
    def parse(
        cls,
        session: Session,
        *,
        words: tuple[str, ...],
        model: str | None,
        system: str | None,
        files: tuple[str, ...],
        resume: bool,
        max_tokens: int | None,
        temperature: float | None,
        top_p: float | None,
        top_k: int | None,
        min_p: float | None,
        repetition_penalty: float | None,
        seed: int | None,
        stop: tuple[str, ...],
        thinking: bool | None,
        thinking_budget: int | None,
        schema: str | None,
        regex: str | None,
        grammar: str | None,
        hide_reasoning: bool,
        reasoning_format: str | None,
        no_stream: bool,
        plain: bool,
        no_chat_template: bool,
        no_chat_stops: bool,
        no_loop_guard: bool,
        no_trim: bool,
        no_save: bool,
        backend: str | None,
        quiet: bool,
        verbose: bool,
    ) -> _Arguments:
        if quiet and verbose:
            raise UsageError("--quiet cannot be used with --verbose.")
        if no_chat_template and system:
            raise UsageError("--system cannot be used with --no-chat-template: a system prompt is part of a chat.")
        if no_chat_template and resume:
            raise UsageError("--continue cannot be used with --no-chat-template.")
        if resume and session.output.json:
            raise UsageError("--continue cannot be used with --json.")
        constraint = constraint_of(schema=schema, regex=regex, grammar=grammar)
        settings = session.host.settings
        chat = settings.section(ChatSettings)
        sentence = None
        if model is None and not resume:
            sentence = _sentence(words)
            model, words = _model_and_words(words, settings.default_model)
        return cls(
            model=model,
            sentence=sentence,
            words=words,
            files=files,
            resume=resume,
            raw=no_chat_template,
            answer=AnswerOptions(
                sampling=SamplingOptions(
                    temperature=temperature,
                    top_p=top_p,
                    top_k=top_k,
                    min_p=min_p,
                    repetition_penalty=repetition_penalty,
                    seed=seed,
                ),
                max_tokens=max_tokens,
                stop=stop,
                chat_stops=not no_chat_stops,
                thinking=thinking,
                thinking_budget=thinking_budget,
                constraint=constraint,
                reasoning_format=reasoning_format,
                backend=backend,
                loop_guard=not no_loop_guard and constraint is None,
            ),
            view=View(
                stream=not no_stream,
                hide_reasoning=hide_reasoning,
                # A value is data, not Markdown.
                plain=plain or not chat.markdown or constraint is not None,
                verbose=verbose,
                quiet=quiet,
            ),
            chat=ChatOptions(system=system, trim=chat.trim and not no_trim, save=chat.save and not no_save),
        )


def _model_and_words(words: tuple[str, ...], default: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Return the model and the words of the prompt. No name of a model contains white space or ends in `?` or `!`: a
    first word that does is a prompt, for the default model if there is one."""
    if not words:
        return default, ()
    is_sentence = len(words[0].split()) > 1 or words[0].endswith(("?", "!"))
    is_prompt = is_sentence and len(words) == 1 and not path_exists(words[0])
    if not is_prompt:
        return words[0], words[1:]
    if default is None:
        raise UsageError(
            f'`{words[0]}` is a prompt; the model is missing. Usage: mlxk run MODEL "PROMPT", for example: '
            f'mlxk run smollm2 "{words[0]}"'
        )
    return default, words


def _sentence(words: tuple[str, ...]) -> str | None:
    """Return the words as a prompt if they look like one without quotes: three or more, and the first one plain."""
    if len(words) < 3 or any(len(word.split()) != 1 for word in words) or not words[0].replace("'", "").isalpha():
        return None
    return " ".join(words)


def _run(ctx: click.Context, arguments: _Arguments) -> dict[str, Any] | None:
    session: Session = ctx.obj
    if arguments.model is None and not arguments.resume:
        raise UsageError('No model given. Usage: mlxk run MODEL "PROMPT". `mlxk list` shows the models.')
    stdin = Stdin.of_process()
    # Before standard input is read, which may be empty or take long; at a terminal after it, so that a mistake in the
    # prompt does not follow a download.
    model = _find(ctx, arguments) if arguments.model and not stdin.is_terminal else None
    prompt = read_prompt(
        arguments.words, stdin, files=() if arguments.resume else arguments.files, note=session.output.note
    )
    if prompt is None and session.output.json:
        raise UsageError("--json needs a prompt: a chat does not have a single answer.")
    if prompt is None and arguments.raw:
        raise UsageError("--no-chat-template needs a prompt: a chat is made of turns.")
    if prompt is None or arguments.resume:
        _chat(ctx, arguments, model, prompt)
        return None
    model = model or _find(ctx, arguments)
    with _running(ctx, model, arguments) as runner:
        return _single(runner, arguments, prompt)


def _find(ctx: click.Context, arguments: _Arguments) -> Model:
    assert arguments.model is not None
    if arguments.sentence is None:
        return find_or_pull(ctx, arguments.model)
    try:
        return Resolver(ctx.obj.host).resolve(arguments.model)
    except ModelNotFound as error:
        if "Did you mean" in str(error):
            raise
        model = "" if ctx.obj.host.settings.default_model else "MODEL "
        prompt = shorten(arguments.sentence, _LONGEST_HINT, placeholder=" …")
        hint = f'The first word is the model. Write the prompt in quotes: mlxk run {model}"{prompt}"'
        raise ModelNotFound(arguments.model, hint=hint) from error


def _single(runner: Runner, arguments: _Arguments, prompt: str) -> dict[str, Any] | None:
    """Show one answer, and return its data with `--json`."""
    with typing_hidden():
        if arguments.raw:
            answer = runner.answer(prompt, arguments.answer)
        else:
            system = arguments.chat.system
            opening = [Message(role="system", content=system)] if system else []
            answer = runner.answer([*opening, Message(role="user", content=prompt)], arguments.answer)
    data = _data(runner.model, prompt, answer, arguments.view) if runner.session.output.json else None
    constraint = arguments.answer.constraint
    if data is not None and constraint is not None and constraint.kind == "json_schema":
        data["value"] = parse_answer(answer.completion)
    if answer.finish_reason == "cancelled":
        raise Interrupted("The answer was interrupted.", data=data)
    return data


def _chat(ctx: click.Context, arguments: _Arguments, model: Model | None, prompt: str | None) -> None:
    from mlxk_run.chat import Chat  # not needed for a single answer
    from mlxk_run.chat_state import ChatState
    from mlxk_run.conversation import Conversation
    from mlxk_run.paths import chats_file
    from mlxk_run.store import ChatStore

    try:
        store = ChatStore(chats_file())
    except NoHomeFolder:
        store = ChatStore(None)
    conversation = Conversation()
    name = arguments.model
    saved = store.find() if arguments.resume else None
    if saved is not None:
        conversation = Conversation(system=saved.system, messages=store.messages(saved.id), id=saved.id)
        name = name or saved.model
    if arguments.chat.system:
        conversation.system = arguments.chat.system
    assert name is not None
    attachments = [file_block(path) for path in arguments.files]
    model = model or find_or_pull(ctx, name)
    with _running(ctx, model, arguments) as runner:
        with typing_hidden():
            runner.open(arguments.answer)
        state = ChatState(
            runner=runner,
            conversation=conversation,
            options=arguments.answer,
            store=store,
            autosave=arguments.chat.save,
            trim=arguments.chat.trim,
            attachments=attachments,
        )
        chat = Chat(state, continued=saved)
        if prompt is not None:
            chat.ask_once(prompt)
        else:
            chat.run()


@contextmanager
def _running(ctx: click.Context, model: Model, arguments: _Arguments) -> Iterator[Runner]:
    """Lend a runner for `model`, and close its service at the end."""
    session: Session = ctx.obj
    warning = temperature_warning(arguments.answer.sampling.temperature)
    if warning and not arguments.view.quiet:
        session.output.note(f"warning: {warning}")
    log = ctx.with_resource(captured_log(on=arguments.view.verbose))
    ctx.with_resource(session.output.exclusive())
    service = GenerationService(session.host, concurrency=1, memory=machine_memory())
    try:
        yield Runner(session, service, model, Display(session.output, arguments.view), log)
    finally:
        service.close(_SHUTDOWN_TIMEOUT)


def _data(model: Model, prompt: str, answer: Answer, view: View) -> dict[str, Any]:
    completion = answer.completion
    usage, times = completion.usage, completion.timings
    return {
        "model": model.name,
        "revision": model.revision,
        "prompt": prompt,
        "response": completion.content,
        "reasoning": None if view.hide_reasoning else completion.reasoning or None,
        "finish_reason": answer.finish_reason,
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
