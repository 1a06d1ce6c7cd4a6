"""What a request may not say: refused with the path of the field at fault, and never with more than a 4xx."""

from __future__ import annotations

import json
import re

import pytest

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
STRICT = {"type": "function", "function": {**TOOL["function"], "strict": True}}


def refused(answer, param, code=None):
    assert answer.status == 400, answer.body
    assert answer.error["type"] == "invalid_request_error"
    assert answer.error["param"] == param
    assert answer.error["code"] == code


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 3), ("temperature", -0.1), ("temperature", "hot"), ("temperature", True),
        ("top_p", -0.1), ("top_p", 1.1), ("min_p", 2), ("top_k", -2), ("top_k", 1.5),
        ("n", 0), ("n", 17), ("n", True), ("max_tokens", 0), ("max_tokens", True), ("max_tokens", "5"),
        ("max_completion_tokens", 0), ("presence_penalty", 3), ("frequency_penalty", -3), ("repetition_penalty", 0),
        ("top_logprobs", 21), ("seed", 2**70), ("seed", 1.5), ("stop", 3), ("stop", {"a": 1}), ("stop", ["x"] * 17),
        ("logprobs", "yes"), ("logit_bias", {"1": 101}), ("logit_bias", {"word": 1}), ("logit_bias", [1]),
        ("logit_bias", {str(token): 1 for token in range(1025)}),
        ("stream", "yes"), ("reasoning_effort", "enormous"), ("chat_template_kwargs", []), ("tools", {}),
        ("messages", []), ("messages", {}), ("messages", "Hi"), ("model", 3), ("model", ""), ("user", 3),
    ],
)  # fmt: skip
def test_a_value_out_of_range_names_its_field(client, field, value):
    refused(client.chat(**{field: value}), field)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
@pytest.mark.parametrize("field", ["temperature", "top_p", "max_tokens", "seed"])
def test_a_number_that_is_none_names_its_field(client, field, number):
    body = json.dumps(client.chat_body(**{field: "?"})).replace('"?"', number).encode()
    refused(client.post(CHAT, body), field)


def test_nan_is_rejected_even_in_an_unknown_field(client):
    body = json.dumps(client.chat_body(unheard_of="?")).replace('"?"', "NaN").encode()
    refused(client.post(CHAT, body), None, "invalid_json")


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "content": 3}, "messages[1].content"),
        ({"role": "wizard", "content": "x"}, "messages[1].role"),
        ({"content": "x"}, "messages[1].role"),
        ({"role": "user"}, "messages[1].content"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[1].content[0].text"),
        ({"role": "user", "content": [{"type": "text", "text": 1}]}, "messages[1].content[0].text"),
        ({"role": "tool", "content": "x"}, "messages[1].tool_call_id"),
        ({"role": "tool", "content": "x", "tool_call_id": ""}, "messages[1].tool_call_id"),
        ({"role": "assistant", "tool_calls": [{"id": "a", "function": {}}]}, "messages[1].tool_calls[0].function.name"),
    ],
)
def test_a_wrong_message_is_named_by_its_path(client, message, param):
    body = client.chat_body()
    body["messages"].append(message)
    refused(client.post(CHAT, body), param)


