"""LangChain's ChatOpenAI and OpenAI. Run by the client's own pytest; nothing of ours can be imported here."""

import asyncio
from typing import Literal

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel, Field

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."


def chat(model="tiny/talker", **options):
    return ChatOpenAI(model=model, max_retries=0, **options)


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return "-3 °C"


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


@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
def test_structured_output(method):
    class Person(BaseModel):
        name: Literal["Ada", "Bob"]
        age: int = Field(ge=0, le=150)

    model = chat("tiny/maker", max_tokens=200, seed=1)
    if method == "json_mode":
        assert isinstance(model.with_structured_output({"title": "any"}, method=method).invoke("JSON, please"), dict)
    else:
        assert model.with_structured_output(Person, method=method).invoke("Hi").name in ("Ada", "Bob")


def test_a_required_tool():
    answer = chat("tiny/maker", max_tokens=300, seed=1).bind_tools([get_weather], tool_choice="any").invoke("Hi")
    assert answer.tool_calls or answer.response_metadata["finish_reason"] == "length"
