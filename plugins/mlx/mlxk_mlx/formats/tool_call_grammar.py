"""How models write tool calls: the grammar of each format that mlxk reads, in the model's own form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.formats import ExtractorContext, ResponseGrammar
from mlxk_core.api.generation import Literal, Matches, OneOf, Part, RawString, Repeat, Tool, optional, sequence
from mlxk_mlx.formats.argument_grammar import Argument, arguments_of, each, raw_value, separate
from mlxk_mlx.formats.argument_types import definitions_of, standing_alone, types_of
from mlxk_mlx.formats.dsml_calls import markers_of

Write = Callable[[Tool], Part]

_OBJECT: Mapping[str, Any] = {"type": "object"}
_WORD = re.compile(r"\w+")
_NAME = re.compile(r"[^\s<>\"\\]+")
_PYTHON_NAME = re.compile(r"[\w.]+")
_PLAIN_NAME = re.compile(r"[\w-]+")
_GEMMA_STRING = '<|"|>'
_GEMMA_MARKS = ("<|tool_call>", "<tool_call|>")
_DEPTH = 6
_MOST_ITEMS = 32
_MOST_VALUES = 2000
"""Of one tool, where the grammar has a part for each alternative of each value: references multiply them."""


@dataclass(frozen=True, slots=True)
class WireFormat:
    """How calls are written: `one` call, what is around all of them and between two. A call that has to be the only
    one is not `parallel`. `markers` open calls, and free text contains none of them. `names` are the names of tools
    that the parser of the format reads."""

    one: Write
    before: str = ""
    after: str = ""
    between: str = ""
    parallel: bool = True
    markers: tuple[str, ...] = ()
    names: re.Pattern[str] = _NAME

    def calls(self, tools: Sequence[Tool], parallel: bool) -> Part:
        """Return the grammar of one or more calls of `tools`, of exactly one if they are not `parallel`.

        Raises `InvalidOption` for a tool whose calls could be written and not read.
        """
        for tool in tools:
            if not self.names.fullmatch(tool.name):
                raise InvalidOption("tools", f"the tool format of this model cannot write the name {tool.name!r}")
        call = OneOf(tuple(self.one(tool) for tool in tools))
        more = Repeat(sequence(self.between, call)) if parallel and self.parallel else sequence()
        return sequence(self.before, call, more, self.after)


def response_grammar(context: ExtractorContext) -> ResponseGrammar | None:
    """Return how the model of `context` writes calls; None if mlxk cannot read them."""
    from mlxk_mlx.formats.format_names import tool_format_name

    name = tool_format_name(context.model)
    form = wire_format(name, context.model.chat_template or "") if name else None
    if form is None:
        return None
    # A call that nothing opens would be text after text.
    after_text = bool(form.markers)
    return ResponseGrammar(calls=form.calls, call_markers=form.markers, calls_after_text=after_text)


def wire_format(name: str, template: str) -> WireFormat | None:
    """Return the form in which calls of the format `name` are written; the template decides between variants."""
    match name:
        case "mistral":
            return _MISTRAL_HEADERS if "[ARGS]" in template else _MISTRAL_LIST
        case "deepseek":
            return _DEEPSEEK_FENCED if "```json" in template else _DEEPSEEK
        case "dsml":
            before, after = markers_of(template)
            return WireFormat(_dsml, f"{before}\n", after, markers=(before,))
        case "command_r":
            if "<|START_ACTION|>" in template:
                return _COMMAND_ACTION
            return _fenced_commands("Action:```json" if "Action:```json" in template else "Action: ```json")
    return _FORMATS.get(name)


def _json(tool: Tool) -> Part:
    return Matches("json_schema", tool.parameters or _OBJECT, not tool.strict)


def _object(name: str, arguments: str, before: str = "", after: str = "") -> Write:
    return lambda tool: sequence(f'{before}{{"{name}": "{tool.name}", "{arguments}": ', _json(tool), "}" + after)


def _tags(
    call: tuple[str, str],
    argument: tuple[str, str],
    *,
    edge: str = "",
    text: tuple[str, str] | None = None,
    also: tuple[str, ...] = (),
) -> Write:
    """A call as a pair of tags, and each argument as one: `{}` is its name. `edge` is written around a value, `text`
    around those that are strings; a string contains none of the closing tags, nor of `also`."""

    def write(tool: Tool) -> Part:
        lenient = not tool.strict
        without = (call[1].strip(), *also)

        def one(each: Argument) -> Part:
            opener, closer = argument[0].format(each.name), argument[1]
            if text is not None and types_of(each.schema) == {"string"}:
                return sequence(opener, text[0], RawString(each.schema, (text[1], *without), lenient), text[1], closer)
            return sequence(opener, raw_value(each, closer, lenient, edges=(edge, edge), without=without))

        return sequence(call[0].format(tool.name), each(tool, one), call[1])

    return write


def _keywords(tool: Tool) -> Part:
    """Python's call syntax; JSON values are read as Python's."""

    def one(argument: Argument) -> Part:
        if not argument.name.isidentifier():
            raise InvalidOption("tools", f"the argument {argument.name!r} of {tool.name} is not a Python name")
        return sequence(f"{argument.name}=", Matches("json_schema", argument.schema, not tool.strict))

    return sequence(f"{tool.name}(", separate(tool, one, ","), ")")


def _gemma(tool: Tool) -> Part:
    return sequence(f"call:{tool.name}", _gemma_object(tool.parameters, tool.parameters, tool, 0, count()))


def _gemma_object(
    schema: Mapping[str, Any], root: Mapping[str, Any], tool: Tool, depth: int, values: Iterator[int]
) -> Part:
    described = Tool(name=tool.name, parameters={**schema, **definitions_of(root)}, strict=tool.strict)

    def one(argument: Argument) -> Part:
        key = argument.name if _WORD.fullmatch(argument.name) else f'"{argument.name}"'
        return sequence(f"{key}:", _gemma_value(argument.schema, root, tool, depth + 1, values))

    if not arguments_of(described):
        return Literal("{}")
    return sequence("{", separate(described, one, ","), "}")


def _gemma_value(
    schema: Mapping[str, Any], root: Mapping[str, Any], tool: Tool, depth: int, values: Iterator[int]
) -> Part:
    if depth > _DEPTH:
        raise InvalidOption("tools", f"the parameters of {tool.name} are nested deeper than {_DEPTH} levels")
    if next(values) >= _MOST_VALUES:
        raise InvalidOption("tools", f"the parameters of {tool.name} have over {_MOST_VALUES:,} alternatives")
    lenient = not tool.strict
    if isinstance(schema.get("$ref"), str):
        return _gemma_value(_target(schema["$ref"], root), root, tool, depth + 1, values)
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            return OneOf(tuple(_gemma_value(part, root, tool, depth + 1, values) for part in schema[key]))
    kinds = types_of(schema)
    if kinds == {"string"}:
        return sequence(_GEMMA_STRING, RawString(schema, (_GEMMA_STRING, *_GEMMA_MARKS), lenient), _GEMMA_STRING)
    if kinds == {"object"}:
        return _gemma_object(schema, root, tool, depth + 1, values)
    if kinds == {"array"}:
        return _gemma_array(schema, root, tool, depth, values)
    if not kinds & {"string", "object", "array"}:
        return Matches("json_schema", standing_alone(schema, definitions_of(root)), lenient)
    parts = [_gemma_value({**schema, "type": kind}, root, tool, depth + 1, values) for kind in sorted(kinds)]
    return OneOf(tuple(parts))


def _gemma_array(
    schema: Mapping[str, Any], root: Mapping[str, Any], tool: Tool, depth: int, values: Iterator[int]
) -> Part:
    items = schema.get("items")
    item = _gemma_value(items if isinstance(items, Mapping) else {"type": "string"}, root, tool, depth + 1, values)
    least, most = int(schema.get("minItems", 0)), min(_MOST_ITEMS, int(schema.get("maxItems", _MOST_ITEMS)))
    if least > most:
        raise InvalidOption("tools", f"an array of {tool.name} has more than {_MOST_ITEMS} items")
    if most == 0:
        return Literal("[]")
    filled = sequence(item, Repeat(sequence(",", item), max(0, least - 1), most - 1))
    return sequence("[", filled if least else optional(filled), "]")


def _function_gemma(tool: Tool) -> Part:
    """Grammar for a parser that reads scalars only and ends at the first brace."""

    def one(argument: Argument) -> Part:
        kinds = types_of(argument.schema)
        if kinds == {"string"}:
            value = RawString(argument.schema, ("<escape>", "}"), not tool.strict)
            return sequence(f"{argument.name}:<escape>", value, "<escape>")
        if kinds & {"string", "object", "array"}:
            raise InvalidOption("tools", f"the argument {argument.name!r} of {tool.name} is not a plain value")
        return sequence(f"{argument.name}:", Matches("json_schema", argument.schema, not tool.strict))

    return sequence(f"call:{tool.name}{{", separate(tool, one, ","), "}")


def _target(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    target: Any = root
    for word in reference.removeprefix("#/").split("/"):
        target = target.get(word.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
    if not isinstance(target, Mapping):
        raise InvalidOption("tools", f"{reference!r} is not in the parameters")
    return target


def _dsml(tool: Tool) -> Part:
    def one(argument: Argument) -> Part:
        bare = types_of(argument.schema) == {"string"}
        opener = f'<｜DSML｜parameter name="{argument.name}" string="{str(bare).lower()}">'
        value = raw_value(argument, "</｜DSML｜parameter>\n", not tool.strict, without=("</｜DSML｜invoke>",))
        return sequence(opener, value)

    return sequence(f'<｜DSML｜invoke name="{tool.name}">\n', each(tool, one), "</｜DSML｜invoke>\n")


def _kimi_k2(tool: Tool) -> Part:
    return sequence(
        f"<|tool_call_begin|>functions.{tool.name}:",
        Matches("regex", r"\d{1,2}"),
        "<|tool_call_argument_begin|>",
        _json(tool),
        "<|tool_call_end|>",
    )


def _kimi_k3(tool: Tool) -> Part:
    return sequence(
        f'<|open|>call tool="{tool.name}" index="',
        Matches("regex", r"\d{1,2}"),
        '"<|sep|><|open|>json type="object"<|sep|>',
        _json(tool),
        "<|close|>json<|sep|><|close|>call<|sep|>",
    )


def _fenced_commands(opener: str) -> WireFormat:
    one = _object("tool_name", "parameters")
    return WireFormat(one, f"{opener}\n[", "]\n```", ",\n", markers=(opener,))


_MISTRAL_LIST = WireFormat(_object("name", "arguments"), "[TOOL_CALLS][", "]", ", ", markers=("[TOOL_CALLS]",))
_MISTRAL_HEADERS = WireFormat(
    lambda tool: sequence(f"[TOOL_CALLS]{tool.name}[ARGS]", _json(tool)), markers=("[TOOL_CALLS]",), names=_PLAIN_NAME
)
_DEEPSEEK_MARKS = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
_DEEPSEEK = WireFormat(
    lambda tool: sequence(f"<｜tool▁call▁begin｜>{tool.name}<｜tool▁sep｜>", _json(tool), "<｜tool▁call▁end｜>"),
    *_DEEPSEEK_MARKS,
    markers=_DEEPSEEK_MARKS[:1],
)
_DEEPSEEK_FENCED = WireFormat(
    lambda tool: sequence(
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{tool.name}\n```json\n", _json(tool), "\n```<｜tool▁call▁end｜>"
    ),
    *_DEEPSEEK_MARKS,
    "\n",
    markers=_DEEPSEEK_MARKS[:1],
)
_COMMAND_ACTION = WireFormat(
    lambda tool: sequence(
        '{"tool_call_id": "',
        Matches("regex", r"\d{1,2}"),
        f'", "tool_name": "{tool.name}", "parameters": ',
        _json(tool),
        "}",
    ),
    "<|START_ACTION|>[",
    "]<|END_ACTION|>",
    ", ",
    markers=("<|START_ACTION|>",),
)
_GLM_ARGUMENT = ("<arg_key>{}</arg_key>\n<arg_value>", "</arg_value>\n")
_LONGCAT_ARGUMENT = ("<longcat_arg_key>{}</longcat_arg_key>\n<longcat_arg_value>", "</longcat_arg_value>\n")
_GLM = WireFormat(_tags(("<tool_call>{}\n", "</tool_call>"), _GLM_ARGUMENT), between="\n", markers=("<tool_call>",))

_FORMATS: Mapping[str, WireFormat] = {
    "json_tools": WireFormat(
        _object("name", "arguments", "<tool_call>\n", "\n</tool_call>"), between="\n", markers=("<tool_call>",)
    ),
    "qwen3_coder": WireFormat(
        _tags(
            ("<tool_call>\n<function={}>\n", "</function>\n</tool_call>"),
            ("<parameter={}>", "</parameter>\n"),
            edge="\n",
            also=("</tool_call>", "</function>"),
        ),
        between="\n",
        markers=("<tool_call>",),
    ),
    "glm47": _GLM,
    "laguna": _GLM,
    "longcat": WireFormat(
        _tags(("<longcat_tool_call>{}\n", "</longcat_tool_call>"), _LONGCAT_ARGUMENT),
        between="\n",
        markers=("<longcat_tool_call>",),
    ),
    "minimax_m2": WireFormat(
        _tags(
            ('<invoke name="{}">\n', "</invoke>\n"),
            ('<parameter name="{}">', "</parameter>\n"),
            also=("</minimax:tool_call>",),
        ),
        "<minimax:tool_call>\n",
        "</minimax:tool_call>",
        markers=("<minimax:tool_call>",),
    ),
    "minicpm5": WireFormat(
        _tags(
            ('<function name="{}">', "</function>"),
            ('<param name="{}">', "</param>"),
            text=("<![CDATA[", "]]>"),
        ),
        between="\n",
        markers=("<function name=",),
    ),
    "muse_spark": WireFormat(
        _tags(
            ('<atem:invoke name="{}">\n', "</atem:invoke>\n"),
            ('<atem:parameter name="{}">', "</atem:parameter>\n"),
            also=("</atem:function_calls>",),
        ),
        "<atem:function_calls>\n",
        "</atem:function_calls>",
        markers=("<atem:function_calls>",),
    ),
    "kimi_k2": WireFormat(
        _kimi_k2,
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_end|>",
        markers=("<|tool_calls_section_begin|>",),
    ),
    "kimi_k3": WireFormat(_kimi_k3, "<|open|>tools<|sep|>", "<|close|>tools<|sep|>", markers=("<|open|>tools<|sep|>",)),
    "pythonic": WireFormat(
        _keywords,
        "<|tool_call_start|>[",
        "]<|tool_call_end|>",
        ", ",
        markers=("<|tool_call_start|>",),
        names=_PYTHON_NAME,
    ),
    "gemma4": WireFormat(
        lambda tool: sequence("<|tool_call>", _gemma(tool), "<tool_call|>"),
        markers=("<|tool_call>",),
        names=_PLAIN_NAME,
    ),
    "function_gemma": WireFormat(
        lambda tool: sequence("<start_function_call>", _function_gemma(tool), "<end_function_call>"),
        markers=("<start_function_call>",),
        names=_PLAIN_NAME,
    ),
    "granite": WireFormat(_object("name", "arguments"), "<|tool_call|>[", "]", ", ", markers=("<|tool_call|>",)),
    "llama3": WireFormat(_object("name", "parameters"), parallel=False),
}
