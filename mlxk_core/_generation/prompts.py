"""Prompts: from a request to the text and tokens that the engine reads."""

from __future__ import annotations

import logging
import re
import threading
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from mlxk_core._errors import ContextLengthExceeded, InvalidOption, NoTemplate, TemplateError, TemplateLimitExceeded
from mlxk_core._generation.engine import Engine
from mlxk_core._generation.generic_tools import with_tools
from mlxk_core._generation.infill import infill
from mlxk_core._generation.malformed_result import WrongResult
from mlxk_core._generation.oldest_turns import fitted
from mlxk_core._generation.request import GenerationRequest, Message
from mlxk_core._generation.role_rewrites import rewrites
from mlxk_core._generation.tokenizer import Tokenizer
from mlxk_core._generation.tokenizing import encode, find_excess

_LONGEST_ECHO = 1 << 22
"""Characters of a prompt of token ids: each of them may stand for a hundred."""
_PIECE = 1 << 14  # tokens
_ASKED = "mlxk asks"
_LOGGER = logging.getLogger("mlxk.prompts")
_FOLDED = "The chat template accepts no system message here; its text was put into a user message."
# The beginning of a marker at the end of a text: the closed conversation may continue with one that begins alike.
_BEGUN = re.compile(r"[<\[◁][^\s<>\[\]◁▷]*\Z")
_SPEAKERS = {"system": "System", "user": "Human", "assistant": "Assistant", "tool": "Tool"}


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the engine reads. `suffix` is what opens the answer after the last turn ("" for a raw prompt).

    `text` is empty for token ids without `echo`; `tokens` is empty if they were not requested.
    """

    text: str
    tokens: Sequence[int] = ()
    suffix: str = ""
    notes: tuple[str, ...] = ()
    generic_tools: bool = False
    """Whether the tools are in the system message, since the chat template does not support them."""
    stop_tokens: frozenset[int] = frozenset()
    """Tokens that end the answer to this prompt, in addition to the model's own."""
    add_special_tokens: bool = False
    """Whether the tokenizer adds its special tokens to the text of a conversation: no template has written them."""


def _is_conversation(prompt: Sequence[Message] | Sequence[int]) -> bool:
    """Whether `prompt` has messages, not token ids: its first part says so, and ids may be millions."""
    return not prompt or isinstance(prompt[0], Message)


def render(
    engine: Engine,
    request: GenerationRequest,
    window: int | None = None,
    *,
    reads_calls: bool = True,
    tokenize: bool = True,
) -> Prompt:
    """Return the request's prompt as the engine will read it. Without `tokenize` a conversation has no tokens then.

    Unless mlxk `reads_calls` in the model's own form, tools are offered in the generic one. Raises `InvalidOption`
    if it has no token, `ContextLengthExceeded` if its text is far longer than a context of `window` tokens: such a text
    is not tokenized as a whole.
    """
    if request.drop_oldest_turns and window is not None and request.is_chat:
        return fitted(request, window, lambda shorter: _render(engine, shorter, window, reads_calls=reads_calls))
    return _render(engine, request, window, reads_calls=reads_calls, tokenize=tokenize)


def _render(
    engine: Engine, request: GenerationRequest, window: int | None, *, reads_calls: bool, tokenize: bool = True
) -> Prompt:
    _check_length(engine.tokenizer, request.prompt, window)
    _check_length(engine.tokenizer, request.suffix or "", window)
    if request.suffix is not None:
        prompt = _infill(engine.tokenizer, request.prompt, request.suffix)
    elif isinstance(request.prompt, str):
        tokens: Sequence[int] = encode(engine.tokenizer, request.prompt, add_special_tokens=True)
        prompt = Prompt(request.prompt, tokens)
    elif not _is_conversation(request.prompt):
        prompt = _from_tokens(engine, cast("Sequence[int]", request.prompt), echo=request.echo)
    else:
        messages = request.messages
        prompt = _with_tools(engine, messages, request, window, reads_calls)
        if not tokenize:
            return prompt
        tokens = encode(engine.tokenizer, prompt.text, add_special_tokens=prompt.add_special_tokens)
        prompt = replace(prompt, tokens=tokens)
    if not prompt.tokens:
        raise InvalidOption("prompt", "is empty; a model needs at least one token")
    return replace(prompt, tokens=array("q", prompt.tokens))  # a list takes five times the memory of one that waits


