"""The Responses API over HTTP: items, events in order, tools, stored responses, errors."""

from __future__ import annotations

import json

import msgspec
import pytest

from mlxk_core.api.generation import Channel, Delta, TokenLogprob
from mlxk_core.api.server import ApiError, ErrorInfo
from mlxk_responses.encoder import ResponsesEncoder
from mlxk_responses.response import Presentation, Response
from mlxk_responses.tools import Tools

TALKER = "The keeper said: «ça va, 你好» 🌊 and left."
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


TIMES_AND_IDS = ("id", "created_at", "completed_at", "call_id")


def create(api, model="tiny/talker", input="Hi", **fields):
    return api.post("/v1/responses", {"model": model, "input": input, **fields})


def text(response):
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


def bare_response():
    fields = {"status": "in_progress", "model": "m", "output": [], "metadata": {}, "parallel_tool_calls": True}
    fields |= {"reasoning": {}, "store": False, "temperature": 1, "text": {}, "tool_choice": "auto", "tools": []}
    return msgspec.convert({"id": "r", "created_at": 0, "top_logprobs": 0, "top_p": 1, **fields}, Response)


def without_ids(value):
    """`value` without what differs between two responses to one request."""
    if isinstance(value, dict):
        return {k: without_ids(v) for k, v in value.items() if k not in TIMES_AND_IDS}
    return [without_ids(item) for item in value] if isinstance(value, list) else value


def test_a_text_is_answered_by_a_response_object(api):
    reply = create(api, metadata={"a": "b"})
    body = reply.json
    assert reply.status == 200
    assert (body["object"], body["status"], text(body)) == ("response", "completed", TALKER)
    assert body["metadata"] == {"a": "b"}
    usage = body["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    assert {"cached_tokens", "cache_write_tokens"} == set(usage["input_tokens_details"])
    assert body["completed_at"] >= body["created_at"]


def test_log_probabilities_are_those_of_the_stream_and_stay_out_of_the_conversation(api):
    def entries(response):
        return [entry for item in response["output"] for part in item["content"] for entry in part["logprobs"]]

    whole = create(api, top_logprobs=2).json
    events = create(api, top_logprobs=2, stream=True).events
    assert len(entries(whole)) == whole["usage"]["output_tokens"] - 1  # the one that ends it has no text
    assert entries(whole) == entries(events[-1]["response"])
    assert entries(whole) == [entry for event in events if "delta" in event for entry in event["logprobs"]]
    assert entries(api.get(f"/v1/responses/{whole['id']}").json) == entries(whole)
    assert create(api, previous_response_id=whole["id"]).status == 200


def test_a_message_has_a_number_of_log_probabilities():
    response = bare_response()
    encoder = ResponsesEncoder(response, Presentation(Tools(), logprobs=True), lambda response: None)
    long = Delta(Channel.CONTENT, "x", (TokenLogprob("x" * 1_000_000, -1.0),))
    with pytest.raises(ApiError, match="log probabilities"):
        for _ in range(20):
            encoder.piece(0, long)


@pytest.mark.parametrize("model", ["tiny/talker", "tiny/thinker", "tiny/caller"])
def test_a_stream_ends_with_the_response_that_is_returned_whole(api, model):
    fields = {"model": model, "tools": [WEATHER] if model == "tiny/caller" else [], "store": False}
    events = create(api, stream=True, **fields).events
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] == "response.completed"
    whole = without_ids(create(api, **fields).json)
    streamed = without_ids(events[-1]["response"])
    for response in (whole, streamed):  # the second request finds its prompt in the cache
        del response["usage"]["input_tokens_details"]
    assert streamed == whole


@pytest.mark.parametrize("model", ["tiny/talker", "tiny/thinker", "tiny/caller"])
def test_every_item_is_added_filled_and_done_in_order(api, model):
    tools = [WEATHER] if model == "tiny/caller" else []
    events = create(api, model=model, tools=tools, stream=True).events
    open_item, deltas = None, ""
    for event in events:
        match event["type"]:
            case "response.output_item.added":
                assert open_item is None
                open_item, deltas = event["item"], ""
                assert open_item["status"] == "in_progress"
            case "response.output_item.done":
                assert open_item is not None
                assert event["item"]["id"] == open_item["id"]
                item, open_item = event["item"], None
                assert deltas == item.get("arguments", "".join(part["text"] for part in item.get("content", ())))
            case kind if kind.endswith(".delta"):
                assert open_item is not None
                assert event["item_id"] == open_item["id"]
                deltas += event["delta"]
    assert open_item is None


def test_reasoning_is_an_item_before_the_message(api):
    output = create(api, model="tiny/thinker").json["output"]
    assert [item["type"] for item in output] == ["reasoning", "message"]
    assert output[0]["content"] == [{"type": "reasoning_text", "text": "Two and two."}]
    assert output[0]["summary"] == []


