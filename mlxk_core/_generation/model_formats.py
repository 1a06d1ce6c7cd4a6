"""The formats that read one response: the model's own, and one that finds tool calls around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlxk_core._generation.answer_grammar import ResponseGrammar
from mlxk_core._generation.format_parser import Extractor, ExtractorContext, PlainText
from mlxk_core._generation.generic_tools import GenericToolExtractor
from mlxk_core._generation.verbatim_answer import VerbatimAnswer

if TYPE_CHECKING:
    from mlxk_core._generation.request import GenerationRequest
    from mlxk_core._models.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format of a plugin, with its code loaded. `finds_calls` says whether its parser finds tool calls itself."""

    name: str
    finds_calls: bool
    parser: Callable[[ExtractorContext], Extractor]
    grammar: Callable[[ExtractorContext], ResponseGrammar | None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """The format of a model's text, and the tool format around it; each may be absent.

    The tool format is used for a request with tools whose model's format does not find its own calls.
    """

    text: Format | None = None
    tools: Format | None = None

    @property
    def name(self) -> str | None:
        """The name of the model's format."""
        return self.text.name if self.text else None

    def read_calls_of(self, model: Model) -> bool:
        """Return whether calls in the model's own form are read; a tool format without a grammar is assumed to."""
        if self.text is not None and self.text.finds_calls:
            return True
        if self.tools is None:
            return False
        return self.tools.grammar is None or self.tools.grammar(ExtractorContext(model=model)) is not None

    def grammar(self, context: ExtractorContext) -> ResponseGrammar | None:
        """Return the grammar that the model's format states."""
        return self.text.grammar(context) if self.text is not None and self.text.grammar is not None else None

    def tool_grammar(self, context: ExtractorContext) -> ResponseGrammar | None:
        """Return the grammar that the tool format states."""
        return self.tools.grammar(context) if self.tools is not None and self.tools.grammar is not None else None

    def text_parser(self, context: ExtractorContext) -> Extractor:
        """Return a parser of the model's format alone."""
        return self.text.parser(context) if self.text is not None else PlainText()

    def response_parser(
        self, request: GenerationRequest, context: ExtractorContext, *, generic_tools: bool
    ) -> Extractor:
        """Return the parser of a whole response: of the model's format, with tool calls found around it.

        With `generic_tools` the calls are in the generic form. A constrained answer is passed on unchanged.
        """
        # Where calls are found around the model's format, it need not end its reasoning at what looks like one.
        around = generic_tools or self.tools is not None
        parser = self.text_parser(replace(context, tools=()) if around else context)
        if generic_tools:
            parser = GenericToolExtractor(parser, request.tools)
        elif self.tools is not None:
            parser = self.tools.parser(replace(context, inner=parser))
        return parser if request.constraint is None else VerbatimAnswer(parser)
