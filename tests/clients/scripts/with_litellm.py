"""LiteLLM. Run by the client's own pytest; nothing of ours can be imported here."""

# --8<-- [start:example]
import os
from typing import Literal

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for prices

import litellm
from pydantic import BaseModel


class City(BaseModel):
    name: Literal["Oslo", "Rome"]


def answer(model):
    return litellm.completion(model=f"openai/{model}", messages=[{"role": "user", "content": "Hi"}])


def structured(model):
    messages = [{"role": "user", "content": "Name a city."}]
    found = litellm.completion(model=f"openai/{model}", messages=messages, response_format=City)
    return City.model_validate_json(found.choices[0].message.content)


def required_tool(model):
    tool = {"type": "function", "function": {"name": "name_city", "parameters": City.model_json_schema()}}
    messages = [{"role": "user", "content": "Name a city."}]
    found = litellm.completion(model=f"openai/{model}", messages=messages, tools=[tool], tool_choice="required")
    return found.choices[0].message.tool_calls[0].function


# --8<-- [end:example]

import asyncio  # noqa: E402
import json  # noqa: E402

import pytest  # noqa: E402

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."
HI = [{"role": "user", "content": "Hi"}]
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def chat(model="tiny/talker", messages=HI, **options):
    return litellm.completion(model=f"openai/{model}", messages=messages, num_retries=0, max_retries=0, **options)


def test_the_example():
    assert answer("tiny/talker").choices[0].message.content == TEXT
    assert structured("tiny/maker").name in ("Oslo", "Rome")
    call = required_tool("tiny/maker")
    assert call.name == "name_city" and json.loads(call.arguments)["name"] in ("Oslo", "Rome")


def test_responses():
    assert litellm.responses(model="openai/tiny/talker", input="Hi").output[0].content[0].text == TEXT


def test_a_whole_answer():
    answer = chat()
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens > 10


def test_a_stream():
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == TEXT
    assert [c.usage.total_tokens for c in chunks if getattr(c, "usage", None)] == [chat().usage.total_tokens]
    assert litellm.stream_chunk_builder(chunks).choices[0].message.content == TEXT


def test_async():
    answer = asyncio.run(litellm.acompletion(model="openai/tiny/talker", messages=HI))
    assert answer.choices[0].message.content == TEXT


def test_reasoning_stands_beside_the_answer_once():
    message = chat("tiny/thinker").choices[0].message
    assert (message.content, message.reasoning_content) == ("Four.", "Two and two.")
    deltas = [chunk.choices[0].delta for chunk in chat("tiny/thinker", stream=True)]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "Two and two."
    assert "".join(delta.content or "" for delta in deltas) == "Four."


def test_tools():
    answer = chat("tiny/caller", tools=[WEATHER], tool_choice="auto")
    [call] = answer.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city": "Oslo"}')
    assert answer.choices[0].finish_reason == "tool_calls"
    turns = [*HI, answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "-3 °C"}]
    assert chat("tiny/caller", turns, tools=[WEATHER]).choices[0].message.tool_calls
    joined = litellm.stream_chunk_builder(list(chat("tiny/caller", tools=[WEATHER], stream=True)))
    assert joined.choices[0].message.tool_calls[0].function.arguments == '{"city": "Oslo"}'


def test_texts():
    answer = litellm.text_completion(model="text-completion-openai/tiny/endless", prompt="Once", max_tokens=4)
    assert answer.usage.completion_tokens == 4


def test_errors_have_their_types():
    with pytest.raises(litellm.NotFoundError):
        chat("nobody/nothing")
    with pytest.raises(litellm.BadRequestError):
        chat(temperature=3)
    with pytest.raises(litellm.ContextWindowExceededError):
        chat("tiny/narrow", [{"role": "user", "content": "x" * 500}])
