"""Tool calls in mlx-lm's formats, in the content of any reasoning format and in any pieces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from mlxk_core._host.host import Host
from mlxk_core.api import Channel, Delta, ExtractorContext, Model, Tool, ToolCallDelta
from mlxk_core.api.formats import PlainText
from mlxk_mlx.formats.tool_call_parser import CallReader
from mlxk_mlx.formats.tool_call_scanner import ToolCallExtractor, around, named_format
from mlxk_testing.splits import Extracted, assert_split_invariant

_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
_TOOLS = (Tool(name="weather", description="The weather.", parameters=_SCHEMA), Tool(name="now"))
_OSLO = '{"city": "Oslo", "days": 2}'

_JSON = "{% for t in tools %}{{ t }}{% endfor %}<tool_call>{{ tool_call.name }}"
_CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}\n</tool_call>'

_KIMI_CALL = "<|tool_call_begin|>functions.{0}:{1}<|tool_call_argument_begin|>{2}<|tool_call_end|>"
_K3_ARGUMENT = '<|open|>argument key="{0}" type="{1}"<|sep|>{2}<|close|>argument<|sep|>'
_K3_TOKENS = ("<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>")
_XML = "<function=weather>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>"
_GLM = (
    "weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>"
)

# What a chat template of the family says, and a call of `weather` for two days in Oslo.
_FORMATS = {
    "json_tools": (_JSON, _CALL),
    "qwen3_coder": ("<tool_call>\n<function=", f"<tool_call>\n{_XML}\n</tool_call>"),
    "glm47": ("<tool_call><arg_key>", f"<tool_call>{_GLM}\n</tool_call>"),
    "longcat": (
        "<longcat_tool_call>",
        "<longcat_tool_call>weather\n<longcat_arg_key>city</longcat_arg_key>\n"
        "<longcat_arg_value>Oslo</longcat_arg_value>\n<longcat_arg_key>days</longcat_arg_key>\n"
        "<longcat_arg_value>2</longcat_arg_value>\n</longcat_tool_call>",
    ),
    "kimi_k2": (
        "<|tool_calls_section_begin|>",
        f"<|tool_calls_section_begin|>{_KIMI_CALL.format('weather', 0, _OSLO)}<|tool_calls_section_end|>",
    ),
    "mistral": ("[TOOL_CALLS]", f"[TOOL_CALLS]weather[ARGS]{_OSLO}"),
    "mistral-list": ("[TOOL_CALLS]", f'[TOOL_CALLS] [{{"name": "weather", "arguments": {_OSLO}}}]'),
    "gemma4": (
        "<|tool_call>call:<tool_call|>",
        '<|tool_call>call:weather{city:<|"|>Oslo<|"|>,days:2}<tool_call|>',
    ),
    "function_gemma": (
        "<start_function_call>",
        "<start_function_call>call:weather{city:<escape>Oslo<escape>,days:2}<end_function_call>",
    ),
    "minimax_m2": (
        "<minimax:tool_call>",
        '<minimax:tool_call>\n<invoke name="weather">\n<parameter name="city">Oslo</parameter>\n'
        '<parameter name="days">2</parameter>\n</invoke>\n</minimax:tool_call>',
    ),
    "minicpm5": (
        '<function name="x"><param name="y">',
        '<function name="weather"><param name="city">Oslo</param><param name="days">2</param></function>',
    ),
    "pythonic": ("<|tool_call_start|>", '<|tool_call_start|>[weather(city="Oslo", days=2)]<|tool_call_end|>'),
    "muse_spark": (
        "<atem:function_calls>",
        '<atem:function_calls><atem:invoke name="weather"><atem:parameter name="city">Oslo</atem:parameter>'
        '<atem:parameter name="days">2</atem:parameter></atem:invoke></atem:function_calls>',
    ),
    "kimi_k3": (
        None,
        '<|open|>tools<|sep|><|open|>call tool="weather" index="1"<|sep|>'
        + _K3_ARGUMENT.format("city", "string", "Oslo")
        + _K3_ARGUMENT.format("days", "number", "2")
        + "<|close|>call<|sep|><|close|>tools<|sep|>",
    ),
}


class Reasons:
    """The smallest reasoning format: «…» is reasoning."""

    channel = Channel.CONTENT

    def feed(self, text, /):
        for character in text:
            if character in "«»":
                self.channel = Channel.REASONING if character == "«" else Channel.CONTENT
            else:
                yield Delta(self.channel, character)

    def close(self):
        return ()


@pytest.fixture
def read(tmp_path):
    """`read(template, text)` extracts `text` in all pieces, as a model with that chat template would have said it."""

    def extract(template: str | None, text: str, *, inner=PlainText, tools: Sequence[Tool] = _TOOLS) -> Extracted:
        model = described(tmp_path, template)
        return assert_split_invariant(
            lambda: around(ExtractorContext(model=model, tools=tuple(tools), inner=inner())), text
        )

    return extract


def described(folder: Path, template: str | None, **settings: object) -> Model:
    """A model of which only the tokenizer's description is there."""
    tokens = () if template else _K3_TOKENS
    decoder = {str(number): {"content": token, "special": True} for number, token in enumerate(tokens)}
    config = {"added_tokens_decoder": decoder, **settings}
    if template:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return Model(name="described", path=folder)


