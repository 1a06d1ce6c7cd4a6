"""How the text of a model is read: its own format, and a tool format that finds calls around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlxk_core._generation.extractor import Extractor, ExtractorContext, PlainText
from mlxk_core._generation.generic_tools import GenericToolExtractor
from mlxk_core._generation.response_grammar import ResponseGrammar
from mlxk_core._generation.verbatim_answer import VerbatimAnswer

if TYPE_CHECKING:
    from mlxk_core._models.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format of a plugin, with its code loaded. With `parses_tool_calls`, its parser finds tool calls itself."""

    name: str
    parses_tool_calls: bool
    make_parser: Callable[[ExtractorContext], Extractor]
    make_grammar: Callable[[ExtractorContext], ResponseGrammar | None] | None


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
        """Return whether tool calls in the model's own form are read. A tool format without a grammar is assumed
        to read them."""
        if self.text is not None and self.text.parses_tool_calls:
            return True
        if self.tools is None:
            return False
        return self.tools.make_grammar is None or self.tools.make_grammar(ExtractorContext(model=model)) is not None

    def grammar(self, context: ExtractorContext) -> ResponseGrammar | None:
        """Return the grammar that the model's format declares."""
        if self.text is None or self.text.make_grammar is None:
            return None
        return self.text.make_grammar(context)

    def tool_grammar(self, context: ExtractorContext) -> ResponseGrammar | None:
        """Return the grammar that the tool format declares."""
        if self.tools is None or self.tools.make_grammar is None:
            return None
        return self.tools.make_grammar(context)

    def text_parser(self, context: ExtractorContext) -> Extractor:
        """Return a parser of the model's format alone."""
        return self.text.make_parser(context) if self.text is not None else PlainText()

    def response_parser(self, context: ExtractorContext, *, generic_tools: bool, constrained: bool) -> Extractor:
        """Return the parser of a whole response: of the model's format, with tool calls found around it.

        With `generic_tools` the calls are in the generic form. A `constrained` answer is passed on unchanged.
        """
        # The model's format need not end its reasoning at what looks like a call if another parser finds the calls.
        calls_found_outside = generic_tools or self.tools is not None
        parser = self.text_parser(replace(context, tools=()) if calls_found_outside else context)
        if generic_tools:
            parser = GenericToolExtractor(parser, context.tools)
        elif self.tools is not None:
            parser = self.tools.make_parser(replace(context, inner=parser))
        return VerbatimAnswer(parser) if constrained else parser