def test_a_summary_that_is_asked_for_holds_the_reasoning(api):
    fields = {"model": "tiny/thinker", "reasoning": {"summary": "auto"}}
    item = create(api, **fields).json["output"][0]
    assert item["summary"] == [{"type": "summary_text", "text": "Two and two."}]
    events = create(api, stream=True, **fields).events
    deltas = [event["delta"] for event in events if event["type"] == "response.reasoning_summary_text.delta"]
    assert "".join(deltas) == "Two and two."


def test_encoded_reasoning_is_accepted_back(api):
    first = create(api, model="tiny/thinker", include=["reasoning.encrypted_content"], store=False).json
    reasoning = {**first["output"][0], "content": [], "summary": []}
    assert reasoning["encrypted_content"]
    history = [{"role": "user", "content": "Hi"}, reasoning, first["output"][1], {"role": "user", "content": "More"}]
    assert create(api, model="tiny/thinker", input=history).status == 200
    damaged = [{**reasoning, "encrypted_content": "mlxk1.%"}, first["output"][1]]
    reply = create(api, model="tiny/thinker", input=damaged)
    assert (reply.status, reply.json["error"]["param"]) == (400, "input[0].encrypted_content")


def test_a_call_has_its_arguments_and_its_result_goes_back(api):
    asked = [{"role": "user", "content": "Weather?"}]
    first = create(api, model="tiny/caller", input=asked, tools=[WEATHER]).json
    [call] = [item for item in first["output"] if item["type"] == "function_call"]
    assert (call["name"], json.loads(call["arguments"]), call["status"]) == (
        "get_weather",
        {"city": "Oslo"},
        "completed",
    )
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
    second = create(api, model="tiny/caller", input=[*asked, *first["output"], result], tools=[WEATHER])
    assert second.status == 200
    continued = create(api, model="tiny/caller", input=[result], tools=[WEATHER], previous_response_id=first["id"]).json
    assert continued["usage"]["input_tokens"] == second.json["usage"]["input_tokens"]


def test_a_tool_of_a_namespace_keeps_its_own_name(api):
    tools = [{"type": "namespace", "name": "functions", "tools": [WEATHER]}, {"type": "web_search"}]
    reply = create(api, model="tiny/caller", tools=tools)
    assert reply.status == 200
    assert [tool["type"] for tool in reply.json["tools"]] == ["namespace"]
    assert reply.headers["x-ignored-fields"] == "tools[1]"
    streamed = create(api, model="tiny/caller", tools=tools, stream=True)
    assert streamed.headers["x-ignored-fields"] == "tools[1]"


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "namespace", "name": "n", "tools": [{**WEATHER, "tools": ["x"]}]}]},
        {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "get_weather", "tools": ["x", {"tools": 1}]}},
    ],
)
def test_tools_inside_of_tools_are_not_repeated(api, fields):
    assert create(api, model="tiny/caller", **fields).status == 200


def test_a_stored_response_is_returned_deleted_and_continued(api):
    first = create(api, input="Remember this.").json
    path = f"/v1/responses/{first['id']}"
    assert api.get(path).json == first
    items = api.get(f"{path}/input_items").json
    assert items["data"][0]["content"] == [{"type": "input_text", "text": "Remember this."}]
    longer = create(api, input="And?", previous_response_id=first["id"]).json
    assert longer["usage"]["input_tokens"] > first["usage"]["input_tokens"] + first["usage"]["output_tokens"]
    assert longer["previous_response_id"] == first["id"]
    assert api.delete(path).json["deleted"] is True
    assert api.get(path).status == 404


def test_input_items_are_what_was_read(api):
    content = [{"type": "input_text", "text": "Hi", "more": [1] * 1000}]
    message = {"type": "message", "role": "user", "content": content, "more": [1] * 1000}
    call = {"type": "function_call", "id": "own", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "1"}
    path = f"/v1/responses/{create(api, input=[message, call, output]).json['id']}/input_items"
    listed = api.get(f"{path}?order=asc").json
    assert listed["data"] == [
        {"id": "item_0", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        call,
        {"id": "item_2", **output},
    ]
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("item_0", "item_2", False)
    page = api.get(f"{path}?limit=1&after=item_2").json
    assert ([item["id"] for item in page["data"]], page["has_more"]) == (["own"], True)


def test_a_conversation_has_a_limit_of_messages(api):
    half = [{"role": "user", "content": ""}] * 15_000
    first = create(api, input=half, truncation="auto")
    assert first.status == 200
    assert create(api, input=half * 2, truncation="auto").status == 400
    again = create(api, input=half, truncation="auto", previous_response_id=first.json["id"])
    assert (again.status, again.json["error"]["param"]) == (400, "input")
    calls = [{"type": "function_call", "call_id": "a", "name": "f", "arguments": ""}] * 20_000
    assert create(api, input=calls, truncation="auto").json["error"]["param"] == "input"


def test_a_response_belongs_to_the_key_that_made_it(api, other):
    path = f"/v1/responses/{create(api).json['id']}"
    assert (other.get(path).status, other.delete(path).status) == (404, 404)
    assert create(other, previous_response_id=path.rpartition("/")[2]).status == 404
    assert api.get(path).status == 200


def test_a_response_that_is_not_to_be_stored_is_not(api):
    body = create(api, store=False).json
    assert body["store"] is False
    assert api.get(f"/v1/responses/{body['id']}").status == 404


def test_a_response_cut_by_the_limit_is_incomplete(api):
    body = create(api, model="tiny/endless", max_output_tokens=5).json
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert body["output"][-1]["status"] == "incomplete"
    events = create(api, model="tiny/endless", max_output_tokens=5, stream=True).events
    assert events[-1]["type"] == "response.incomplete"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": 3}, "input"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "computer_call"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"tools": [{"type": "file_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f", "parameters": 1}]}, "tools[0].parameters"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": "f"}]}, "tools[0].tools"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": ["f"]}]}, "tools[0].tools[0]"),
        ({"tools": [WEATHER] * 1025}, "tools"),
        ({"tools": [WEATHER], "tool_choice": {"type": "allowed_tools", "tools": [1]}}, "tool_choice.tools[0]"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice.name"),
        ({"background": True, "store": False}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"truncation": "sometimes"}, "truncation"),
        ({"include": ["everything"]}, "include"),
        ({"temperature": 3}, "temperature"),
        ({"seed": "x"}, "seed"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"previous_response_id": "resp_0"}, "previous_response_id"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_done_is_an_error_that_names_the_field(api, fields, param):
    reply = create(api, **fields)
    assert reply.status in (400, 404)
    assert reply.json["error"]["param"] == param