@pytest.mark.parametrize("name", _FORMATS)
def test_a_call_in_any_format_that_mlx_lm_knows_is_found(read, name):
    template, call = _FORMATS[name]
    result = read(template, call)
    assert result.tool_calls == (("weather", _OSLO),)
    assert result.content == ""


@pytest.mark.parametrize("name", _FORMATS)
def test_a_call_that_the_limit_cut_is_either_whole_or_text(read, name):
    template, call = _FORMATS[name]
    for cut in range(1, len(call), 11):
        result = read(template, f"Look: {call[:cut]}")
        assert result.tool_calls in ((), (("weather", _OSLO),))
        if not result.tool_calls:
            assert result.content == f"Look: {call[:cut]}"


_TWO = '{{"name": "weather", "{0}": {1}}}, {{"name": "now", "{0}": {{"at": "12}}"}}}}'
_DEEPSEEK = "<｜tool▁call▁begin｜>{0}<｜tool▁sep｜>{1}<｜tool▁call▁end｜>"
_CUT_FORMATS = {
    "json_tools": (_JSON, f'{_CALL}\n<tool_call>{{"name": "now", "arguments": {{"at": "12}}"}}}}</tool_call>'),
    "kimi_k2": (
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_begin|>"
        + _KIMI_CALL.format("weather", 0, _OSLO)
        + _KIMI_CALL.format("now", 1, '{"at": "12}"}'),
    ),
    "mistral": ("[TOOL_CALLS]", f'[TOOL_CALLS]weather[ARGS]{_OSLO}[TOOL_CALLS]now[ARGS]{{"at": "12}}"}}'),
    "mistral-list": ("[TOOL_CALLS]", f"[TOOL_CALLS] [{_TWO.format('arguments', _OSLO)}]"),
    "granite": ("<|tool_call|>", f"<|tool_call|>[{_TWO.format('arguments', _OSLO)}]"),
    "deepseek": (
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁begin｜>" + _DEEPSEEK.format("weather", _OSLO) + _DEEPSEEK.format("now", '{"at": "12}"}'),
    ),
    "deepseek-fenced": (
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁begin｜>"
        + _DEEPSEEK.format("function", f"weather\n```json\n{_OSLO}\n```")
        + _DEEPSEEK.format("function", 'now\n```json\n{"at": "12}"}\n```'),
    ),
    "command_r": (
        "<|START_ACTION|>",
        f'<|START_ACTION|>[{{"tool_call_id": "0", "tool_name": "weather", "parameters": {_OSLO}}}, '
        '{"tool_call_id": "1", "tool_name": "now", "parameters": {"at": "12}"}}]',
    ),
    "llama3": ("{{ tools }}", _TWO.format("parameters", _OSLO).replace(", {", "; {")),
}
"""Formats whose arguments are JSON: a call of `weather`, then one of `now`."""


