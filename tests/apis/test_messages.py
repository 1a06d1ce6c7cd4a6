"""The Messages API over HTTP: blocks, events in order, tools, thinking, token counts, errors."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from tests.apis.conftest import is_nested

TALKER = "The keeper said: «ça va, 你好» 🌊 and left."
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def create(api, model="tiny/talker", content="Hi", **fields):
    body = {"model": model, "max_tokens": 200, "messages": [{"role": "user", "content": content}], **fields}
    return api.post("/v1/messages?beta=true", body)


def rebuilt(events):
    """The message that a client makes of a stream."""
    message = None
    partial = {}
    for event in events:
        match event["type"]:
            case "message_start":
                assert message is None
                message = event["message"]
            case "content_block_start":
                assert event["index"] == len(message["content"])
                message["content"].append(event["content_block"])
            case "content_block_delta":
                block, delta = message["content"][event["index"]], event["delta"]
                for name in ("text", "thinking", "signature"):
                    if name in delta:
                        block[name] += delta[name]
                if "partial_json" in delta:
                    partial[event["index"]] = partial.get(event["index"], "") + delta["partial_json"]
            case "content_block_stop":
                assert event["index"] == len(message["content"]) - 1
            case "message_delta":
                message |= event["delta"]
                message["usage"] = event["usage"]
    for index, text in partial.items():
        message["content"][index]["input"] = json.loads(text)
    return message


def comparable(message):
    """`message` without what differs between two responses to one request."""
    content = [{k: v for k, v in block.items() if k != "id"} for block in message["content"]]
    return {**message, "id": None, "content": content, "usage": message["usage"]["output_tokens"]}


def test_a_text_is_answered_by_a_message(api):
    message = create(api).json
    assert message["content"] == [{"type": "text", "text": TALKER}]
    assert (message["role"], message["stop_reason"], message["stop_sequence"]) == ("assistant", "end_turn", None)
    assert message["usage"]["input_tokens"] + message["usage"]["cache_read_input_tokens"] > 0


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("tiny/talker", {}),
        ("tiny/talker", {"max_tokens": 3}),
        ("tiny/talker", {"stop_sequences": ["said"]}),
        ("tiny/thinker", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ("tiny/thinker", {}),
        ("tiny/caller", {"tools": [WEATHER], "thinking": {"type": "adaptive"}}),
    ],
)
def test_a_stream_makes_the_message_that_is_returned_whole(api, model, fields):
    whole = create(api, model, **fields).json
    events = create(api, model, stream=True, **fields).events
    assert [events[0]["type"], events[1]["type"], events[-1]["type"]] == ["message_start", "ping", "message_stop"]
    assert comparable(rebuilt(events)) == comparable(whole)


def test_thinking_is_a_block_only_where_it_is_asked_for(api):
    def kinds(**fields):
        return [block["type"] for block in create(api, "tiny/thinker", **fields).json["content"]]

    assert kinds(thinking={"type": "enabled", "budget_tokens": 1024}) == ["thinking", "text"]
    assert kinds(thinking={"type": "adaptive"}) == ["thinking", "text"]
    assert kinds() == kinds(thinking={"type": "disabled"}) == ["text"]


def test_a_call_is_a_block_and_its_result_goes_back(api):
    message = create(api, "tiny/caller", tools=[WEATHER]).json
    [call] = [block for block in message["content"] if block["type"] == "tool_use"]
    assert (message["stop_reason"], call["name"], call["input"]) == ("tool_use", "get_weather", {"city": "Oslo"})
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": [{"type": "text", "text": "rain"}]}
    turns = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": [{**result, "is_error": True}, {"type": "text", "text": "So?"}]},
    ]
    assert create(api, "tiny/caller", messages=turns, tools=[WEATHER]).status == 200


def test_arguments_that_are_nested_deeply_are_kept(api):
    [block] = create(api, "tiny/nester", tools=[WEATHER], max_tokens=4000).json["content"]
    assert is_nested(block["input"])


def test_a_thinking_block_is_accepted_back(api):
    message = create(api, "tiny/thinker", thinking={"type": "adaptive"}).json
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": "More"},
    ]
    assert create(api, "tiny/thinker", messages=turns, thinking={"type": "adaptive"}).status == 200


def test_what_claude_code_sends_is_accepted(api):
    reply = create(
        api,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]},
            {"role": "system", "content": "A reminder."},
            {"role": "user", "content": "Go on."},
        ],
        thinking={"type": "adaptive"},
        context_management={"edits": []},
        output_config={"effort": "high"},
        metadata={"user_id": "u"},
        max_tokens=32000,
    )
    assert reply.status == 200
    assert reply.json["content"][0]["text"] == TALKER


def test_the_count_of_tokens_is_what_a_message_uses(api):
    body = {"model": "tiny/talker", "messages": [{"role": "user", "content": "How long?"}], "system": "Count."}
    usage = api.post("/v1/messages", {**body, "max_tokens": 1}).json["usage"]
    counted = api.post("/v1/messages/count_tokens", body).json
    assert counted == {"input_tokens": usage["input_tokens"] + usage["cache_read_input_tokens"]}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "other"}}, "tool_choice.name"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_done_is_an_error_in_anthropics_shape(api, fields, named):
    reply = create(api, **fields)
    error = reply.json
    assert reply.status == 400
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert named in error["error"]["message"]


def test_a_missing_model_and_a_wrong_key_have_anthropics_types(api):
    missing = create(api, "acme/missing")
    assert (missing.status, missing.json["error"]["type"]) == (404, "not_found_error")
    api.headers = {"x-api-key": "wrong"}
    refused = create(api)
    assert (refused.status, refused.json["error"]["type"]) == (401, "authentication_error")
    api.headers = {"x-api-key": "correct-horse"}
    assert create(api).status == 200


def test_models_have_the_fields_of_the_sdk(api):
    models = api.get("/v1/models").json
    assert models["has_more"] is False
    model = next(each for each in models["data"] if each["id"] == "tiny/talker")
    assert (model["type"], model["display_name"], model["max_input_tokens"]) == ("model", "tiny/talker", 2048)
    assert datetime.fromisoformat(model["created_at"]).timestamp() == model["created"]


def test_models_are_as_anthropic_describes_them_for_its_clients(api):
    model = api.get("/v1/models", anthropic_version="2023-06-01").json["data"][0]
    assert (model["capabilities"], model["lifecycle"]) == (None, "active")
    assert api.get(f"/v1/models/{model['id']}", anthropic_version="2023-06-01").json["capabilities"] is None
    assert api.get(f"/v1/models/{model['id']}").json["capabilities"]


def test_models_are_paged_as_the_sdk_does(api):
    ids = [model["id"] for model in api.get("/v1/models").json["data"]]
    pages, query = [], "limit=4"
    while True:
        page = api.get(f"/v1/models?{query}").json
        pages.append([model["id"] for model in page["data"]])
        assert (page["first_id"], page["last_id"]) == (pages[-1][0], pages[-1][-1])
        if not page["has_more"]:
            break
        query = f"limit=4&after_id={page['last_id']}"
    assert [id for page in pages for id in page] == ids
    assert {len(page) for page in pages[:-1]} == {4}
    before = api.get(f"/v1/models?limit=2&before_id={ids[5]}").json
    assert ([model["id"] for model in before["data"]], before["has_more"]) == (ids[3:5], True)
    unknown = api.get("/v1/models?after_id=nothing")
    assert (unknown.status, unknown.json["error"]["param"]) == (400, "after_id")


def test_every_response_has_its_id_where_the_sdk_looks_for_it(api):
    replies = [create(api), create(api, "acme/missing"), create(api, stream=True)]
    api.headers = {"x-api-key": "wrong"}
    for reply in (*replies, create(api)):
        assert reply.headers["request-id"] == reply.headers["x-request-id"]


def test_what_the_api_lacks_is_an_error_in_its_shape(api):
    assert api.post("/v1/messages/batches", {}).json["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_of_the_assistant_is_not_continued(api, stream):
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "{"}]
    body = {"model": "tiny/talker", "messages": messages, "max_tokens": 9}
    reply = api.post("/v1/messages", {**body, "stream": stream})
    assert (reply.status, reply.json["error"]["type"]) == (400, "invalid_request_error")
    assert "messages[1].role" in reply.json["error"]["message"]
    assert api.post("/v1/messages/count_tokens", body).status == 200  # its prompt can be counted


def test_no_version_of_the_api_need_be_named(api):
    body = {"model": "tiny/talker", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
    assert api.post("/v1/messages", body).json["type"] == "message"
    assert api.post("/v1/messages", body, anthropic_version="2023-06-01", anthropic_beta="a,b").status == 200
