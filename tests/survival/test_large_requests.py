"""Survives … requests whose parts are few in kind and thousands in number, and values of megabytes."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlxk_testing.tiny_models import CHATML, CHATML_TOKENS, in_hub_cache, random_model

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

CHAT = "/v1/chat/completions"
MEGABYTE = 1 << 20
CALL = {"id": "c", "type": "function", "function": {"name": "get", "arguments": '{"a": 1}'}}
USER = {"role": "user", "content": "x"}
WORD = "word " * (MEGABYTE // 5)
TOOL = {"type": "function", "function": {"name": "get"}}
WIDE = " " * 128


@pytest.fixture
def real(launch):
    in_hub_cache("tiny/random", lambda folder: random_model(folder, ends=True) and None)
    return launch(model="tiny/random")


TOO_LONG = {
    "calls": (CHAT, {"messages": [USER, {"role": "assistant", "content": "", "tool_calls": [CALL] * 3000}, USER]}),
    "blocks": (
        "/v1/messages",
        {
            "max_tokens": 4,
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "t", "name": "get", "input": {}}] * 3000,
                },
                USER,
            ],
        },
    ),
    "messages": (CHAT, {"messages": [USER, {"role": "assistant", "content": "y"}] * 3000}),
    "arguments": (
        CHAT,
        {
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{**CALL, "function": {"name": "get", "arguments": json.dumps({"a": WORD})}}],
                },
                {"role": "tool", "tool_call_id": "c", "content": "r"},
            ]
        },
    ),
    "a description": (CHAT, {"messages": [USER], "tools": [{**TOOL, "function": {"name": "f", "description": WORD}}]}),
}


def test_survives_conversations_that_are_too_long_in_any_part(real, kit):
    """They are rejected before they are rendered or tokenized as a whole, and small requests do not wait for them."""
    with kit.Watch(real), ThreadPoolExecutor(8) as pool:
        flood = {
            name: pool.submit(real.client.post, path, {"model": "tiny/random", **body})
            for name, (path, body) in TOO_LONG.items()
        }
        assert real.client.chat(max_tokens=3).status == 200
        assert {name: answer.result().status for name, answer in flood.items()} == dict.fromkeys(TOO_LONG, 400)
        early = {name: b"the prompt has at least" in answer.result().body for name, answer in flood.items()}
        assert early == dict.fromkeys(TOO_LONG, True)


def test_survives_large_bodies_at_once_without_a_thread_for_each(real, kit):
    body = {"model": "tiny/random", "prompt": "x" * (MEGABYTE // 2)}
    with kit.Watch(real):
        before = real.threads
        socks = [real.client.begin("/tokenize", body) for _ in range(16)]
        kit.until(lambda: real.client.status()["responses"] >= 12)
        assert real.threads - before <= 12
        assert real.client.post("/tokenize", {"model": "tiny/random", "prompt": "x"}).status == 200
        for sock in socks:
            sock.close()


def test_survives_conversations_of_megabytes_that_are_cut(real, kit):
    turns = [{"role": "user", "content": f"{number} " + "word " * 10_000} for number in range(60)]
    body = {"model": "tiny/random", "input": turns, "truncation": "auto", "max_output_tokens": 4}
    with kit.Watch(real), ThreadPoolExecutor(10) as pool:
        before = real.reset_peak()
        flood = [pool.submit(real.client.post, "/v1/responses", body) for _ in range(10)]
        assert {answer.result().status for answer in flood} == {400}  # the last turn alone does not fit
        assert real.peak - before < 500 * MEGABYTE


EXPANDING = "{% for tool in tools or [] %}{{ tool | tojson(indent=4) }}{% endfor %}" + CHATML.replace(
    "{% endfor %}", "{{ between }}{% endfor %}"
)
DEEP_VALUES = "[" * 188 + "0" + ",0" * 29_000 + "]" * 188


def test_survives_what_a_template_makes_long(launch, kit):
    """A schema of 58 kB became 23 million characters; an option of a megabyte made all chats fail for a minute."""
    in_hub_cache("tiny/expanding", lambda folder: random_model(folder, chat_template=EXPANDING) and None)
    server = launch(model="tiny/expanding")
    body = {"model": "tiny/expanding", "messages": [{"role": "user", "content": "\U0001f600"}]}
    body["tools"] = [{**TOOL, "function": {"name": "f", "parameters": {"x": json.loads(DEEP_VALUES)}}}]
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * 50
    with kit.Watch(server), ThreadPoolExecutor(16) as pool:
        before = server.reset_peak()
        flood = [pool.submit(server.client.post, path, body) for path in (CHAT, "/tokenize") for _ in range(8)]
        assert {answer.result().status for answer in flood} == {400}
        assert server.peak - before < 100 * MEGABYTE
        for name, code in {"between": None, "eos_token": "unsupported_parameter"}.items():
            reply = server.client.chat(messages=turns, chat_template_kwargs={name: "x" * MEGABYTE})
            assert (reply.status, reply.error["code"]) == (400, code)
        assert server.client.chat(max_tokens=3).status == 200


VALUES = {
    "the name of a model": ({"model": "tiny/" + "a" * (7 * MEGABYTE)}, 404, "model"),
    "a role": ({"messages": [{"role": WORD, "content": "x"}]}, 400, "messages[0].role"),
    "a role that looks like a place": (
        {"messages": [{"role": " - at `$." + "[" * 100_000 + "`", "content": "x"}]},
        400,
        "messages[0].role",
    ),
    "a role that looks like paths": ({"messages": [{"role": "/a " * 2_500_000, "content": "x"}]}, 400, None),
    "a duration": ({"keep_alive": "1h" * 3_500_000}, 400, "keep_alive"),
    "a duration with an error": ({"keep_alive": "1h" * 3_500_000 + "x"}, 400, "keep_alive"),
    "an effort": ({"reasoning_effort": WORD}, 400, "reasoning_effort"),
    "the name of a field": ({WORD: 1}, 200, None),
    "the name of a token": ({"logit_bias": {WORD: 1}}, 400, None),
    "a choice of a tool": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": WORD}}},
        400,
        "tool_choice.function.name",
    ),
    "100,000 options of the template": (
        {"chat_template_kwargs": {f"k{number}": "v" for number in range(100_000)}},
        400,
        "chat_template_kwargs",
    ),
    "20,000 tools that may be called": (
        {
            "tools": [{**TOOL, "function": {"name": f"f{number}"}} for number in range(1000)],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "name": "f1"}] * 20_000},
            },
        },
        400,  # the tools do not fit
        None,
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_survives_a_value_that_is_too_large(server, kit, name):
    """The response does not repeat it."""
    fields, status, param = VALUES[name]
    with kit.Watch(server):
        answer = server.client.post(CHAT, server.client.chat_body(**fields))
        assert (answer.status, len(answer.body) < 8192) == (status, True)
        if param:
            assert answer.error["param"] == param


@pytest.mark.parametrize("text", [b'"\xff"', b'{"a": "\xed\xa0\x80"}'])
def test_survives_arguments_of_a_call_that_are_no_text(server, kit, text):
    call = b'[{"id": "c", "function": {"name": "get", "arguments": %b}}]' % text
    body = b'{"model": "fake", "messages": [{"role": "assistant", "content": "", "tool_calls": %b}]}' % call
    with kit.Watch(server):
        answer = server.client.post(CHAT, body)
        assert (answer.status, answer.error["param"]) == (400, "messages[0].tool_calls[0].function.arguments")


@pytest.mark.parametrize("path", [CHAT, "/tokenize", "/apply-template"])
def test_survives_template_options_of_many_values(real, kit, path):
    options = {"a": [0.5] * 400_000}
    with kit.Watch(real):
        reply = real.client.post(path, {**real.client.chat_body(), "chat_template_kwargs": options})
    assert (reply.status, reply.error["param"]) == (400, "chat_template_kwargs")


def test_survives_tools_of_many_values(real, kit):
    tools = [{**TOOL, "function": {"name": "f", "parameters": {"type": "object", "x": [0.5] * 400_000}}}]
    with kit.Watch(real):
        for path in (CHAT, "/tokenize", "/apply-template"):
            reply = real.client.post(path, {**real.client.chat_body(), "tools": tools})
            assert (reply.status, reply.error["param"].startswith("tools[0]")) == (400, True)


MANY = '{"a": [' + "[]," * 600_000 + "[]]}"

ESCAPED = "".join(f"\\u{ord(character):04x}" for character in '{"a": [' + "[]," * 100_000 + "[]]}")


@pytest.mark.parametrize(
    "arguments",
    [MANY, json.dumps(MANY), MANY[:-4], f'"{ESCAPED}"', f'"{ESCAPED.upper().replace("U", "u")}"'],
    ids=["object", "text", "cut", "escaped", "escaped in capitals"],
)
def test_survives_arguments_of_many_values(real, kit, arguments):
    call = {**CALL, "function": {"name": "get", "arguments": arguments}}
    messages = [USER, {"role": "assistant", "content": "", "tool_calls": [call]}, USER]
    with kit.Watch(real):
        for path in (CHAT, "/tokenize", "/apply-template"):
            reply = real.client.post(path, {"model": real.client.model, "messages": messages})
            assert (reply.status, reply.error["param"]) == (400, "messages")


@pytest.mark.parametrize("number", ["1e308", "5e-324", "9" * 4300, "445014771701440.280266e91"])
def test_survives_numbers_that_take_long_to_read(real, kit, number):
    """200,000 times `1e308` in 1.2 MB kept all others waiting for seconds."""
    body = {"model": real.client.model, "max_tokens": 1, "messages": [USER], "metadata": 0}
    text = json.dumps(body).replace(": 0", f": [{','.join([number] * (2_000_000 // len(number)))}]")
    schema = f'{{"type": "number", "x": [{",".join([number] * (500_000 // len(number)))}]}}'
    with kit.Watch(real):
        for path in (CHAT, "/v1/messages", "/v1/responses", "/api/chat", "/tokenize"):
            assert real.client.post(path, text.encode()).status == 413
        reply = real.client.chat(guided_json=schema)
        assert (reply.status, reply.error["param"]) == (400, "guided_json")


def test_survives_tokens_of_many_characters(real, kit):
    tokens = range(real.client.get(f"/tokenizer_info?model={real.client.model}").json["vocab_size"])
    longest = max(tokens, key=lambda token: len(detokenized(real, [token])))
    assert len(detokenized(real, [longest])) > 4, "a special token"
    with kit.Watch(real):
        reply = real.client.post("/detokenize", {"model": real.client.model, "tokens": [longest] * (1 << 20)})
        assert (reply.status, reply.error["param"]) == (400, "tokens")
    assert len(detokenized(real, [longest] * 20_000)) >= 20_000


def detokenized(server, tokens):
    return server.client.post("/detokenize", {"model": server.client.model, "tokens": tokens}).json["prompt"]


def test_survives_reasoning_that_no_template_writes(real, kit):
    messages = [USER, {"role": "assistant", "content": "y", "reasoning_content": "y" * 2_500_000}, USER]
    body = {"model": real.client.model, "messages": [*messages, *messages[:2]], "max_tokens": 1}
    with kit.Watch(real), ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda _: real.client.post(CHAT, body), range(4)))
    assert [(reply.status, reply.error["param"]) for reply in replies] == [(400, "messages")] * 4


LARGE_SCHEMA = {"type": "string", "x": [0.5] * 400_000}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, {"messages": [USER], "guided_json": LARGE_SCHEMA}, "guided_json"),
        (
            "/v1/responses",
            {"input": "x", "text": {"format": {"type": "json_schema", "name": "n", "schema": LARGE_SCHEMA}}},
            "text.format.schema",
        ),
    ],
)
def test_survives_schemas_of_many_values(real, kit, path, body, param):
    with kit.Watch(real):
        reply = real.client.post(path, {"model": real.client.model, **body})
    assert (reply.status, reply.error["param"]) == (400, param)


SCHEMA_TEXT = '{"x": [' + "[]," * 600_000
OF_TEXT = {
    "guided_json": {"guided_json": SCHEMA_TEXT},
    "json_schema": {"json_schema": SCHEMA_TEXT},
    "structured_outputs.json": {"structured_outputs": {"json": SCHEMA_TEXT}},
    "response_format.schema": {"response_format": {"type": "json_object", "schema": SCHEMA_TEXT}},
}


@pytest.mark.parametrize("param", OF_TEXT)
def test_survives_schemas_of_many_values_in_a_text(server, kit, param):
    """They are counted before they are decoded: this text is cut, which is not noticed."""
    with kit.Watch(server):
        reply = server.client.chat(**OF_TEXT[param])
    assert (reply.status, reply.error["param"], b"100,000 values" in reply.body) == (400, param, True)


LONG_NAME = "n" * 100_000
NAMES = {
    "a call, which its results repeat": (
        CHAT,
        {
            "messages": [
                USER,
                {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": LONG_NAME, "arguments": ""}}]},
                *[{"role": "tool", "tool_call_id": "a", "content": ""}] * 3_000,
            ]
        },
        "messages",
    ),
    "a tool": (
        CHAT,
        {"messages": [USER], "tools": [{**TOOL, "function": {"name": LONG_NAME}}]},
        "tools[0].function.name",
    ),
    "a speaker": (CHAT, {"messages": [{**USER, "name": LONG_NAME}]}, "messages"),
    "a namespace, which its tools repeat": (
        "/v1/responses",
        {"input": "x", "tools": [{"type": "namespace", "name": LONG_NAME, "tools": [{"name": "f"}] * 1_000}]},
        "tools[0].name",
    ),
    "none, but a thousand tools in each of many namespaces": (
        "/v1/responses",
        {"input": "x", "tools": [{"type": "namespace", "name": "n", "tools": [{"name": "f"}] * 1_000}] * 20},
        "tools",
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_survives_long_names(real, kit, name):
    path, body, param = NAMES[name]
    with kit.Watch(real):
        reply = real.client.post(path, {"model": real.client.model, **body})
    assert (reply.status, reply.error["param"]) == (400, param)


GEMMA_CALLS = (
    "{% if tools %}{% for tool in tools %}<function>{{ tool.function.name }}</function>{% endfor %}\n"
    "<|tool_call>call:f{a:1}<tool_call|>{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def gemma(launch):
    tokens = [*CHATML_TOKENS, "<|tool_call>", "<tool_call|>"]
    in_hub_cache(
        "tiny/gemma",
        lambda folder: random_model(folder, ends=True, chat_template=GEMMA_CALLS, added_tokens=tokens) and None,
    )
    return launch(model="tiny/gemma")


@pytest.mark.parametrize(
    "definition",
    [
        {"type": "object", "properties": {f"p{number}": {"type": "integer"} for number in range(40)}},
        {"const": "x" * 900_000},
    ],
    ids=["objects in objects", "a long definition"],
)
def test_survives_tools_whose_grammar_repeats_their_parts(gemma, kit, definition):
    """Each property that may be left out is written again after each one before it, with what it refers to."""
    parameters = {
        "type": "object",
        "$defs": {"a": {**definition, "additionalProperties": False}},
        "properties": {f"p{number}": {"$ref": "#/$defs/a"} for number in range(40)},
        "additionalProperties": False,
    }
    tool = {"type": "function", "function": {"name": "f", "strict": True, "parameters": parameters}}
    with kit.Watch(gemma):
        answer = gemma.client.chat(tools=[tool], tool_choice="required")
    assert (answer.status, answer.error["code"]) == (400, "invalid_constraint")


def test_a_definition_that_nothing_refers_to_does_not_count(gemma):
    """Where arguments are written one by one, each property has what it refers to."""
    parameters = {
        "type": "object",
        "$defs": {"a": {"const": "x" * 900_000}},
        "properties": {f"p{number}": {"type": "integer"} for number in range(40)},
        "additionalProperties": False,
    }
    tool = {"type": "function", "function": {"name": "f", "strict": True, "parameters": parameters}}
    assert gemma.client.chat(tools=[tool], tool_choice="required", max_tokens=1).status == 200


def cpu_seconds(server):
    status = Path(f"/proc/{server.popen.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(status[11]) + int(status[12])) / os.sysconf("SC_CLK_TCK")


def test_results_of_thousands_of_calls_take_as_long_as_without_the_calls(real, kit):
    """Of Ollama's API, whose results need not say which call they belong to."""
    calls = {"role": "assistant", "tool_calls": [{"function": {"name": "x"}}] * 20_000}
    results = [{"role": "tool", "content": "", "tool_call_id": "z"}] * 20_000
    seconds = []
    for messages in ([*results, calls], [calls, *results]):
        before = cpu_seconds(real)
        with kit.Watch(real):
            reply = real.client.post("/api/chat", {"model": "tiny/random", "messages": messages})
        assert (reply.status, b"maximum context length" in reply.body) == (400, True)
        seconds.append(cpu_seconds(real) - before)
    without, behind = seconds
    assert behind < 2 * without + 2


def wide_token(folder):
    """One token is a text of 128 characters, as there are for spaces in published vocabularies."""
    random_model(folder, added_tokens=(*CHATML_TOKENS, WIDE), context=131_072)


def test_survives_token_ids_with_a_long_text(real, kit):
    """One request of 2 MB had a response of 1 GB."""
    in_hub_cache("tiny/wide", wide_token)
    [token] = real.client.post("/tokenize", {"model": "tiny/wide", "prompt": WIDE}).json["tokens"]
    body = {"model": "tiny/wide", "prompt": [token] * 131_000, "max_tokens": 0}
    with kit.Watch(real):
        before = real.reset_peak()
        rejected = real.client.post("/v1/completions", {**body, "echo": True})
        assert (rejected.status, rejected.error["param"]) == (400, "prompt")
        several = {**body, "prompt": [[token] * 30_000] * 4, "echo": True, "n": 16}
        rejected = real.client.post("/v1/completions", several)
        assert (rejected.status, rejected.error["code"]) == (400, "response_too_large")
        echoed = real.client.post("/v1/completions", {**body, "prompt": [token] * 9, "echo": True})
        assert echoed.json["choices"][0]["text"] == 9 * WIDE
        assert real.peak - before < 200 * MEGABYTE
