"""Survives … tools whose parameters refer to one another, and models that write white space in the place of calls."""

from __future__ import annotations

import json
import sys

import pytest

from mlxk_testing.tiny_models import in_hub_cache, random_model, scripted_model
from mlxk_testing.tiny_models.templates import TOOL_CHATML, TOOL_CHATML_TOKENS

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

MANY = 100
CHAINS = {"round": {"a": "a"}, "long": {"a": "b", "b": "c", "c": "d", "d": "e"}}


def parameters(chain):
    """Each definition offers the next one 100 times: followed one by one, they are millions of types."""
    ends = {"type": "string"}
    found = {name: {"anyOf": [*[{"$ref": f"#/$defs/{to}"}] * MANY, ends]} for name, to in chain.items()}
    return {"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}}, "$defs": {**found, "e": ends}}


@pytest.fixture
def real(launch):
    def write(folder):
        random_model(folder, chat_template=TOOL_CHATML, added_tokens=TOOL_CHATML_TOKENS, ends=True, context=50_000)
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "tool_parser_type": "qwen3_coder"}))

    in_hub_cache("tiny/tags", write)
    return launch(model="tiny/tags")


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_survives_references_that_multiply_in_a_tool(real, kit, chain):
    """One such request occupied a thread for days, also after its client had left."""
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters(chain)}}
    body = real.client.chat_body(tools=[tool], tool_choice="required", max_tokens=1)
    with kit.Watch(real):
        for _ in range(12):  # more than there are threads for it
            assert real.client.post("/v1/chat/completions", body).status == 200
        assert real.client.chat(max_tokens=1).status == 200


SPACES = " " * 6000
HEADERS = {
    "deepseek": ["<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", SPACES, "<", "<｜tool▁calls▁end｜>"],
    "kimi_k2": [
        "<|tool_calls_section_begin|>",
        "functions.f:0<|tool_call_argument_begin|>{}<|tool_call_end|>",
        *[SPACES + "\n"] * 8,
        "<",
        "<|tool_calls_section_end|>",
    ],
}


@pytest.mark.parametrize("name", HEADERS)
def test_survives_white_space_in_the_place_of_a_call(launch, kit, name):
    """Each part of a header took it in each way, with the interpreter's lock: for minutes, a few thousand spaces."""

    def write(folder):
        scripted_model(folder, HEADERS[name], chat_template=TOOL_CHATML, added_tokens=TOOL_CHATML_TOKENS)
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "tool_parser_type": name}))

    in_hub_cache("tiny/spaces", write)
    server = launch(model="tiny/spaces")
    with kit.Watch(server):
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        answer = server.client.post("/v1/chat/completions", server.client.chat_body(tools=[tool]))
        assert answer.status == 200


LETTERS = ["a" * (16_000 - number) for number in range(16)]


def test_survives_the_end_of_a_call_that_is_as_long_as_the_call_and_repeats_it(launch, kit):
    """The call was compared with each place of its end, with the interpreter's lock: 9 s for 480,000 letters."""
    calls = {"open": "ab", "close_pattern": "ca*", "repeats": True, "content": "json"}
    template = {"start_anchor": "<|im_start|>assistant\n", "fields": {"tool_calls": calls, "content": {}}}

    def write(folder):
        says = ["ab", *LETTERS[:8], "c", *LETTERS[8:], "xyz"]
        scripted_model(folder, says, chat_template=TOOL_CHATML, added_tokens=TOOL_CHATML_TOKENS)
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "response_template": template}))

    in_hub_cache("tiny/letters", write)
    in_hub_cache("tiny/talker", lambda folder: scripted_model(folder, "Hello."))
    server = launch(model="tiny/talker")
    with kit.Watch(server):
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        body = server.client.chat_body(model="tiny/letters", tools=[tool], max_tokens=64)
        answer = server.client.post("/v1/chat/completions", body)
        assert answer.status == 200
        text = answer.json["choices"][0]["message"]["content"]
        assert text == f"ab{''.join(LETTERS[:8])}c{''.join(LETTERS[8:])}xyz"
