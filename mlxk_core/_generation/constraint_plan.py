"""From a request to the constraint of its row: checked when it is submitted, compiled when its model is loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlxk_core._errors import InvalidConstraint, InvalidOption
from mlxk_core._generation.answer_grammar import ResponseGrammar, answer_grammar, is_constrained
from mlxk_core._generation.constraint import TokenConstraint, Vocabulary
from mlxk_core._generation.events import Channel
from mlxk_core._generation.extractor import Extractor, ExtractorContext
from mlxk_core._generation.generic_tools import generic_grammar
from mlxk_core._generation.grammar import Matches
from mlxk_core._generation.jobs import Resident
from mlxk_core._generation.request import GenerationRequest
from mlxk_core._generation.thinking_budget import ThinkingBudget
from mlxk_core._host.specs import BackendSpec

if TYPE_CHECKING:
    from mlxk_core._host.host import Host

Grammar = Callable[[ExtractorContext], ResponseGrammar | None]

_TAG = re.compile(r"[<\[◁｜].*[>\]▷｜]", re.DOTALL)
_COMPOSED = "grammar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """What the formats of a model say about constraints: their names and their grammars."""

    name: str | None = None
    grammar: Grammar | None = None
    tool_grammar: Grammar | None = None

    def reads_calls(self, request: GenerationRequest) -> bool:
        """Whether the tool format can read the model's calls; one without a grammar is assumed to."""
        return self.tool_grammar is None or self.tool_grammar(ExtractorContext(model=request.model)) is not None


@dataclass(frozen=True, slots=True)
class ConstraintPlan:
    """Builds the constraint of one row. Used on the request's own thread."""

    host: Host
    request: GenerationRequest
    formats: Formats
    enforces_generic: bool

    def token_constraint(
        self,
        resident: Resident,
        stop_tokens: frozenset[int],
        context: ExtractorContext,
        extractor: Callable[[], Extractor],
        *,
        generic_tools: bool = False,
    ) -> TokenConstraint | None:
        """Return the constraint of one row. `extractor` makes a parser of the model's format; with `generic_tools`
        calls are written in the generic form, and always enforced where something can.

        Raises `InvalidOption`, naming the option of the request.
        """
        request, option = self.request, option_of(self.request)
        constrained = is_constrained(request)
        stated = self.formats.grammar(context) if self.formats.grammar is not None else None
        if stated is None and extractor().channel is Channel.REASONING:
            if constrained:
                raise InvalidOption(
                    option,
                    f"the format {self.formats.name} states no grammar, and the chat template opens a block of "
                    "reasoning; turn reasoning off for this request",
                )
        elif generic_tools and self.enforces_generic:
            constrained = True
        form = stated or ResponseGrammar()
        constraint = None
        if constrained:
            constraint = self._compiled(resident, stop_tokens, context, form, generic_tools=generic_tools)
        if request.thinking_budget is None:
            return constraint
        if not form.reasoning_end:
            if self.formats.name is None or request.budget_is_default:
                return constraint  # a model without reasoning keeps to every budget
            raise InvalidOption(
                "thinking_budget", f"the format {self.formats.name} states no grammar, so its reasoning cannot be ended"
            )
        tokenizer = resident.engine.tokenizer
        end = tokenizer.encode(form.reasoning_end, add_special_tokens=False)
        return ThinkingBudget(request.thinking_budget, end, tokenizer, extractor(), constraint)

    def _compiled(
        self,
        resident: Resident,
        stop_tokens: frozenset[int],
        context: ExtractorContext,
        form: ResponseGrammar,
        *,
        generic_tools: bool,
    ) -> TokenConstraint:
        request, option = self.request, option_of(self.request)
        tool_form: ResponseGrammar | None = None
        if generic_tools:
            form, tool_form = replace(form, calls=None), generic_grammar()
        elif self.formats.tool_grammar is not None:
            tool_form = self.formats.tool_grammar(context)
        grammar = answer_grammar(request, form, tool_form)
        kind = grammar.kind if isinstance(grammar, Matches) else _COMPOSED
        compiler = self.host.constraint_compiler(kind, option)
        with _named(option):
            return compiler.compile(grammar, _vocabulary(resident, stop_tokens))


def plan_constraint(
    host: Host, request: GenerationRequest, backend: BackendSpec, formats: Formats
) -> ConstraintPlan | None:
    """Return the plan for the constraints of a request, None if it has none.

    Raises `InvalidOption` if one is invalid, or if nothing installed can enforce it.
    """
    enforces = backend.constraints and any(spec.kind == _COMPOSED for spec in host.constraints())
    if not is_constrained(request) and request.thinking_budget is None:
        if not request.tools:
            return None
        return ConstraintPlan(host, request, formats, enforces)
    option = option_of(request)
    if request.constraint is not None:
        kind = request.constraint.kind
        with _named(option):
            host.constraint_compiler(kind, option).check(Matches(kind, request.constraint.value))
    if is_constrained(request) and request.tools:
        if request.must_call and not request.callable_tools:
            raise InvalidOption("tool_choice", f"none of the tools is named {', '.join(request.tool_names)}")
        compiler = host.constraint_compiler(_COMPOSED, option)
        for i, tool in enumerate(request.tools):
            with _named(f"tools[{i}].function.parameters"):
                compiler.check(Matches("json_schema", tool.parameters or {"type": "object"}, not tool.strict))
    elif request.must_call:
        raise InvalidOption("tool_choice", "a call is required, and the request has no tools")
    if not backend.constraints:
        if request.budget_is_default and not is_constrained(request):
            return None
        raise InvalidOption(option, f"the backend {backend.name} does not support structured output")
    return ConstraintPlan(host, request, formats, enforces)


def option_of(request: GenerationRequest) -> str:
    """Return the name of the option that constrains `request`."""
    if request.constraint is not None:
        return request.constraint.option
    if request.must_call:
        return "tool_choice"
    strict = next((i for i, tool in enumerate(request.tools) if tool.strict), None)
    return "thinking_budget" if strict is None else f"tools[{strict}].function.strict"


@contextmanager
def _named(option: str) -> Iterator[None]:
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