def test_a_body_that_is_no_json_and_a_model_that_is_missing_are_errors(api):
    assert api.post("/v1/responses", b"{").status == 400
    reply = create(api, model="acme/missing")
    assert (reply.status, reply.json["error"]["code"]) == (404, "model_not_found")


def test_fields_of_javascript_and_unknown_fields_are_accepted(api):
    body = b'{"model": "tiny/talker", "input": "Hi", "max_output_tokens": 5.0, "someday": {"a": [1, 2.5]}}'
    assert api.post("/v1/responses", body).json["max_output_tokens"] == 5


def test_an_error_before_the_prompt_is_read_has_a_status_of_its_own(api):
    reply = create(api, input="x" * 100_000, stream=True)
    assert (reply.status, reply.json["error"]["code"]) == (400, "context_length_exceeded")


@pytest.mark.parametrize("fields", [{}, {"tools": [WEATHER]}, {"instructions": "Be brief."}])
def test_the_tokens_of_an_input_are_counted_as_they_are_used(api, fields):
    body = {"model": "tiny/talker", "input": "Hi", **fields}
    count = api.post("/v1/responses/input_tokens", body).json
    assert count == {
        "object": "response.input_tokens",
        "input_tokens": create(api, **fields).json["usage"]["input_tokens"],
    }
    first = create(api, **fields).json
    later = {"input": "And?", "previous_response_id": first["id"], **fields}
    longer = api.post("/v1/responses/input_tokens", {"model": "tiny/talker", **later}).json["input_tokens"]
    assert longer == create(api, **later).json["usage"]["input_tokens"] > count["input_tokens"]


def test_sampling_fields_of_other_apis_act(api):
    def answer(**fields):
        reply = create(api, max_output_tokens=24, **fields)
        assert (reply.status, reply.headers.get("x-ignored-fields")) == (200, None), reply.body
        return text(reply.json)

    assert answer(stop="said").endswith("keeper ")
    assert answer(stop=["", "ça", "said"]) == answer(stop=["said"])
    random = {"model": "tiny/random"}
    assert answer(**random, seed=7) == answer(**random, seed=7)
    assert len({answer(**random, seed=seed) for seed in range(4)}) > 1
    likeliest = answer(**random, temperature=0)
    assert answer(**random, top_k=1) == answer(**random, min_p=1) == likeliest
    for penalty in ("repetition_penalty", "presence_penalty", "frequency_penalty"):
        assert answer(**random, temperature=0, **{penalty: 2}) != likeliest


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_compaction_is_an_error_that_says_so(api, method):
    reply = api.request(method, "/v1/responses/compact", {"model": "tiny/talker", "input": "Hi"}, {})
    assert (reply.status, reply.json["error"]["code"]) == (404, "unsupported")
    assert "truncation" in reply.json["error"]["message"]


@pytest.mark.parametrize(
    ("status", "code", "sent"),
    [
        (503, "shutting_down", "server_error"),
        (500, "engine_fault", "server_error"),
        (429, "queue_full", "rate_limit_exceeded"),
        (400, "context_length_exceeded", "context_length_exceeded"),
    ],
)
def test_a_response_that_fails_has_a_code_that_clients_read(status, code, sent):
    encoder = ResponsesEncoder(bare_response(), Presentation(Tools()), lambda response: None)
    *_, last = encoder.error(ErrorInfo(status=status, message="No.", type="server_error", code=code)).split(b"data: ")
    failed = json.loads(last)
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": sent, "message": "No."}
