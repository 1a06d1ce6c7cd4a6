"""The constraint of a row: checked when its request is submitted, compiled when its model is loaded.

What may take long is not done on the thread of the request: it is returned as `SlowWork`, for the threads of
`slow_checks`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from mlxk_core._errors import InvalidConstraint, InvalidOption
from mlxk_core._generation.constraint import SlowConstraintCompiler, TokenConstraint, Vocabulary
from mlxk_core._generation.events import Channel
from mlxk_core._generation.extractor import ExtractorContext
from mlxk_core._generation.generic_tools import generic_grammar
from mlxk_core._generation.grammar import Matches, Part
from mlxk_core._generation.grammar_size import is_larger
from mlxk_core._generation.jobs import Resident
from mlxk_core._generation.model_formats import Formats
from mlxk_core._generation.request import GenerationRequest, Tool
from mlxk_core._generation.response_grammar import ResponseGrammar, answer_grammar, is_constrained
from mlxk_core._generation.thinking_budget import ThinkingBudget
from mlxk_core._host.specs import BackendSpec

if TYPE_CHECKING:
    from mlxk_core._host.host import Host

_TAG = re.compile(r"[<\[◁｜].*[>\]▷｜]", re.DOTALL)
"""An added token that looks like a marker (`<tool_call>`), even if the tokenizer does not declare it special."""
_CHECK_SECONDS = 10.0
"""How long the schemas of all tools of a request may take: some are tried in a process of their own."""
_AT_ONCE_SECONDS = 0.5
"""How long those may take that are checked when the request is submitted; the others are checked afterwards."""
_LARGEST_GRAMMAR = 16 << 20
"""In characters, a body's: each definition of a schema may be repeated for each property, and each property for each
one before it."""
_GRAMMAR_KIND = "grammar"
"""The kind of the compiler for a grammar of several parts."""


def plan_constraint(
    host: Host, request: GenerationRequest, backend: BackendSpec, formats: Formats
) -> ConstraintPlan | None:
    """Return the plan for the constraints of a request, None if it has none.

    Raises `InvalidOption` if one is invalid, or if nothing installed can enforce it.
    """
    constrained = is_constrained(request)
    if not (constrained or request.tools) and request.thinking_budget is None:
        return None
    can_enforce = backend.constraints and any(spec.kind == _GRAMMAR_KIND for spec in host.constraints())
    plan = ConstraintPlan(host, request, formats, can_enforce)
    if not constrained and request.thinking_budget is None:
        return plan
    unchecked = _check_request(host, request)
    if backend.constraints:
        return replace(plan, unchecked=unchecked)
    if request.budget_is_default and not constrained:
        return None
    raise InvalidOption(_option_of(request), f"the backend {backend.name} does not support structured output")


def _check_request(host: Host, request: GenerationRequest) -> SlowWork | None:
    """Raise `InvalidOption` if what the response must match is invalid or contradictory. Return the checks that may
    take long."""
    option = _option_of(request)
    checks: list[_Check] = []
    if request.constraint is not None:
        compiler = host.constraint_compiler(request.constraint.kind, option)
        checks.append(_Check(compiler, request.constraint.part, option))
    if is_constrained(request) and request.tools:
        if request.must_call and not request.callable_tools:
            raise InvalidOption("tool_choice", f"none of the tools is named {', '.join(request.tool_names)}")
        checks += _tool_checks(host.constraint_compiler(_GRAMMAR_KIND, option), request)
    elif request.must_call:
        raise InvalidOption("tool_choice", "a call is required but the request has no tools")
    slow, deadline = [], time.monotonic() + _AT_ONCE_SECONDS
    for check in checks:
        if time.monotonic() > deadline or check.may_take_long():
            slow.append(check)
        else:
            check.run()
    return partial(_run_checks, slow) if slow else None


SlowWork = Callable[[Callable[[], None]], None]
"""Work on a constraint that may take long. It calls its argument ten times a second, to end where that raises."""


class LongCompilation(Exception):
    """A constraint was not compiled, because that may take long. `work` compiles it."""

    def __init__(self, work: Callable[[Callable[[], None]], TokenConstraint]) -> None:
        super().__init__("the constraint takes long to compile")
        self.work = work


@dataclass(frozen=True, slots=True)
class _Check:
    """The check of one part of a request; its errors name `option`."""

    compiler: SlowConstraintCompiler
    part: Part
    option: str

    def may_take_long(self) -> bool:
        with _errors_naming(self.option):
            return self.compiler.may_take_long(self.part)

    def run(self, waiting: Callable[[], None] = lambda: None) -> None:
        with _errors_naming(self.option):
            self.compiler.check(self.part, waiting=waiting)


def _run_checks(checks: Sequence[_Check], waiting: Callable[[], None] = lambda: None) -> None:
    """Raise the error of the first check that has one."""
    begun = time.monotonic()
    for i, check in enumerate(checks):
        seconds = time.monotonic() - begun
        if seconds > _CHECK_SECONDS:
            raise InvalidOption(
                "tools", f"the first {i} schemas that need it take longer than {_CHECK_SECONDS:.0f} s to check"
            )
        if seconds > _AT_ONCE_SECONDS:
            waiting()
        check.run(waiting)


@dataclass(frozen=True, slots=True)
class ConstraintPlan:
    """Builds the constraint of one row, on the request's own thread.

    `can_enforce_generic_tools` says whether the backend and a compiler can enforce calls in the generic form.
    """

    host: Host
    request: GenerationRequest
    formats: Formats
    can_enforce_generic_tools: bool
    unchecked: SlowWork | None = field(default=None, compare=False)
    """The checks that have not been done yet, since they may take long. What they raise is the error of the request."""

    def token_constraint(
        self,
        resident: Resident,
        stop_tokens: frozenset[int],
        context: ExtractorContext,
        *,
        generic_tools: bool = False,
        compiled: TokenConstraint | None = None,
    ) -> TokenConstraint | None:
        """Return the constraint of one row. With `generic_tools` calls are written in the generic form, and always
        enforced where something can.

        Raises `InvalidOption`, naming the option of the request, and `LongCompilation`: call it again with `compiled`,
        the result of its work.
        """
        declared = self.formats.grammar(context)
        response_grammar = declared or ResponseGrammar()
        constraint = None
        if self._must_enforce(declared, context, generic_tools=generic_tools):
            grammar = self._grammar(response_grammar, context, generic_tools=generic_tools)
            constraint = self._compile(grammar, _vocabulary(resident, stop_tokens)) if compiled is None else compiled
        return self._within_thinking_budget(constraint, response_grammar, context, resident)

    def _must_enforce(
        self, declared: ResponseGrammar | None, context: ExtractorContext, *, generic_tools: bool
    ) -> bool:
        """Return whether a grammar is enforced. Raises `InvalidOption` if the request needs one, but its format has
        none."""
        constrained = is_constrained(self.request)
        if declared is not None or self.formats.text_parser(context).channel is not Channel.REASONING:
            return constrained or (generic_tools and self.can_enforce_generic_tools)
        if constrained:
            raise InvalidOption(
                _option_of(self.request),
                f"the format {self.formats.name} has no grammar, and the chat template opens a "
                "reasoning block; disable reasoning for this request",
            )
        return False

    def _grammar(self, response_grammar: ResponseGrammar, context: ExtractorContext, *, generic_tools: bool) -> Part:
        if generic_tools:
            return answer_grammar(self.request, replace(response_grammar, calls=None), generic_grammar())
        return answer_grammar(self.request, response_grammar, self.formats.tool_grammar(context))

    def _compile(self, grammar: Part, vocabulary: Vocabulary) -> TokenConstraint:
        option = _option_of(self.request)
        # One part alone repeats nothing, and was checked.
        if not isinstance(grammar, Matches) and is_larger(grammar, _LARGEST_GRAMMAR):
            raise InvalidConstraint(option, "the grammar of all tools together is too large")
        kind = grammar.kind if isinstance(grammar, Matches) else _GRAMMAR_KIND
        compiler = self.host.constraint_compiler(kind, option)

        def work(waiting: Callable[[], None]) -> TokenConstraint:
            if kind == _GRAMMAR_KIND:  # tools in the generic form were not checked yet; an error names the schema
                _run_checks(_tool_checks(compiler, self.request), waiting)
            with _errors_naming(option):
                return compiler.compile(grammar, vocabulary, waiting=waiting)

        with _errors_naming(option):
            is_long = compiler.may_take_long(grammar, vocabulary)
        if is_long:
            raise LongCompilation(work)
        return work(lambda: None)

    def _within_thinking_budget(
        self,
        constraint: TokenConstraint | None,
        response_grammar: ResponseGrammar,
        context: ExtractorContext,
        resident: Resident,
    ) -> TokenConstraint | None:
        budget = self.request.thinking_budget
        if budget is None:
            return constraint
        if not response_grammar.reasoning_end:
            if self.formats.name is None or self.request.budget_is_default:
                return constraint  # a model without reasoning keeps to every budget
            raise InvalidOption(
                "thinking_budget",
                f"the format {self.formats.name} has no grammar, so its reasoning cannot be ended early",
            )
        tokenizer = resident.engine.tokenizer
        if getattr(tokenizer.detokenizer(), "blocking", False):  # tokens are counted on the engine thread
            if self.request.budget_is_default:
                return constraint
            raise InvalidOption("thinking_budget", "the tokenizer of this model is too slow to count reasoning tokens")
        end = tokenizer.encode(response_grammar.reasoning_end, add_special_tokens=False)
        return ThinkingBudget(budget, end, tokenizer, self.formats.text_parser(context), constraint)


def _tool_checks(compiler: SlowConstraintCompiler, request: GenerationRequest) -> list[_Check]:
    """Return the checks of the schemas of all tools; errors name the schema."""
    return [
        _Check(
            compiler,
            Matches("json_schema", tool.parameters or {"type": "object"}, not tool.strict),
            _schema_option(tool, i),
        )
        for i, tool in enumerate(request.tools)
    ]


def _schema_option(tool: Tool, index: int) -> str:
    return tool.option or f"tools[{index}].function.parameters"


def _option_of(request: GenerationRequest) -> str:
    """Return the name of the option that constrains `request`."""
    if request.constraint is not None:
        return request.constraint.option
    if request.must_call:
        return "tool_choice"
    if strict := next((_schema_option(tool, i) for i, tool in enumerate(request.tools) if tool.strict), None):
        return f"{strict.rpartition('.')[0]}.strict"
    return "tools" if request.thinking_budget is None else "thinking_budget"


@contextmanager
def _errors_naming(option: str) -> Iterator[None]:
    """Make errors of a compiler name the option that the constraint came from."""
    try:
        yield
    except InvalidConstraint as error:
        raise InvalidConstraint(option, error.reason, path=error.path) from error


def _vocabulary(resident: Resident, stop_tokens: frozenset[int]) -> Vocabulary:
    if resident.vocabulary is None:
        tokenizer = resident.engine.tokenizer
        texts = [
            token.text for token in resident.model.added_tokens.values() if token.special or _TAG.fullmatch(token.text)
        ]
        ids = ((text, tokenizer.token_id(text)) for text in texts)
        markers = {text: token for text, token in ids if token is not None}
        resident.vocabulary = Vocabulary(tokenizer=tokenizer, markers=markers, stop_tokens=stop_tokens)
    return resident.vocabulary