def _infill(tokenizer: Tokenizer, prompt: Sequence[Message] | str | Sequence[int], suffix: str) -> Prompt:
    if not isinstance(prompt, str):
        raise InvalidOption("suffix", "needs a prompt that is a text")
    found = infill(tokenizer, prompt, suffix)
    return Prompt("", found.tokens, stop_tokens=found.stop_tokens)


def _from_tokens(engine: Engine, tokens: Sequence[int], *, echo: bool) -> Prompt:
    size = engine.tokenizer.vocab_size
    for token in (min(tokens), max(tokens)):
        if not 0 <= token < size:
            raise InvalidOption("prompt", f"token id {token} is out of range (vocabulary size {size})")
    return Prompt(_echo(engine.tokenizer, tokens) if echo else "", tokens)


def _echo(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """Return the text of `tokens`. Raises `InvalidOption` if it is too long, before it is decoded as a whole."""
    length = 0
    for start in range(0, len(tokens), _PIECE):
        length += len(tokenizer.decode(tokens[start : start + _PIECE]))
        if length > _LONGEST_ECHO:
            raise InvalidOption("prompt", f"has more than {_LONGEST_ECHO:,} characters, which are too many for `echo`")
    return tokenizer.decode(tokens)


def _with_tools(
    engine: Engine, messages: Sequence[Message], request: GenerationRequest, window: int | None, reads_calls: bool
) -> Prompt:
    """Return the prompt of a conversation, with tools in the generic form if the template does not support them."""
    if request.tools and not (_takes_tools(engine, messages, request) and reads_calls):
        if not request.generic_tools:
            raise InvalidOption("tools", "the chat template has no place for them, and generic tools are turned off")
        untooled = replace(request, tools=())
        prompt = _conversation(engine, with_tools(messages, request.tools), untooled, window)
        return replace(prompt, generic_tools=True)
    return _conversation(engine, messages, request, window)


def _takes_tools(engine: Engine, messages: Sequence[Message], request: GenerationRequest) -> bool:
    """Whether the template writes the tools; true where it rejects every conversation. Raises `NoTemplate`."""
    try:
        with_them = engine.render(messages, tools=request.tools, options=request.template_options)
        return with_them != engine.render(messages, options=request.template_options)
    except NoTemplate:
        raise
    except TemplateError:
        probe = [Message(role="user", content=_ASKED)]
        try:
            return engine.render(probe, tools=request.tools) != engine.render(probe)
        except TemplateError:
            return True


def _conversation(
    engine: Engine, messages: Sequence[Message], request: GenerationRequest, window: int | None
) -> Prompt:
    if not messages:
        raise InvalidOption("messages", "must have at least one message")
    try:
        return _render_template(engine, messages, request, window)
    except NoTemplate as missing:
        if request.tools:
            raise
        return _as_turns(engine, messages, missing, window)
    except TemplateLimitExceeded:
        raise
    except TemplateError as refusal:
        if (prompt := _rewritten(engine, messages, request, window)) is not None:
            return prompt
        if request.tools or request.keep_to_template or _accepts_without_options(engine, messages, request):
            raise
        return _as_turns(engine, messages, refusal, window)


def _render_template(
    engine: Engine, messages: Sequence[Message], request: GenerationRequest, window: int | None
) -> Prompt:
    """Return the prompt that the chat template writes. Raises `TemplateError`."""
    options = request.template_options
    text = engine.render(messages, tools=request.tools, options=options)
    if not isinstance(text, str):
        raise WrongResult(f"render() returned {type(text).__name__}, not text", engine.render)
    _check_length(engine.tokenizer, text, window)  # names, calls and tools count as well
    closed = engine.render(messages, tools=request.tools, generation_prompt=False, options=options)
    if text == closed:
        suffix = _after_last_turn(engine, messages, request)
    else:
        common = _common(text, closed)
        begun = _BEGUN.search(text, 0, common)
        suffix = text[begun.start() if begun else common :]
    return Prompt(text, suffix=suffix)


def _rewritten(
    engine: Engine, messages: Sequence[Message], request: GenerationRequest, window: int | None
) -> Prompt | None:
    """Return the prompt of the first rearrangement that the chat template accepts."""
    for rewritten in rewrites(messages):
        try:
            prompt = _render_template(engine, rewritten.messages, request, window)
        except TemplateLimitExceeded:
            raise
        except TemplateError:
            continue
        _LOGGER.debug("conversation rewritten for the chat template: %s", ", ".join(rewritten.changes))
        return replace(prompt, notes=(_FOLDED,)) if rewritten.folds_system else prompt
    return None


def _common(a: str, b: str) -> int:
    """Return the length of the common beginning. By bisection: character by character takes 0.1 s for 400,000."""
    same, longest = 0, min(len(a), len(b))
    while same < longest:
        middle = (same + longest + 1) // 2
        if a[same:middle] == b[same:middle]:
            same = middle
        else:
            longest = middle - 1
    return same


def _accepts_without_options(engine: Engine, messages: Sequence[Message], request: GenerationRequest) -> bool:
    """Whether the template rejects only an option (an unknown effort), which the user can change."""
    if not request.template_options:
        return False
    try:
        engine.render(messages)
    except TemplateError:
        return False
    return True


def _after_last_turn(engine: Engine, messages: Sequence[Message], request: GenerationRequest) -> str:
    """Return what opens the answer where the template renders closed and open conversations alike."""
    asked = [*messages[:-1], replace(messages[-1], content=_ASKED)]
    try:
        text = engine.render(asked, tools=request.tools, options=request.template_options)
    except TemplateError:
        return ""
    return text.rpartition(_ASKED)[2] if _ASKED in text else ""


def _as_turns(engine: Engine, messages: Sequence[Message], why: TemplateError, window: int | None) -> Prompt:
    text = speakers(messages)
    _check_length(engine.tokenizer, text, window)
    note = f"{why} The conversation is written as Human: and Assistant: turns instead."
    return Prompt(text, notes=(note,), add_special_tokens=True)


def speakers(messages: Sequence[Message]) -> str:
    """Return a conversation for a model without a template: each turn after its speaker's name, the last one open."""
    turns = [f"{_SPEAKERS[message.role]}: {message.content.strip()}" for message in messages]
    return "\n\n".join([*turns, "Assistant:"])


class SharedPrompt:
    """The prompt of several requests that differ in their sampling only: rendered once, by the first that needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._prompt: Prompt | None = None

    def get(
        self, engine: Engine, request: GenerationRequest, window: int | None, *, reads_calls: bool = True
    ) -> Prompt:
        """Return the prompt, with its text for `echo` only. Errors of `render` are raised for each of the requests."""
        with self._lock:
            if self._prompt is None:
                prompt = render(engine, request, window, reads_calls=reads_calls)
                self._prompt = prompt if request.echo else replace(prompt, text="")  # it is kept until the end
            return self._prompt


def shared_prompts(requests: Sequence[GenerationRequest]) -> list[SharedPrompt]:
    """Return a prompt for each request; requests that have the same prompt object and options share one."""
    found: dict[tuple[object, ...], SharedPrompt] = {}
    return [
        found.setdefault(
            (
                id(r.prompt),
                r.suffix,
                r.model,
                r.backend,
                id(r.tools),
                id(r.template_options),
                r.keep_to_template,
                r.drop_oldest_turns,
                r.echo,
            ),
            SharedPrompt(),
        )
        for r in requests
    ]


def _check_length(tokenizer: Tokenizer, prompt: Sequence[Message] | str | Sequence[int], window: int | None) -> None:
    """Raise `ContextLengthExceeded` for a prompt far longer than the context, before it is rendered or tokenized."""
    if window is None:
        return
    if not isinstance(prompt, str) and not _is_conversation(prompt):
        if len(prompt) > window:  # a long list of token ids is not decoded either
            raise ContextLengthExceeded(len(prompt), window, at_least=False)
        return
    messages = () if isinstance(prompt, str) else [part for part in prompt if isinstance(part, Message)]
    pieces = sum(bool(message.content.strip()) + len(message.tool_calls) for message in messages)
    if pieces > window:  # each has a token at least
        raise ContextLengthExceeded(pieces, window, at_least=True)
    text = prompt if isinstance(prompt, str) else "".join(message.content for message in messages)
    if excess := find_excess(tokenizer, text, window):
        raise ContextLengthExceeded(excess.tokens, window, at_least=True)