@pytest.mark.parametrize(
    ("fields", "param", "allowed"),
    [
        (
            {"messages": [{"role": "User", "content": "x"}]},
            "messages[0].role",
            ("system", "developer", "user", "assistant", "tool"),
        ),
        ({"reasoning_effort": "enormous"}, "reasoning_effort", ("none", "minimal", "low", "medium", "high")),
    ],
)
def test_an_unknown_value_is_rejected_with_the_allowed_values(client, fields, param, allowed):
    answer = client.chat(**fields)
    refused(answer, param)
    assert set(allowed) <= set(re.findall(r"\w+", answer.error["message"]))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"reasoning_effort": "low", "reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"reasoning_effort": "low", "think": "high"}, "think"),
        ({"reasoning": {"effort": "low"}, "think": "high"}, "think"),
        ({"enable_thinking": True, "think": False}, "think"),
        ({"think": True, "thinking": {"type": "disabled"}}, "thinking"),
        ({"enable_thinking": True, "reasoning_effort": "none"}, "reasoning_effort"),
        ({"thinking": True, "reasoning": {"effort": "none"}}, "reasoning.effort"),
        (
            {"reasoning_effort": "low", "chat_template_kwargs": {"reasoning_effort": "high"}},
            "chat_template_kwargs.reasoning_effort",
        ),
        (
            {"reasoning": {"effort": "none"}, "chat_template_kwargs": {"reasoning_effort": "low"}},
            "chat_template_kwargs.reasoning_effort",
        ),
        (
            {"think": True, "chat_template_kwargs": {"reasoning_effort": "none"}},
            "chat_template_kwargs.reasoning_effort",
        ),
        (
            {"enable_thinking": False, "chat_template_kwargs": {"enable_thinking": True}},
            "chat_template_kwargs.enable_thinking",
        ),
        ({"reasoning_effort": "none", "chat_template_kwargs": {"thinking": True}}, "chat_template_kwargs.thinking"),
        (
            {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True}},
            "chat_template_kwargs.enable_thinking",
        ),
    ],
)
def test_two_names_that_ask_for_different_reasoning_are_an_error(client, fields, param):
    answer = client.chat(**fields)
    refused(answer, param)
    assert all(f"`{name.partition('.')[0]}" in answer.error["message"] for name in fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_effort": "low", "reasoning": {"effort": "low"}, "think": "low"},
        {"reasoning_effort": "high", "enable_thinking": True, "thinking": {"type": "adaptive"}},
        {"reasoning_effort": "none", "think": False},
        {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": False, "reasoning_effort": "none"}},
        {"think": True, "chat_template_kwargs": {"thinking": True, "reasoning_effort": "low"}},
        {"reasoning_effort": "low", "chat_template_kwargs": {"reasoning_effort": "low", "enable_thinking": True}},
        {"reasoning_effort": "low", "chat_template_kwargs": {"reasoning_effort": None, "enable_thinking": None}},
        {"chat_template_kwargs": {"enable_thinking": False, "reasoning_effort": "high"}},
    ],
)
def test_two_names_that_ask_for_the_same_reasoning_are_accepted(client, fields):
    assert client.chat(**fields).status == 200


@pytest.mark.parametrize("stream", [{}, {"stream": False}, {"stream": None}])
def test_options_of_a_stream_need_a_stream(client, stream):
    body = {"stream_options": {"include_usage": True}, **stream}
    refused(client.chat(**body), "stream_options")
    refused(client.post("/v1/completions", {"model": "fake", "prompt": "Hi", **body}), "stream_options")


def test_a_call_as_it_was_before_tools_is_refused_by_name(client):
    body = client.chat_body()
    body["messages"] += [{"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}]
    refused(client.post(CHAT, body), "messages[1].function_call", "unsupported_parameter")


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ([[65], []], None),
        (["a", ""], None),
        (["a", "x" * 5000], "context_length_exceeded"),
        ([[65], [2_000_000]], None),
    ],
)
@pytest.mark.parametrize("fields", [{}, {"n": 2}])
def test_the_one_of_several_prompts_that_is_at_fault_is_named(client, prompt, code, fields):
    answer = client.post(TEXT, {"model": "fake", "prompt": prompt, **fields})
    refused(answer, "prompt[1]", code)
    assert "prompt[1]" in answer.error["message"]


def test_a_lone_surrogate_is_named_in_the_error(client):
    for content in (b"\\ud800", b"\\ud800 and more", b"\xed\xa0\x80"):
        answer = client.post(CHAT, json.dumps(client.chat_body("?")).encode().replace(b"?", content))
        refused(answer, None, "invalid_json")
        assert "surrogate" in answer.error["message"]


def test_parts_that_are_no_text_are_refused(client):
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "http://x/y.png"}}]
    body = {"model": "fake", "messages": [{"role": "user", "content": parts}]}
    refused(client.post(CHAT, body), "messages[0].content[1].type", "unsupported_parameter")


