"""The grammar of a whole response: its reasoning, then the answer or the tool calls that a request asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlxk_core._errors import InvalidOption
from mlxk_core._generation.grammar import AnyText, OneOf, Part, optional, sequence

if TYPE_CHECKING:
    from mlxk_core._generation.request import GenerationRequest, Tool

_NOTHING: Part = sequence()


@dataclass(frozen=True, kw_only=True)
class ResponseGrammar:
    """How a format writes one response, for the prompt it continues.

    `reasoning` comes before everything else (it matches nothing too where the model may answer at once), and
    `reasoning_end` is the text that ends it and leads to the answer. `before_answer` is written before an answer.
    `calls` returns the grammar of one or more calls of some tools, or of exactly one when they are not parallel; free
    text contains none of the `call_markers`. With `calls_after_text`, calls may follow the text of an answer.
    """

    reasoning: Part = _NOTHING
    reasoning_end: str = ""
    before_answer: Part | str = ""
    calls: Callable[[Sequence[Tool], bool], Part] | None = None
    call_markers: tuple[str, ...] = ()
    calls_after_text: bool = True


def is_constrained(request: GenerationRequest) -> bool:
    """Return whether `request` says what its response must match."""
    return bool(
        request.constraint is not None
        or request.must_call
        or request.tool_names
        or any(tool.strict for tool in request.tools)
    )


def answer_grammar(request: GenerationRequest, form: ResponseGrammar, tool_form: ResponseGrammar | None) -> Part:
    """Return the grammar of the response to `request`. `tool_form` writes the calls of a format that has none itself.

    Raises `InvalidOption` if calls are asked for that no format of the model can write.
    """
    content = request.constraint.part if request.constraint is not None else None
    if not request.tools:
        assert content is not None
        return _parts(form.reasoning, form.before_answer, content)
    caller = form if form.calls is not None else tool_form
    if caller is None or caller.calls is None:
        option = "tool_choice" if request.must_call else "tools"
        raise InvalidOption(option, "tool calls of this model cannot be constrained: its format has no grammar")
    calls = caller.calls(request.callable_tools, request.parallel_calls)
    if request.must_call:
        return _parts(form.reasoning, calls)
    if content is not None or not caller.calls_after_text:
        text = content or AnyText(caller.call_markers)
        return _parts(form.reasoning, OneOf((_parts(form.before_answer, text), calls)))
    return _parts(form.reasoning, form.before_answer, AnyText(caller.call_markers), optional(calls))


def _parts(*parts: Part | str) -> Part:
    kept = [part for part in parts if part not in ("", _NOTHING)]
    return kept[0] if len(kept) == 1 and not isinstance(kept[0], str) else sequence(*kept)
