"""The Responses API of the OpenAI SDK for Python. Run by the client's own pytest."""

# --8<-- [start:example]
from typing import Literal

import openai
from pydantic import BaseModel, Field

client = openai.OpenAI(max_retries=0)  # reads OPENAI_BASE_URL and OPENAI_API_KEY


class City(BaseModel):
    name: Literal["Oslo", "Rome"]
    population: int = Field(ge=0, le=99)


class Lookup(BaseModel):
    """Return the weather in a city."""

    city: Literal["Oslo", "Rome"]


def answer(model):
    return client.responses.create(model=model, input="Hi").output_text


def structured(model):
    return client.responses.parse(model=model, input="Name a city.", text_format=City).output_parsed


def required_tool(model):
    tools = [openai.pydantic_function_tool(Lookup)["function"] | {"type": "function"}]
    response = client.responses.parse(model=model, input="The weather?", tools=tools, tool_choice="required")
    calls = [item for item in response.output if item.type == "function_call"]
    return Lookup.model_validate_json(calls[0].arguments)


# --8<-- [end:example]

import json  # noqa: E402
import time  # noqa: E402

import pytest  # noqa: E402

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def test_an_answer():
    assert answer("tiny/talker") == TEXT


def test_a_parsed_answer():
    assert structured("tiny/maker").name in ("Oslo", "Rome")
    options = {"model": "tiny/maker", "input": "Hi", "text_format": City}
    with client.responses.stream(**options) as stream:
        assert stream.get_final_response().output_parsed.name in ("Oslo", "Rome")


def test_a_required_tool():
    assert required_tool("tiny/maker").city in ("Oslo", "Rome")


def test_closing_a_stream_frees_its_place():
    def status():
        return client.get("/status", cast_to=object)

    before = status()["counters"]["cancelled"]
    stream = client.responses.create(model="tiny/endless", input="Hi", stream=True)
    next(stream)
    stream.close()
    for _ in range(500):
        now = status()
        if now["active"] == now["responses"] == 0 and now["counters"]["cancelled"] > before:
            return
        time.sleep(0.02)
    raise AssertionError(now)


def test_a_whole_response():
    response = client.responses.create(model="tiny/talker", input="Hi")
    assert (response.output_text, response.status) == (TEXT, "completed")
    assert response.usage.total_tokens > 10


def test_a_stream_gives_the_same_response():
    with client.responses.stream(model="tiny/talker", input="Hi") as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text == TEXT


def test_reasoning_is_an_item():
    output = client.responses.create(model="tiny/thinker", input="Hi", reasoning={"summary": "auto"}).output
    assert [item.type for item in output] == ["reasoning", "message"]
    assert output[0].summary[0].text == "Two and two."


def test_a_call_and_its_result():
    first = client.responses.create(model="tiny/caller", input="Weather?", tools=[WEATHER])
    [call] = [item for item in first.output if item.type == "function_call"]
    assert json.loads(call.arguments) == {"city": "Oslo"}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    second = client.responses.create(
        model="tiny/caller", input=[result], tools=[WEATHER], previous_response_id=first.id
    )
    assert second.previous_response_id == first.id


def test_stored_responses():
    response = client.responses.create(model="tiny/talker", input="Hi")
    assert client.responses.retrieve(response.id).output_text == TEXT
    assert client.responses.input_items.list(response.id).data[0].content[0].text == "Hi"
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_a_request_that_cannot_be_answered_is_the_sdks_error():
    with pytest.raises(openai.BadRequestError) as failed:
        client.responses.create(model="tiny/talker", input="Hi", tools=[{"type": "code_interpreter"}])
    assert failed.value.param == "tools[0].type"
