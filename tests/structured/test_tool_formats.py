"""Every format of tool calls: what its grammar allows, its reader reads, and the arguments are valid."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace

import jsonschema
import pytest

from mlxk_core.api.errors import ConstraintFailure, InvalidOption
from mlxk_core.api.formats import ExtractorContext
from mlxk_core.api.generation import AnyText, Tool, ToolCallDelta, Vocabulary, optional, sequence
from mlxk_mlx.formats.bare_calls import BareCallExtractor
from mlxk_mlx.formats.tool_call_grammar import wire_format
from mlxk_mlx.formats.tool_call_parser import CallReader
from mlxk_mlx.formats.tool_call_scanner import PlainText, ToolCallExtractor, named_format
from mlxk_reasoning.harmony_grammar import harmony_grammar
from mlxk_structured.compiler import Compiler

FORMATS = [
    ("json_tools", ""), ("qwen3_coder", ""), ("glm47", ""), ("laguna", ""), ("longcat", ""), ("minimax_m2", ""),
    ("minicpm5", ""), ("muse_spark", ""), ("kimi_k2", ""), ("kimi_k3", ""), ("pythonic", ""), ("gemma4", ""),
    ("mistral", ""), ("mistral", "[ARGS]"), ("deepseek", ""), ("deepseek", "```json"), ("granite", ""),
    ("command_r", "<|START_ACTION|>"), ("command_r", ""), ("llama3", ""), ("dsml", ""),
    ("dsml", "<｜DSML｜tool_calls>"),
]  # fmt: skip
WEATHER = Tool(
    name="get_weather",
    strict=True,
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 1, "maxLength": 6},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
            "units": {"enum": ["metric", "null", "5"]},
            "until": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "near": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
            "place": {
                "type": "object",
                "properties": {"zip": {"type": "string", "pattern": "^[0-9]{3}$"}},
                "required": ["zip"],
                "additionalProperties": False,
            },
        },
        "required": ["city", "until", "place"],
        "additionalProperties": False,
    },
)  # fmt: skip
PLAIN = Tool(
    name="set_light",
    strict=True,
    parameters={
        "type": "object",
        "properties": {"room": {"type": "string", "pattern": "^[a-z]{1,3}$"}, "on": {"type": "boolean"}},
        "required": ["on"],
        "additionalProperties": False,
    },
)
NOW = Tool(name="now", strict=True, parameters={"type": "object", "properties": {}, "additionalProperties": False})
TOOLS = (WEATHER, PLAIN, NOW)
TAGS = (
    "</parameter>", "</function>", "</tool_call>", "</arg_value>", "</longcat_arg_value>", "</longcat_tool_call>",
    "</invoke>", "</minimax:tool_call>", "</param>", "]]>", "</atem:parameter>", "</atem:invoke>",
    "</atem:function_calls>", "</｜DSML｜parameter>", "</｜DSML｜invoke>", "</｜DSML｜function_calls>",
    "<tool_call>", "}]",
    "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>", "<｜tool▁sep｜>", "<|tool_call_end|>", "<|tool_calls_section_end|>",
    "```",
    "<|tool_call_argument_begin|>", "<|END_ACTION|>", "[TOOL_CALLS]", "[ARGS]", "<tool_call|>", "<|close|>", "<|sep|>",
    "; {", "<|python_tag|>", ")", "]<|tool_call_end|>",
)  # fmt: skip
NOTES = Tool(
    name="note",
    strict=True,
    parameters={
        "type": "object",
        "properties": {
            "lines": {"type": "array", "items": {"enum": list(TAGS)}, "minItems": 3, "maxItems": 3},
            "kind": {"anyOf": [{"enum": list(TAGS)}, {"type": "null"}]},
        },
        "required": ["lines", "kind"],
        "additionalProperties": False,
    },
)
"""JSON values that spell the tags which close an argument, a call and all calls."""


class ByteTokenizer:
    vocab_size = 257

    def piece(self, token):
        return bytes([token]) if token < 256 else b""

    def encode(self, text, *, add_special_tokens):
        return list(text.encode())


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary(tokenizer=ByteTokenizer(), markers={}, stop_tokens=frozenset({256}))


@pytest.fixture(scope="module")
def compiler():
    return Compiler()


def written(constraint, seed, limit=4000):
    """A response drawn from the constraint alone, preferring to end."""
    rng, data = random.Random(seed), bytearray()
    for _ in range(limit):
        mask = constraint.mask()
        allowed = [token for token in range(257) if mask[token // 8] >> token % 8 & 1]
        closing = [token for token in allowed if token < 256 and token in b'<]})"|`']
        token = 256 if 256 in allowed else rng.choice(closing if closing and rng.random() < 0.4 else allowed)
        constraint.accept(token)
        if token == 256:
            break
        data.append(token)
        if constraint.complete:
            break
    else:
        pytest.fail("the response does not end")
    return data.decode()


def extractor(name, template, tools):
    if name == "llama3":
        return BareCallExtractor(PlainText(), tools)
    form = named_format(name, template)
    return ToolCallExtractor(PlainText(), form, CallReader(lambda text, asked: form.parse(text.strip(), asked), tools))


def calls_in(events):
    texts = [event for event in events if not isinstance(event, ToolCallDelta)]
    assert not "".join(event.text for event in texts).strip()
    return [(event.name, json.loads(event.arguments)) for event in events if isinstance(event, ToolCallDelta)]


@pytest.mark.parametrize(("name", "template"), FORMATS)
def test_what_the_grammar_allows_is_read_and_valid(name, template, vocabulary, compiler):
    form = wire_format(name, template)
    tools = {tool.name: tool for tool in TOOLS}
    for seed in range(12):
        grammar = form.calls(TOOLS, seed % 2 == 0)
        text = written(compiler.compile(grammar, vocabulary), seed)
        reader = extractor(name, template, TOOLS)
        events = [event for character in text for event in reader.feed(character)] + list(reader.close())
        calls = calls_in(events)
        assert calls, text
        assert seed % 2 == 0 or len(calls) == 1
        for called, arguments in calls:
            jsonschema.validate(arguments, tools[called].parameters)


@pytest.mark.parametrize(("name", "template"), FORMATS)
def test_a_name_is_read_as_it_is_or_an_error(name, template, vocabulary, compiler):
    form = wire_format(name, template)
    for tool in (replace(PLAIN, name=each) for each in ("get_light", "get-light", "a.b", "a/b:c", "a b", 'a"b', "<a>")):
        try:
            grammar = form.calls((tool,), False)
        except InvalidOption:
            assert tool.name != "get_light"
            continue
        text = written(compiler.compile(grammar, vocabulary), 1)
        reader = extractor(name, template, (tool,))
        [(called, _)] = calls_in([*reader.feed(text), *reader.close()])
        assert called == tool.name


@pytest.mark.parametrize(("name", "template"), FORMATS)
def test_a_json_value_may_spell_the_tags_around_it(name, template, vocabulary, compiler):
    form = wire_format(name, template)
    for seed in range(12):
        text = written(compiler.compile(form.calls((NOTES,), seed % 2 == 0), vocabulary), seed)
        reader = extractor(name, template, (NOTES,))
        events = [event for character in text for event in reader.feed(character)] + list(reader.close())
        calls = calls_in(events)
        assert calls, text
        for _, arguments in calls:
            jsonschema.validate(arguments, NOTES.parameters)


SEARCH = Tool(
    name="search",
    strict=True,
    parameters={
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "short": {"type": "string", "maxLength": 9},
            "n": {"type": "integer"},
        },
        "required": ["text", "short", "n"],
        "additionalProperties": False,
    },
)
"""Strings of any length, and of a limited one: nothing but the text that closes them ends them."""
TEXT, SHORT = "Oslo <b\n</pa, [", "a\n<"
JSON = json.dumps({"text": TEXT, "short": SHORT, "n": 2}, separators=(",", ":"))
KEYED = "<{0}arg_key>{1}</{0}arg_key>\n<{0}arg_value>{2}</{0}arg_value>\n"
NAMED = '<{0}parameter name="{1}"{3}>{2}</{0}parameter>\n'
VALUES = {"text": TEXT, "short": SHORT, "n": "2"}
WRITTEN = {
    ("json_tools", ""): f'<tool_call>\n{{"name": "search", "arguments": {JSON}}}\n</tool_call>',
    ("qwen3_coder", ""): "<tool_call>\n<function=search>\n"
    + "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in VALUES.items())
    + "</function>\n</tool_call>",
    ("glm47", ""): "<tool_call>search\n" + "".join(KEYED.format("", *each) for each in VALUES.items()) + "</tool_call>",
    ("longcat", ""): "<longcat_tool_call>search\n"
    + "".join(KEYED.format("longcat_", *each) for each in VALUES.items())
    + "</longcat_tool_call>",
    ("minimax_m2", ""): '<minimax:tool_call>\n<invoke name="search">\n'
    + "".join(NAMED.format("", *each, "") for each in VALUES.items())
    + "</invoke>\n</minimax:tool_call>",
    ("minicpm5", ""): f'<function name="search"><param name="text"><![CDATA[{TEXT}]]></param>'
    f'<param name="short"><![CDATA[{SHORT}]]></param><param name="n">2</param></function>',
    ("muse_spark", ""): '<atem:function_calls>\n<atem:invoke name="search">\n'
    + "".join(NAMED.format("atem:", *each, "") for each in VALUES.items())
    + "</atem:invoke>\n</atem:function_calls>",
    ("dsml", "<｜DSML｜tool_calls>"): '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="search">\n'
    + "".join(
        NAMED.format("｜DSML｜", *each, f' string="{str(each[0] != "n").lower()}"') for each in VALUES.items()
    )
    + "</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
    ("gemma4", ""): f'<|tool_call>call:search{{text:<|"|>{TEXT}<|"|>,short:<|"|>{SHORT}<|"|>,n:2}}<tool_call|>',
    ("kimi_k2", ""): "<|tool_calls_section_begin|><|tool_call_begin|>functions.search:0<|tool_call_argument_begin|>"
    f"{JSON}<|tool_call_end|><|tool_calls_section_end|>",
    ("mistral", "[ARGS]"): f"[TOOL_CALLS]search[ARGS]{JSON}",
    ("mistral", ""): f'[TOOL_CALLS][{{"name": "search", "arguments": {JSON}}}]',
    ("granite", ""): f'<|tool_call|>[{{"name": "search", "arguments": {JSON}}}]',
}  # fmt: skip
"""A call of `search` as models of the format write it."""


def accepted_in_every_cut(grammar, text, compiler, markers=()):
    """Whether `grammar` allows `text` byte by byte (with `markers` as tokens), and as two tokens wherever it is cut."""
    data = text.encode()
    cuts = [piece for at in range(1, len(data)) for piece in (data[:at], data[at:])]
    pieces = [*(bytes([byte]) for byte in range(256)), b"", *cuts, *(marker.encode() for marker in markers)]
    ids = {marker: len(pieces) - len(markers) + i for i, marker in enumerate(markers)}
    vocabulary = Vocabulary(tokenizer=PieceTokenizer(pieces), markers=ids, stop_tokens=frozenset({256}))

    def may_end(constraint):
        return constraint.complete or bool(constraint.mask()[32] & 1)

    constraint = compiler.compile(grammar, vocabulary)
    for piece in re.split("(" + "|".join(map(re.escape, markers)) + ")", text) if markers else [text]:
        for token in [ids[piece]] if piece in ids else piece.encode():
            if not constraint.mask()[token // 8] >> token % 8 & 1:
                return False
            constraint.accept(token)
    if not may_end(constraint):
        return False
    for at in range(0 if markers else len(data) - 1):
        # No mask: of a text that is forced, it offers the tokens that the tokenizer makes of it.
        constraint = compiler.compile(grammar, vocabulary)
        try:
            for token in (257 + 2 * at, 258 + 2 * at):
                constraint.accept(token)
        except ConstraintFailure:
            return False
        if not may_end(constraint):
            return False
    return True


class PieceTokenizer:
    def __init__(self, pieces):
        self.pieces = pieces
        self.vocab_size = len(pieces)

    def piece(self, token):
        return self.pieces[token]

    def encode(self, text, *, add_special_tokens):
        return list(text.encode())


@pytest.mark.parametrize(("name", "template"), WRITTEN)
def test_a_valid_call_is_allowed_in_every_cut(name, template, compiler):
    text = WRITTEN[name, template]
    reader = extractor(name, template, (SEARCH,))
    [(_, arguments)] = calls_in([*reader.feed(text), *reader.close()])
    assert arguments == {"text": TEXT, "short": SHORT, "n": 2}
    form = wire_format(name, template)
    for parallel in (False, True):
        assert accepted_in_every_cut(form.calls((NOW, SEARCH), parallel), text, compiler)
        assert accepted_in_every_cut(form.calls((NOW, SEARCH), parallel), text, compiler, form.markers)


@pytest.mark.parametrize("markers", [(), ("<tool_call>", "</tool_call>")])
@pytest.mark.parametrize("text", ["", "Let me look.\n", "a <tool_cal", "<"])
def test_a_call_may_follow_text(text, markers, compiler):
    call = WRITTEN["json_tools", ""]
    form = wire_format("json_tools", "")
    grammar = sequence(AnyText(form.markers), optional(form.calls((NOW, SEARCH), True)))
    assert accepted_in_every_cut(grammar, text + call, compiler, markers)
    assert not text or accepted_in_every_cut(grammar, text, compiler, markers)
    assert not accepted_in_every_cut(grammar, f"{text}<tool_call>x", compiler, markers)


@pytest.mark.parametrize(
    "header",
    [
        "<|channel|>commentary to=functions.set_light <|constrain|>json<|message|>",
        "<|channel|>commentary to=functions.set_light<|constrain|>json<|message|>",
        "<|channel|>commentary to=functions.set_light<|message|>",
        "<|channel|>analysis to=functions.set_light json<|message|>",
        " to=functions.set_light<|channel|>commentary json<|message|>",
        " to=functions.set_light<|channel|>commentary <|constrain|>json<|message|>",
        " to=functions.set_light<|channel|>analysis<|message|>",
    ],
)
@pytest.mark.parametrize("reasoning", ["", "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"])
def test_harmony_takes_every_order_of_a_header_and_keeps_the_arguments(header, reasoning, vocabulary, compiler):
    form = harmony_grammar(ExtractorContext(model=None, prompt_suffix="<|start|>assistant"))
    grammar = sequence(form.reasoning, form.calls((PLAIN,), False))
    constraint = compiler.compile(grammar, vocabulary)
    for byte in (reasoning + header + '{"on":true').encode():
        constraint.accept(byte)
    mask = constraint.mask()
    assert [token for token in range(257) if mask[token // 8] >> token % 8 & 1] == [ord("}")]


def test_function_gemma_takes_plain_values(vocabulary, compiler):
    grammar = wire_format("function_gemma", "").calls((PLAIN,), False)
    text = written(compiler.compile(grammar, vocabulary), 1)
    reader = extractor("function_gemma", "", (PLAIN,))
    [(_, arguments)] = calls_in([*reader.feed(text), *reader.close()])
    jsonschema.validate(arguments, PLAIN.parameters)
