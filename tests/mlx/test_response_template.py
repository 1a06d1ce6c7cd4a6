"""Answers split by the `response_template` a model carries, with everything transformers would lose."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path

import pytest
import regex

from mlxk_core._generation.request import GenerationRequest
from mlxk_core._generation.service import GenerationService
from mlxk_core._host.host import Host
from mlxk_core.api import Channel, Delta, ExtractorContext, Message, Model, Sampling, Tool, ToolCallDelta
from mlxk_mlx.formats.format_evidence import responses
from mlxk_mlx.formats.response_template import RegionExtractor, extractor
from mlxk_mlx.formats.time_limit import LimitedPattern
from mlxk_testing.splits import Extracted, assert_split_invariant
from mlxk_testing.tiny_models import CHATML, CHATML_TOKENS, gpt_oss_model, scripted_model

_TOOLS = (Tool(name="weather", parameters={"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}),)
_OPENED = "<|im_start|>assistant\n<think>\n"

_THINK = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "reasoning_content": {"open": "<think>", "close": "</think>"},
        "tool_calls": {
            "open_pattern": r"\s*<tool_call>",
            "close": "</tool_call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close_pattern": r"\s*<\|im_end\|>"},
    },
}
_NAMED = {
    "start_anchor": ["<|turn>model\n"],
    "fields": {
        "thinking": {"open_pattern": r"<\|channel>\w*\n?", "close": "<channel|>"},
        "tool_calls": {
            "open_pattern": r"<function=(?P<name>[^>\n]+)>",
            "close_pattern": r"</function>\s*",
            "repeats": True,
            "content": "xml-inline",
            "content_args": {"tag_pattern": r"<parameter=(?P<key>[^>\n]+)>\s*(?P<value>.*?)\s*</parameter>"},
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
        },
        "content": {"content": "text"},
    },
}
_CHANNELS = {
    "start_anchor": "<|start|>assistant",
    "fields": {
        "thinking": {"open": "<|channel|>analysis<|message|>", "close": ["<|end|>", "<|return|>"], "repeats": True},
        "content": {"open": "<|channel|>final<|message|>", "close": ["<|end|>", "<|return|>"]},
    },
}


@pytest.fixture
def read(tmp_path):
    """`read(template, text)` extracts `text` in all pieces, as a model that carries `template` would have said it."""

    def extract(template: object, text: str, *, suffix: str = "", tools: tuple[Tool, ...] = _TOOLS) -> Extracted:
        context = ExtractorContext(model=carrying(tmp_path, template), prompt_suffix=suffix, tools=tools)
        return assert_split_invariant(lambda: extractor(context), text)

    return extract


def carrying(folder: Path, template: object) -> Model:
    tokens = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>")
    decoder = {str(number): {"content": token, "special": True} for number, token in enumerate(tokens)}
    chat_template = "<|start|><|channel|><|message|><|end|> [TOOL_CALLS]"
    config = {"response_template": template, "added_tokens_decoder": decoder, "chat_template": chat_template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return Model(name="carrying", path=folder)


def _call(city: str = "Oslo") -> str:
    return f'<tool_call>{{"name": "weather", "arguments": {{"city": "{city}"}}}}</tool_call>'


def test_reasoning_and_answer_come_apart_without_the_white_space_beside_markers(read):
    result = read(_THINK, "<think>\nTwo lines,\nreally.\n</think>\n\nYes.\n\nNo. \n")
    assert (result.reasoning, result.content) == ("Two lines,\nreally.", "Yes.\n\nNo.")


def test_the_prompt_may_have_opened_the_reasoning(read):
    result = read(_THINK, "Hm.\n</think>\n\nYes.", suffix=_OPENED)
    assert (result.reasoning, result.content) == ("Hm.", "Yes.")
    result = read(_THINK, "Yes.", suffix=_OPENED + "\n</think>\n\n")
    assert (result.reasoning, result.content) == ("", "Yes.")
    result = read(_THINK, " and on.</think>Yes.", suffix=_OPENED + "I began")
    assert (result.reasoning, result.content) == (" and on.", "Yes.")


def test_a_block_that_the_prompt_closed_costs_no_reasoning_tokens(read, tmp_path):
    # TRL's templates take the white space behind a closer along, so their parser does not know yet that it was one.
    field = {"open": "<think>", "close_pattern": r"</think>\s*"}
    template = {**_THINK, "fields": {**_THINK["fields"], "reasoning_content": field}}
    suffix = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert read(template, "Yes.", suffix=suffix).runs == ((Channel.CONTENT, "Yes."),)
    made = extractor(ExtractorContext(model=carrying(tmp_path, template), prompt_suffix=suffix))
    assert made.channel is not Channel.REASONING


@pytest.mark.parametrize(
    "opener", [[f"<{number}>" for number in range(600)], "<" * 40_000, "<" + "()" * 200, "<" + "[a-z]?" * 100]
)
def test_a_template_that_is_too_large_leaves_the_text_whole(read, tmp_path, opener):
    """Its parser was built for hours, also after the client had left."""
    template = {
        "start_anchor": "<|im_start|>",
        "fields": {"thinking": {"open": opener, "close": "</x>"}, "content": {}},
    }
    assert responses(carrying(tmp_path, template)) is None
    text = f"{opener if isinstance(opener, str) else opener[0]}Hm.</x>"
    assert read(template, text[-20:], tools=()).runs == ((Channel.CONTENT, text[-20:]),)


def test_a_template_that_repeats_a_call_leaves_the_text_whole(tmp_path):
    """20 kB of a call became 1 GB of arguments."""
    for places, used in ((20, True), (40, False)):
        arguments = {f"a{place}": "{content}" for place in range(places)}
        call = {"open": "<c>", "close": "</c>", "transform": {"function": {"name": "f", "arguments": arguments}}}
        template = {"start_anchor": "<|im_start|>", "fields": {"tool_calls": call, "content": {}}}
        assert (responses(carrying(tmp_path, template)) is not None) == used


def test_reasoning_that_is_never_closed_is_reasoning(read):
    assert read(_THINK, "<think>Hm").runs == ((Channel.REASONING, "Hm"),)
    assert read(_THINK, "Hm", suffix=_OPENED).runs == ((Channel.REASONING, "Hm"),)


def test_openers_that_are_patterns_do_not_depend_on_the_cut(read):
    result = read(_NAMED, "<|channel>thought\nHm.<channel|>Yes <|chan", suffix="<|turn>model\n")
    assert (result.reasoning, result.content) == ("Hm.", "Yes <|chan")


def test_calls_are_found_and_numbered(read):
    result = read(_THINK, f"<think>Hm.</think>\n\nI look.\n{_call()}\n{_call('Rome')}\n")
    assert (result.reasoning, result.content) == ("Hm.", "I look.")
    assert result.tool_calls == (("weather", '{"city": "Oslo"}'), ("weather", '{"city": "Rome"}'))


def test_arguments_get_the_types_that_the_tool_declares(read):
    text = "<function=weather><parameter=city>\n7\n</parameter><parameter=days>7</parameter></function>"
    assert read(_NAMED, text).tool_calls == (("weather", '{"city": "7", "days": 7}'),)


@pytest.mark.parametrize("body", ["no JSON", '{"name": 3}', "", '{"name": "weather", "arguments": 5}'])
def test_what_does_not_parse_stays_whole_and_in_place(read, body):
    text = f"See <tool_call>{body}</tool_call> there, {_call()} then."
    result = read(_THINK, text)
    assert result.content == f"See <tool_call>{body}</tool_call> there, then."
    assert len(result.tool_calls) == 1


def test_a_call_that_was_cut_off_is_text(read):
    whole = _call()
    for cut in (1, 11, 20, len(whole) - len("</tool_call>"), len(whole) - 1):
        result = read(_THINK, f"Look: {whole[:cut]}")
        if not result.tool_calls:
            assert result.content.rstrip() == f"Look: {whole[:cut]}".rstrip()
        assert bool(result.tool_calls) == (whole[cut:] == "</tool_call>")
    text = "<function=weather><parameter=city>Oslo</parameter><param"
    assert read(_NAMED, text).content == text


def test_a_closer_may_be_the_token_that_ends_the_answer(read):
    calls = {
        "open_pattern": r'\{"name":\s*"(?P<name>[^"]+)",\s*"parameters":\s*',
        "close_pattern": r"\}<\|end\|>\s*",
        "content": "json",
        "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
    }
    template = {"start_anchor": "<|start|>", "fields": {"tool_calls": calls, "content": {"close": "<|end|>"}}}
    text = '{"name": "weather", "parameters": {"city": "Oslo"}}'
    assert read(template, text).tool_calls == (("weather", '{"city": "Oslo"}'),)
    assert read(template, text[:-2]).content == text[:-2]


def test_the_end_of_a_closer_may_be_optional(read):
    calls = {
        "open_pattern": r"(?:<calls>\[|,\s*)(?P<name>\w+)\(",
        "close_pattern": r"\)(?:\]</calls>)?\s*",
        "repeats": True,
        "content": "xml-inline",
        "content_args": {"tag_pattern": r"(?P<key>\w+)=(?P<value>\d+)"},
        "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
    }
    template = {"start_anchor": "<|start|>", "fields": {"tool_calls": calls, "content": {}}}
    result = read(template, "Well, <calls>[weather(days=1), weather(days=2)]</calls> done [1]")
    assert result.tool_calls == (("weather", '{"days": 1}'), ("weather", '{"days": 2}'))
    assert result.content == "Well, done [1]"
    assert read(template, "<calls>[weather(days=1)]</cal").content == "]</cal"


def test_a_parser_that_holds_all_back_is_searched_seldom_and_loses_nothing(read):
    fields = {"thinking": {"open_pattern": r"(?=[\s\S]*?</think>)", "close": "</think>"}, "content": {}}
    template = {"start_anchor": "<|start|>", "fields": fields}
    text = "Hm, " * 30
    assert read(template, text + "</think>Yes.").runs == ((Channel.REASONING, text.strip()), (Channel.CONTENT, "Yes."))
    assert read(template, text).runs == ((Channel.CONTENT, text.strip()),)


@pytest.mark.parametrize("template", [_THINK, _NAMED])
def test_characters_that_begin_no_marker_are_read_together(tmp_path, template):
    parser = extractor(ExtractorContext(model=carrying(tmp_path, template), tools=_TOOLS))
    assert list(parser.feed("words")) == [Delta(Channel.CONTENT, "words")]
    assert "".join(event.text for piece in (" <", "to", "olbox>") for event in parser.feed(piece)) == " <toolbox>"


def test_without_tools_in_the_request_calls_are_text(read):
    assert read(_THINK, f"So: {_call()}", tools=()).content == f"So: {_call()}"


def test_text_that_the_template_has_no_place_for_is_content(read):
    text = "Oh. <|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>"
    result = read(_CHANNELS, text, suffix="<|start|>assistant")
    assert (result.reasoning, result.content) == ("Hm.", "Oh. Yes.")


def test_several_stretches_of_reasoning_are_parted(read):
    text = "<|channel|>analysis<|message|>One.<|end|><|start|>assistant<|channel|>analysis<|message|>Two.<|end|>"
    assert read(_CHANNELS, text).reasoning == "One.\nTwo."
    joined = {**_CHANNELS, "fields": {"thinking": {**_CHANNELS["fields"]["thinking"], "join": "\n\n"}}}
    assert read(joined, text).reasoning == "One.\n\nTwo."


def test_a_template_that_finds_no_calls_leaves_them_to_mlx_lm(read):
    text = '<|channel|>final<|message|>Now: [TOOL_CALLS]weather[ARGS]{"city": "Oslo"}'
    result = read(_CHANNELS, text)
    assert (result.content, result.tool_calls) == ("Now:", (("weather", '{"city": "Oslo"}'),))


@pytest.mark.parametrize(
    "template",
    [
        {"fields": {"content": {}}},
        {"start_anchor": "a", "fields": {"content": 5}},
        {"start_anchor": "a", "fields": {"content": {"open_pattern": "("}}},
        {"start_anchor": "a", "fields": {"a": {}, "b": {}}},
        {"start_anchor": "a", "fields": {"content": {"content": "yaml"}}},
        {"start_anchor": "a", "fields": {"tool_calls": {"open_pattern": "(", "close": 5}}},
    ],
)
def test_a_template_that_transformers_refuses_splits_nothing(read, template):
    assert read(template, "<think>a</think> b").content == "<think>a</think> b"
    assert read(template, "<think>a</think> b", tools=()).content == "<think>a</think> b"


def test_a_parser_that_fails_passes_the_text_on():
    class Failing:
        initial_events = ()

        def feed(self, text):
            if text == "!":
                raise RuntimeError("a bug of somebody's")
            return [] if text == "<" else [{"type": "region_chunk", "field": "content", "text": text}]

        def finalize(self):
            raise RuntimeError("another")

    failing = RegionExtractor(Failing(), {})
    deltas = [*failing.feed("a"), *failing.feed("<! b <th"), *failing.feed("ink>"), *failing.close()]
    assert "".join(delta.text for delta in deltas) == "a<! b <think>"
    assert failing.channel is Channel.CONTENT
    held = RegionExtractor(Failing(), {})
    assert [*held.feed("a<"), *held.close()] == [Delta(Channel.CONTENT, "a"), Delta(Channel.CONTENT, "<")]


def test_a_template_in_the_files_is_the_strongest_evidence(tmp_path):
    host = Host.discover(strict=True)
    spec, evidence = host.reasoning_format(carrying(tmp_path, _THINK))
    assert (spec.name, spec.tool_calls) == ("response-template", "own")
    assert evidence.detail == "tokenizer_config.json has a response_template"
    for other in (None, {}, [1], {"version": 2, "fields": {"content": {}}}, {"fields": [1]}):
        chosen = host.reasoning_format(carrying(tmp_path, other))
        assert chosen is None or chosen[0].name != "response-template"


@pytest.mark.parametrize(
    ("template", "chat_template", "chosen"),
    [
        (_CHANNELS, "<|start|><|channel|><|message|>", "harmony"),
        ({"fields": {"call": {"open_pattern": r"to=(?P<name>\S+)<\|channel\|>"}}}, "<|channel|><|message|>", "harmony"),
        ({"fields": {"thinking": {"open_pattern": "(?=.*</think>)", "close": "</think>"}}}, "<think></think>", "think"),
        (_CHANNELS, "a template of another kind", "response-template"),
    ],
)
def test_a_template_that_reads_only_whole_answers_is_a_last_resort(tmp_path, template, chat_template, chosen):
    config = {"response_template": template, "chat_template": chat_template}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    spec, _ = Host.discover(strict=True).reasoning_format(Model(name="carrying", path=tmp_path))
    assert spec.name == chosen


def test_a_model_of_harmony_that_carries_a_template_calls_as_harmony_does(tmp_path):
    call = '<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city": "Oslo"}<|call|>'
    says = f"<|channel|>commentary<|message|>I look.<|end|><|start|>assistant{call}"
    folder = gpt_oss_model(tmp_path / "model", says)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "response_template": _CHANNELS}))
    prompt = (Message(role="user", content="Is it warm?"),)
    model = Model(name="m", path=folder)
    with GenerationService(Host.discover(strict=True)) as service:
        request = GenerationRequest(model=model, prompt=prompt, sampling=Sampling(temperature=0), tools=_TOOLS)
        completion = service.submit(request).result()
    assert completion.content == "I look."
    assert [(c.name, c.arguments) for c in completion.tool_calls] == [("weather", '{"city": "Oslo"}')]


def test_a_model_that_carries_a_template_answers_by_it(tmp_path):
    says = f"Hm.\n</think>\n\nI look.\n{_call()}"
    template = "{{ tools }}" + CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    tokens = (*CHATML_TOKENS, "<tool_call>", "</tool_call>")
    folder = scripted_model(tmp_path / "model", says, chat_template=template, added_tokens=tokens)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "response_template": _THINK}))
    request = GenerationRequest(
        model=Model(name="m", path=folder),
        prompt=(Message(role="user", content="Is it warm?"),),
        sampling=Sampling(temperature=0),
        tools=_TOOLS,
    )
    with GenerationService(Host.discover(strict=True)) as service:
        completion = service.submit(request).result()
        events = list(service.submit(request))
    assert (completion.reasoning, completion.content, completion.finish_reason) == ("Hm.", "I look.", "tool_calls")
    assert completion.tool_calls[0].arguments == '{"city": "Oslo"}'
    assert completion.usage.reasoning_tokens > 0
    streamed = "".join(event.text for event in events if isinstance(event, Delta))
    assert streamed == "Hm.I look."
    assert sum(isinstance(event, ToolCallDelta) for event in events) == 1


def test_a_pattern_has_its_time_while_other_threads_are_busy():
    """The limit is for the search. All threads together use up as much while it runs, as a busy server does."""
    pattern, text = LimitedPattern(regex.compile(r">\s*(.*?)\s*</")), ">" + " " * 100
    while True:  # find a text that takes this machine long enough
        began = time.thread_time()
        pattern.search(text)
        if time.thread_time() - began > 0.04:
            break
        text += " " * (len(text) // 10)
    over = threading.Event()
    data = bytes(1 << 20)

    def work():
        while not over.is_set():
            hashlib.sha256(data)  # without the interpreter's lock

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    try:
        assert pattern.search(text) is None
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_pattern_of_arguments_that_takes_for_ever_finds_no_call(tmp_path):
    """`_NAMED` searches white space in cubic time: three minutes for this call."""
    text = "<function=weather>\n<parameter=city>" + " " * 20_000 + "</function>\n"
    parser = extractor(ExtractorContext(model=carrying(tmp_path, _NAMED), tools=_TOOLS))
    events = [event for at in range(0, len(text), 64) for event in parser.feed(text[at : at + 64])]
    events += parser.close()
    assert [event for event in events if isinstance(event, ToolCallDelta)] == []
    assert "".join(event.text for event in events).strip() == text.strip()
