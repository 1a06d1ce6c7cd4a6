"""LangChain's ChatOpenAI and OpenAI. Run by the client's own pytest; nothing of ours can be imported here."""

# --8<-- [start:example]
from typing import Literal

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field


class City(BaseModel):
    """A city."""

    name: Literal["Oslo", "Rome"]
    population: int = Field(ge=0, le=99)


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return "-3 °C"


def chat(model="tiny/talker", **options):
    return ChatOpenAI(model=model, max_retries=0, **options)  # reads OPENAI_BASE_URL and OPENAI_API_KEY


def structured(model, method="json_schema"):
    return chat(model).with_structured_output(City, method=method).invoke("Name a city.")


def use_tool(model, **options):
    agent = create_agent(chat(model, **options), tools=[get_weather])
    return agent.invoke({"messages": [("user", "What is the weather?")]})["messages"][-1].text


# --8<-- [end:example]

import asyncio  # noqa: E402

import pytest  # noqa: E402
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy  # noqa: E402
from langchain_core.messages import HumanMessage, ToolMessage  # noqa: E402
from langchain_openai import OpenAI  # noqa: E402

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."


def test_invoke():
    answer = chat().invoke("Hi")
    assert answer.text == TEXT
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata["total_tokens"] == sum(
        answer.usage_metadata[name] for name in ("input_tokens", "output_tokens")
    )


def test_stream():
    pieces = list(chat(stream_usage=True).stream("Hi"))
    assert "".join(piece.text for piece in pieces) == TEXT
    assert len(pieces) > 5
    assert [p.usage_metadata for p in pieces if p.usage_metadata] == [chat().invoke("Hi").usage_metadata]


def test_batch_and_async():
    assert [answer.text for answer in chat().batch(["a", "b", "c"])] == [TEXT] * 3
    assert asyncio.run(chat().ainvoke("Hi")).text == TEXT


def test_options():
    endless = chat("tiny/endless", max_tokens=6, temperature=0).invoke("Hi")
    assert endless.response_metadata["finish_reason"] == "length"
    assert chat(stop=["ça"]).invoke("Hi").text == "The keeper said: «"
    scored = chat(logprobs=True, top_logprobs=2).invoke("Hi")
    assert len(scored.response_metadata["logprobs"]["content"]) > 5


def test_tools():
    bound = chat("tiny/caller").bind_tools([get_weather])
    answer = bound.invoke("Hi")
    [call] = answer.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Oslo"})
    turns = [HumanMessage("Hi"), answer, ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])]
    assert bound.invoke(turns).tool_calls
    streamed = None
    for piece in bound.stream("Hi"):
        streamed = piece if streamed is None else streamed + piece
    assert streamed.tool_calls[0]["args"] == {"city": "Oslo"}


def test_texts():
    assert len(OpenAI(model="tiny/endless", max_tokens=8, max_retries=0).invoke("Once")) > 8
    assert "".join(OpenAI(model="tiny/endless", max_tokens=8, max_retries=0).stream("Once"))


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(method):
    assert structured("tiny/maker", method).name in ("Oslo", "Rome")
    *_, last = chat("tiny/maker").with_structured_output(City, method=method).stream("Name a city.")
    assert last.name in ("Oslo", "Rome")


def test_structured_output_in_json_mode():
    class Person(BaseModel):
        name: str
        age: int

    assert chat("tiny/person").with_structured_output(Person, method="json_mode").invoke("JSON, please").age == 36


@pytest.mark.parametrize("options", [{}, {"use_responses_api": True}], ids=["chat", "responses"])
def test_an_agent_with_a_tool(options):
    assert use_tool("tiny/tools", **options) == "It rains in Oslo."


@pytest.mark.parametrize("strategy", [ProviderStrategy, ToolStrategy])
def test_an_agent_with_structured_output(strategy):
    agent = create_agent(chat("tiny/maker"), tools=[], response_format=strategy(City))
    assert agent.invoke({"messages": [("user", "A city?")]})["structured_response"].name in ("Oslo", "Rome")


def test_responses():
    responses = chat(use_responses_api=True)
    assert responses.invoke("Hi").text == TEXT
    assert "".join(piece.text for piece in responses.stream("Hi")) == TEXT
    parsed = chat("tiny/maker", use_responses_api=True).with_structured_output(City).invoke("A city?")
    assert parsed.name in ("Oslo", "Rome")


def test_a_required_tool():
    answer = chat("tiny/maker", max_tokens=300, seed=1).bind_tools([get_weather], tool_choice="any").invoke("Hi")
    assert answer.tool_calls or answer.response_metadata["finish_reason"] == "length"