def test_messages_are_required(client):
    body = client.chat_body()
    del body["messages"]
    refused(client.post(CHAT, body), "messages")
    refused(client.post(CHAT, {**body, "messages": None}), "messages")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("functions", [{"name": "f"}]), ("audio", {"voice": "x"}),
        ("modalities", ["text", "audio"]), ("prediction", {"type": "content"}),
        ("web_search_options", {"search_context_size": "low"}),
        ("draft_model", "x"), ("xtc_probability", 0.5), ("best_of", 2),
    ],
)  # fmt: skip
def test_a_field_we_know_and_do_not_support_is_refused_by_name(client, engine, field, value):
    refused(client.chat(**{field: value}), field, "unsupported_parameter")
    assert engine.script.happened("add") == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            "response_format.json_schema.schema",
        ),
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [STRICT]}, "tools[0].function.strict"),
        ({"guided_regex": "a+"}, "guided_regex"),
        ({"grammar": "root ::= x"}, "grammar"),
    ],
)
def test_structured_output_without_its_plugin_names_the_distribution(client, engine, fields, param):
    answer = client.chat(**fields)
    refused(answer, param)
    assert "mlxk-structured" in answer.error["message"]
    assert engine.script.happened("add") == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema"),
        ({"guided_json": {}, "guided_regex": "a"}, "guided_regex"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": {"z": 1, "y": 1, "x": 1, "a": 1}}, "structured_outputs.z"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "always"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice.function.name"),
        ({"tools": [TOOL], "tool_choice": {"function": {"name": "g"}}}, "tool_choice.function.name"),
        ({"thinking_budget": 5, "reasoning": {"max_tokens": 6}}, "reasoning.max_tokens"),
    ],
)
def test_a_constraint_that_says_nothing_is_refused(client, fields, param):
    answer = client.chat(**fields)
    assert (answer.status, answer.error["param"]) == (400, param)


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "text"}}, {"tool_choice": "none"}, {"tool_choice": "auto"}, {"store": False},
        {"user": "me", "metadata": {"a": "b"}}, {"unheard_of": {"deep": [1]}}, {"service_tier": "auto"},
        {"parallel_tool_calls": True}, {"parallel_tool_calls": False},
        {"n": 1.0, "seed": 5.0, "top_k": 3.0}, {"logit_bias": {}}, {"tools": []},
        {"logit_bias": {str(token): 1 for token in range(1024)}},
        {"logprobs": False, "top_logprobs": 0},
    ],
)  # fmt: skip
def test_fields_with_neutral_values_are_accepted(client, fields):
    assert client.chat(**fields).status == 200


def test_null_in_every_optional_field_is_as_if_it_were_not_there(client):
    schema = client.get("/openapi.json").json["components"]["schemas"]["ChatRequest"]
    optional = set(schema["properties"]) - set(schema["required"])
    optional -= {"model"}  # without one the only loaded model is meant
    optional |= {"response_format", "tool_choice", "functions", "audio", "store", "stream_options"}
    assert len(optional) > 25
    assert client.chat(**dict.fromkeys(optional)).text == "Hello, world."
    body = client.chat_body()
    body["messages"][0] |= dict.fromkeys(
        ["name", "reasoning", "reasoning_content", "tool_calls", "tool_call_id", "function_call"]
    )
    call = {"id": "call_1", "type": None, "function": {"name": "f", "arguments": None}}
    body["messages"] += [{"role": "assistant", "content": None, "tool_calls": [call]}, body["messages"][0]]
    body["tools"] = [{"type": None, "function": {"name": "f", "description": None, "parameters": None, "strict": None}}]
    assert client.post(CHAT, body).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"{}{}",
        b"[" * 50_000,
        b'{"a":' * 50_000,
        b'{"model":"\\ud800"}',
        b'{"model":"fake","prompt":"x","messages":[{"role":"user","content":"x"}],"\\ud800":1}',
        b"\xff\xfe",
    ],
)
@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_a_body_that_is_not_a_json_object_is_rejected_and_the_server_lives(client, path, body):
    answer = client.post(path, body)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert client.get("/health").status == 200


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_skipped_fields_may_have_names_that_are_not_utf_8(client, path):
    body = json.dumps(client.chat_body() if path == CHAT else {"model": "fake", "prompt": "x"}).encode()
    assert client.post(path, body[:-1] + b', "unheard_of": 1, "\xff": 2}').status == 200


def test_a_byte_order_mark_is_accepted(client):
    body = b"\xef\xbb\xbf" + json.dumps(client.chat_body()).encode()
    assert client.post(CHAT, body).status == 200


def test_any_content_type_is_taken_from_a_program(client):
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain", ""):
        assert client.post(CHAT, client.chat_body(), content_type=kind).status == 200


# What kills mlx_lm.server for everybody (facts/mlx.md §6) costs here one 400, or nothing.


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        (CHAT, {"temperature": 1, "top_k": 2_000_000}, 400),
        (CHAT, {"xtc_probability": 0.5, "xtc_threshold": 0.9}, 400),
        (CHAT, {"stop": 3}, 400),
        (TEXT, {"prompt": ["a", "b"]}, 200),
        (TEXT, {"prompt": ""}, 400),
        (TEXT, {"prompt": []}, 400),
        (TEXT, {"prompt": ["a", 1]}, 400),
        (TEXT, {"prompt": [-1]}, 400),
        (TEXT, {"prompt": [2_000_000]}, 400),
        (CHAT, {"max_tokens": None, "temperature": None}, 200),
        (CHAT, {"n": 2}, 200),
    ],
)
def test_requests_that_break_other_servers_break_nothing_here(client, path, fields, status):
    body = client.chat_body() if path == CHAT else {"model": "fake"}
    answer = client.post(path, {**body, **fields})
    assert answer.status == status
    if status == 400:
        assert answer.error["param"].partition("[")[0] in fields
    assert client.chat().text == "Hello, world."
