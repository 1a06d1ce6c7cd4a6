"""Strands Agents. Run by the client's own pytest; nothing of ours can be imported here."""

# --8<-- [start:example]
from typing import Literal

from pydantic import BaseModel, Field
from strands import Agent, tool
from strands.models.openai import OpenAIModel


class City(BaseModel):
    """A city."""

    name: Literal["Oslo", "Rome"]
    population: int = Field(ge=0, le=99)


@tool
def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"rain in {city}"


def agent(name, **options):
    # The OpenAI SDK underneath reads OPENAI_BASE_URL and OPENAI_API_KEY.
    return Agent(model=OpenAIModel(model_id=name), callback_handler=None, **options)


def answer(name):
    return str(agent(name)("Hi")).strip()


def use_tool(name):
    return str(agent(name, tools=[get_weather])("What is the weather?")).strip()


def structured(name):
    return agent(name)("Name a city.", structured_output_model=City).structured_output


# --8<-- [end:example]

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."


def test_an_answer():
    assert answer("tiny/talker") == TEXT


def test_a_tool():
    assert use_tool("tiny/tools") == "It rains in Oslo."


def test_structured_output():
    """It offers the model a tool for the answer, then requires that tool."""
    assert structured("tiny/maker").name in ("Oslo", "Rome")


def test_structured_output_by_a_schema():
    assert agent("tiny/maker").structured_output(City, "Name a city.").name in ("Oslo", "Rome")
