"""Haystack's OpenAIChatGenerator. Run by the client's own pytest; nothing of ours can be imported here."""

# --8<-- [start:example]
import os
from typing import Annotated, Literal

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import tool
from pydantic import BaseModel, ConfigDict, Field


class City(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: Literal["Oslo", "Rome"]
    population: int = Field(ge=0, le=99)


@tool
def get_weather(city: Annotated[str, "The name of a city"]) -> str:
    """Return the weather in a city."""
    return f"rain in {city}"


def generator(name, **options):
    return OpenAIChatGenerator(model=name, api_base_url=os.environ["OPENAI_BASE_URL"], **options)


def answer(name):
    return generator(name).run([ChatMessage.from_user("Hi")])["replies"][0].text


def structured(name):
    replies = generator(name, generation_kwargs={"response_format": City}).run([ChatMessage.from_user("A city?")])
    return City.model_validate_json(replies["replies"][0].text)


def use_tool(name):
    agent = Agent(chat_generator=generator(name), tools=[get_weather])
    return agent.run([ChatMessage.from_user("What is the weather?")])["last_message"].text


# --8<-- [end:example]

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."


def test_an_answer_and_a_stream():
    assert answer("tiny/talker") == TEXT
    pieces = []
    generator("tiny/talker", streaming_callback=pieces.append).run([ChatMessage.from_user("Hi")])
    assert "".join(piece.content for piece in pieces) == TEXT


def test_structured_output():
    assert structured("tiny/maker").name in ("Oslo", "Rome")


def test_a_tool():
    assert use_tool("tiny/tools") == "It rains in Oslo."


def test_a_required_tool():
    options = {"tool_choice": "required"}
    [reply] = generator("tiny/tools", tools=[get_weather], generation_kwargs=options).run(
        [ChatMessage.from_user("Hi")]
    )["replies"]
    assert [(call.tool_name, call.arguments) for call in reply.tool_calls] == [("get_weather", {"city": "Oslo"})]