@pytest.mark.parametrize("name", _CUT_FORMATS)
def test_a_call_whose_arguments_a_limit_cut_has_the_arguments_so_far(tmp_path, name):
    template, text = _CUT_FORMATS[name]
    model = described(tmp_path, template)
    found = set()
    for at in range(len(text)):
        extractor = around(ExtractorContext(model=model, tools=_TOOLS, inner=PlainText()))
        events = [*extractor.feed(text[: at // 2]), *extractor.feed(text[at // 2 : at])]
        extractor.cut()
        events += extractor.close()
        calls = [(event.name, event.arguments) for event in events if isinstance(event, ToolCallDelta)]
        for (name, arguments), (expected, whole) in zip(
            calls, (("weather", _OSLO), ("now", '{"at": "12}"}')), strict=False
        ):
            assert name == expected
            assert whole.startswith(arguments)
        found.update(calls)
        shown = "".join(event.text for event in events if isinstance(event, Delta))
        assert not calls or "Oslo" not in shown
    assert {name for name, _ in found} == {"weather", "now"}
    assert len(found) > len(_OSLO)


def test_a_call_of_gemma_with_thousands_of_strings_leaves_time_for_the_next(tmp_path):
    """mlx-lm's own parser takes so long for it that what follows would be text."""
    strings = {f"k{number}": str(number) for number in range(20_000)}
    values = ",".join(f'{name}:<|"|>{value}<|"|>' for name, value in strings.items())
    model = described(tmp_path, _FORMATS["gemma4"][0])
    extractor = around(ExtractorContext(model=model, tools=(Tool(name="now"),), inner=PlainText()))
    events = []
    for arguments in (values, ""):
        events += extractor.feed(f"<|tool_call>call:now{{{arguments}}}<tool_call|>")
    calls = [event for event in [*events, *extractor.close()] if isinstance(event, ToolCallDelta)]
    assert [json.loads(call.arguments) for call in calls] == [strings, {}]


@pytest.mark.parametrize(
    "text, arguments",
    [
        ('call:now{a:<|"|>}{<|"|>,b:{c:[1,<|"|>"\n<|"|>]}}', [{"a": "}{", "b": {"c": [1, '"\n']}}]),
        ('call:now{a:<|"|>x:1,y:2<|"|>}', [{"a": "x:1,y:2"}]),
        ("call:now{} call:now{a:null}", [{}, {"a": None}]),
        ("call:broken{call:now{}", [{}]),
    ],
)
def test_calls_of_gemma_are_read(text, arguments):
    assert [call["arguments"] for call in named_format("gemma4", "").parse(text, [])] == arguments


@pytest.mark.parametrize("text", ["", "call:now", "call:now{", 'call:now{a:<|"|>}', "call:now{a:b}", "call:now{" * 9])
def test_what_is_no_call_of_gemma_is_an_error(text):
    with pytest.raises(ValueError):
        named_format("gemma4", "").parse(text, [])


def test_text_after_a_call_stays_if_a_limit_cuts_it(tmp_path):
    model = described(tmp_path, "<|tool_call|>")
    extractor = around(ExtractorContext(model=model, tools=_TOOLS, inner=PlainText()))
    call = f'<|tool_call|>[{{"name": "weather", "arguments": {_OSLO}}}]'
    events = [*extractor.feed(f"{call} It rai")]
    extractor.cut()
    events += extractor.close()
    assert [event.name for event in events if isinstance(event, ToolCallDelta)] == ["weather"]
    assert "".join(event.text for event in events if isinstance(event, Delta)).strip() == "It rai"


def test_text_around_calls_stays_and_white_space_beside_them_goes(read):
    assert read(_JSON, f"\n\n{_CALL}\n").content == ""
    assert read(_JSON, f"I look.\n\n{_CALL}\n").content == "I look."
    assert read(_JSON, f"{_CALL}\n That is all. ").content == "That is all. "
    result = read(_JSON, f"First\n{_CALL}\nthen.")
    assert (result.content, len(result.tool_calls)) == ("First\nthen.", 1)


def test_without_a_call_every_character_stays(read):
    for text in ("", " ", "\n a \n", "a < b <tool", "<tool_calls> </tool_call>"):
        assert read(_JSON, text).content == text


def test_several_calls_are_counted_and_have_ids_of_their_own(tmp_path):
    context = ExtractorContext(model=described(tmp_path, _JSON), tools=_TOOLS, inner=PlainText())
    extractor = around(context)
    text = f'{_CALL}\n<tool_call>\n{{"name": "now", "arguments": {{}}}}\n</tool_call>{_CALL}'
    events = [*extractor.feed(text), *extractor.close()]
    assert all(isinstance(event, ToolCallDelta) for event in events)
    assert [(event.index, event.name) for event in events] == [(0, "weather"), (1, "now"), (2, "weather")]
    assert len({event.id for event in events}) == 3
    assert all(event.id.startswith("call_") for event in events)


def test_ids_that_the_model_writes_are_kept(tmp_path):
    model = described(tmp_path, "<|tool_calls_section_begin|>")
    extractor = around(ExtractorContext(model=model, tools=_TOOLS, inner=PlainText()))
    calls = _KIMI_CALL.format("weather", 0, _OSLO) + _KIMI_CALL.format("now", 1, "{}")
    events = [*extractor.feed(f"<|tool_calls_section_begin|>{calls}<|tool_calls_section_end|>"), *extractor.close()]
    assert [event.id for event in events] == ["functions.weather:0", "functions.now:1"]


@pytest.mark.parametrize(
    "body",
    [
        "\nnot JSON\n",
        '{"name": "weather", "arguments": [1]}',
        '{"name": "weather", "arguments": {"days": NaN}}',
        '{"name": 7, "arguments": {}}',
        '{"arguments": {}}',
        "[" * 2000,
        "",
        "the marker",
    ],
)
def test_what_does_not_parse_stays_whole_and_in_place(tmp_path, body):
    text = f"See <tool_call>{body}</tool_call> there."
    extractor = around(ExtractorContext(model=described(tmp_path, _JSON), tools=_TOOLS, inner=PlainText()))
    events = [*extractor.feed(text), *extractor.close()]
    assert "".join(event.text for event in events if isinstance(event, Delta)) == text
    assert not any(isinstance(event, ToolCallDelta) for event in events)


def test_a_call_behind_an_opener_in_prose_is_found(read):
    result = read(_JSON, f"I write <tool_call> now: {_CALL}")
    assert result.tool_calls == (("weather", _OSLO),)
    assert result.content == "I write <tool_call> now:"


def test_markers_around_prose_are_no_call_for_a_parser_that_refuses_nothing(read):
    text = "GLM writes <tool_call> and </tool_call>, as <tool_call>some words here</tool_call> tells."
    assert read(_FORMATS["glm47"][0], text) == Extracted(((Channel.CONTENT, text),), (), Channel.CONTENT)


def test_a_call_without_an_end_marker_is_read_at_the_end(read):
    result = read(_JSON, "Now:\n" + _CALL.removesuffix("</tool_call>"))
    assert (result.content, result.tool_calls) == ("Now:", (("weather", _OSLO),))
    two = _CALL.removesuffix("</tool_call>") + _CALL.removesuffix("</tool_call>")
    assert read(_JSON, two).tool_calls == (("weather", _OSLO),) * 2


def test_text_behind_calls_that_have_no_end_marker_is_kept(read):
    for call in (_FORMATS["mistral"][1], _FORMATS["mistral-list"][1]):
        result = read("[TOOL_CALLS]", f"{call} See [1].")
        assert (result.content, result.tool_calls) == ("See [1].", (("weather", _OSLO),))
    both = "[TOOL_CALLS]weather[ARGS]{}[TOOL_CALLS]now[ARGS]{}"
    assert read("[TOOL_CALLS]", both).tool_calls == (("weather", "{}"), ("now", "{}"))


def test_arguments_come_out_as_json_of_the_declared_types(read):
    assert read(_JSON, _CALL.replace("Oslo", "Tromsø 🌌")).tool_calls[0][1] == '{"city": "Tromsø 🌌", "days": 2}'
    half = read(_JSON, _CALL.replace("Oslo", "\\ud83d")).tool_calls[0][1]
    assert json.loads(half.encode())["city"] == "\ud83d"
    text = '<tool_call>{"name": "weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}</tool_call>'
    assert read(_JSON, text).tool_calls == (("weather", '{"city": "Oslo"}'),)


def test_a_made_up_function_is_the_clients_to_refuse(read):
    assert read(_JSON, _CALL.replace("weather", "forecast")).tool_calls == (("forecast", _OSLO),)


@pytest.mark.parametrize("form", _FORMATS)
@pytest.mark.parametrize(
    ("text", "reasoning", "content", "calls"),
    [
        ("«plan {}» x", "plan", " x", 1),
        ("«plan {} more»", "plan more", "", 1),
        ("«plan {}", "plan", "", 1),
        ("«plan»{}", "plan", "", 1),
        ("«plan»Now:\n{}", "plan", "Now:", 1),
        ("{}«plan»", "plan", "", 1),
        ("«plan {}»{}", "plan", "", 1),  # a draft of the call, and the call
    ],
)
def test_a_call_is_found_inside_beside_and_after_reasoning(read, form, text, reasoning, content, calls):
    template, call = _FORMATS[form]
    if not tool_format_has_end(form) and text.rpartition("{}")[2]:
        pytest.skip("calls in this format have no end marker")
    result = read(template, text.replace("{}", call), inner=Reasons)
    assert (result.reasoning.strip(), result.content, len(result.tool_calls)) == (reasoning, content, calls)
    assert all(name == "weather" for name, _ in result.tool_calls)


def tool_format_has_end(form):
    return not form.startswith("mistral")


@pytest.mark.parametrize(
    "talk",
    [
        "The user wants <tool_call> tags explained.",
        f"One writes `{_CALL}` in JSON.",
        'I could say <tool_call>{"name": "weather", "arguments": {"city": "Oslo"}} and stop.',
        "<tool_call></tool_call>",
    ],
)
def test_reasoning_that_talks_about_calls_stays_reasoning(read, talk):
    result = read(_JSON, f"«{talk}»They mark calls.", inner=Reasons)
    assert (result.reasoning, result.content, result.tool_calls) == (talk, "They mark calls.", ())


def test_reasoning_ends_an_open_call(read):
    result = read(_JSON, "a <tool_call>{«hm» b", inner=Reasons)
    assert result.runs[0] == (Channel.CONTENT, "a <tool_call>{")
    assert (result.reasoning, result.content) == ("hm", "a <tool_call>{ b")


def test_the_channel_is_open_only_while_a_marker_may_begin(tmp_path):
    extractor = around(ExtractorContext(model=described(tmp_path, _JSON), tools=_TOOLS, inner=Reasons()))
    channels = []
    for piece in ("«a", "»b", "<tool", "_call>", "{"):
        list(extractor.feed(piece))
        channels.append(extractor.channel)
    assert channels == [Channel.REASONING, Channel.CONTENT, None, Channel.CONTENT, Channel.CONTENT]


def test_an_endless_repetition_of_the_opener_ends_in_time(tmp_path):
    for template, opener in ((_JSON, "<tool_call>"), ("[TOOL_CALLS]", "[TOOL_CALLS]")):
        extractor = around(ExtractorContext(model=described(tmp_path, template), tools=_TOOLS, inner=PlainText()))
        events = [*extractor.feed(opener * 4000), *extractor.close()]
        assert "".join(event.text for event in events) == opener * 4000


def test_a_bare_object_is_a_call_for_a_template_that_takes_tools_in_an_unknown_format(tmp_path):
    model = described(tmp_path, "{{ tools }}")
    extractor = around(ExtractorContext(model=model, tools=_TOOLS, inner=PlainText()))
    call = json.dumps({"name": _TOOLS[0].name, "arguments": {}})
    events = [*extractor.feed(call), *extractor.close()]
    assert [type(event) for event in events] == [ToolCallDelta]


def test_a_model_without_tools_in_its_template_is_left_alone(tmp_path):
    inner = PlainText()
    assert around(ExtractorContext(model=described(tmp_path, "nothing"), tools=_TOOLS, inner=inner)) is inner
    named = described(tmp_path, "nothing", tool_parser_type="../json")
    assert around(ExtractorContext(model=named, tools=_TOOLS, inner=inner)) is inner


def test_the_tokenizers_config_may_name_the_format(tmp_path):
    named = described(tmp_path, "nothing", tool_parser_type="laguna")
    extractor = around(ExtractorContext(model=named, tools=_TOOLS, inner=PlainText()))
    assert isinstance(extractor, ToolCallExtractor)
    assert Host.discover(strict=True).tool_format(named).name == "tool-calls"


def test_whether_a_model_may_call_tools_is_told_by_its_files(tmp_path):
    host = Host.discover(strict=True)
    assert host.tool_format(described(tmp_path, _JSON)).name == "tool-calls"
    assert host.tool_format(described(tmp_path, None)).name == "tool-calls"
    assert host.tool_format(described(tmp_path, "{{ messages }}")) is None


def test_an_end_marker_in_a_string_of_the_arguments_ends_no_call():
    tool = Tool(name="say", parameters={"type": "object", "properties": {"text": {"type": "string"}}})
    form = named_format("json_tools", "")
    reader = CallReader(lambda text, tools: form.parse(text.strip(), tools), (tool,))
    text = '<tool_call>\n{"name": "say", "arguments": {"text": "a </tool_call> b"}}\n</tool_call> Done.'
    extractor = ToolCallExtractor(PlainText(), form, reader)
    events = [event for character in text for event in extractor.feed(character)] + list(extractor.close())
    [call] = [event for event in events if isinstance(event, ToolCallDelta)]
    assert json.loads(call.arguments) == {"text": "a </tool_call> b"}
    assert "".join(event.text for event in events if not isinstance(event, ToolCallDelta)).strip() == "Done."


def _extract(folder: Path, template: str, text: str, tools: Sequence[Tool], *, size: int = 64) -> tuple[list, str]:
    """The calls in `text`, which arrives in pieces of `size`, and all that is text."""
    extractor = around(ExtractorContext(model=described(folder, template), tools=tuple(tools), inner=PlainText()))
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    events = [event for piece in pieces for event in extractor.feed(piece)] + list(extractor.close())
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    return calls, "".join(event.text for event in events if isinstance(event, Delta))


_SAY = Tool(name="say", parameters={"type": "object", "properties": {"text": {"type": "string"}, "n": {}}})


@pytest.mark.parametrize(
    ("template", "before", "text", "after"),
    [
        (_JSON, '<tool_call>{"name": "say", "arguments": {"text": "', '</tool_call> \\" ', '"}}</tool_call>'),
        (
            _FORMATS["qwen3_coder"][0],
            '<tool_call><function=say><parameter=n>\n{"text": "',
            "</tool_call> ",
            '"}\n</parameter></function></tool_call>',
        ),
        (
            _FORMATS["kimi_k2"][0],
            '<|tool_calls_section_begin|><|tool_call_begin|>say:0<|tool_call_argument_begin|>{"text": "',
            "<|tool_calls_section_end|> ",
            '"}<|tool_call_end|><|tool_calls_section_end|>',
        ),
    ],
    ids=["json_tools", "qwen3_coder", "kimi_k2"],
)
def test_a_string_of_end_markers_is_one_call(tmp_path, template, before, text, after):
    """Each marker was a reason to read the call again, until there was no time left for it."""
    many = text * 30_000
    [call], rest = _extract(tmp_path, template, f"{before}{many}{after} Done.", [_SAY])
    assert (many.replace('\\"', '"').rstrip() in str(json.loads(call.arguments)), rest.strip()) == (True, "Done.")


def test_calls_that_are_long_or_many_are_calls(tmp_path):
    say = '<tool_call>{"name": "say", "arguments": {"text": "%s"}}</tool_call>'
    calls, text = _extract(tmp_path, _JSON, say % ("word " * 60_000) + "\n" + (say % "x") * 50, [_SAY])
    assert ([len(json.loads(call.arguments)["text"]) for call in calls], text) == ([300_000, *[1] * 50], "")


@pytest.mark.parametrize("name", ["json_tools", "mistral"])
def test_a_call_of_more_than_a_megabyte_is_text(tmp_path, name):
    template, call = _FORMATS[name]
    call = call.replace("Oslo", "o" * (1 << 20))
    assert _extract(tmp_path, template, call, _TOOLS, size=4096) == ([], call)


def test_thousands_of_arguments_that_no_schema_describes_are_an_ordinary_call(tmp_path):
    """Each one was a reason to read all of them again."""
    names = [f"n{number}" for number in range(2000)]
    parameters = "".join(f"<parameter={name}>\nfew\n</parameter>\n" for name in names)
    text = f"<tool_call>\n<function=say>\n{parameters}</function>\n</tool_call>"
    [call], _ = _extract(tmp_path, _FORMATS["qwen3_coder"][0], text, [_SAY])
    assert json.loads(call.arguments) == dict.fromkeys(names, "few")


def test_bare_objects_by_the_thousand_are_calls(tmp_path):
    text = ";".join(['{"name": "say", "parameters": {"text": "x"}}'] * 1000)
    calls, rest = _extract(tmp_path, "{{ tools }}", text, [_SAY])
    assert (len(calls), rest) == (1000, "")


def test_python_that_takes_long_to_parse_is_text_and_a_long_string_is_not(tmp_path):
    """Python's parser keeps the interpreter's lock: for seconds where there is a megabyte of it."""
    template = _FORMATS["pythonic"][0]
    call = "<|tool_call_start|>[say(n=%s)]<|tool_call_end|>"
    long = call % ("[" + "1," * 50_000 + "]")
    assert _extract(tmp_path, template, long, [_SAY]) == ([], long)
    [say], text = _extract(tmp_path, template, call % f'"{"word " * 60_000}"', [_SAY])
    assert (len(json.loads(say.arguments)["n"]), text) == (300_000, "")


_LIST = Tool(name="say", parameters={"type": "object", "properties": {"text": {"type": "array"}}})
_WITH_VALUE = {
    "qwen3_coder": "<tool_call>\n<function=say>\n<parameter=text>\n%s\n</parameter>\n</function>\n</tool_call>",
    "glm47": "<tool_call>say<arg_key>text</arg_key><arg_value>%s</arg_value></tool_call>",
    "laguna": "<tool_call>say<arg_key>text</arg_key><arg_value>%s</arg_value></tool_call>",
    "longcat": "<longcat_tool_call>say<longcat_arg_key>text</longcat_arg_key>"
    "<longcat_arg_value>%s</longcat_arg_value></longcat_tool_call>",
    "minimax_m2": '<minimax:tool_call><invoke name="say"><parameter name="text">%s</parameter></invoke>'
    "</minimax:tool_call>",
    "minicpm5": '<function name="say"><param name="text">%s</param></function>',
}


@pytest.mark.parametrize("name", _WITH_VALUE)
@pytest.mark.parametrize(
    "code", ["[f'" + "{a}" * 60_000 + "']", "[" + "(1)," * 200_000 + "]"], ids=["f-string", "list"]
)
def test_a_long_value_in_python_is_text_and_leaves_time_for_the_next_call(tmp_path, name, code):
    named = described(tmp_path, "nothing", tool_parser_type=name)
    extractor = around(ExtractorContext(model=named, tools=[_LIST], inner=PlainText()))
    events = [event for value in (code, "['a']") for event in extractor.feed(_WITH_VALUE[name] % value)] + list(
        extractor.close()
    )
    calls = [json.loads(event.arguments) for event in events if isinstance(event, ToolCallDelta)]
    assert calls == [{"text": code}, {"text": ["a"]}]


@pytest.mark.parametrize("value", ['f"' + "{a}" * 60_000 + '"', '"' + '\\"' * 60_000], ids=["f-string", "open string"])
def test_python_that_is_not_read_leaves_time_for_the_next_call(tmp_path, value):
    call = "<|tool_call_start|>[say(text=%s)]<|tool_call_end|>"
    calls, _ = _extract(tmp_path, _FORMATS["pythonic"][0], call % value + call % "'a'", [_SAY], size=1 << 20)
    assert json.loads(calls[-1].arguments) == {"text": "a"}


@pytest.mark.parametrize("size", range(1, 6))
def test_escapes_after_an_end_marker_in_a_string_are_read_in_any_pieces(tmp_path, size):
    value = '</tool_call> " \\ \\" \\\\'
    text = f'<tool_call>{{"name": "say", "arguments": {json.dumps({"text": value})}}}</tool_call> Done.'
    [say], rest = _extract(tmp_path, _JSON, text, [_SAY], size=size)
    assert (json.loads(say.arguments), rest.strip()) == ({"text": value}, "Done.")
