"""pydantic-ai, on chat completions and on Responses. Run by the client's own pytest."""

# --8<-- [start:example]
from typing import Literal

from pydantic import BaseModel, Field
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel


class City(BaseModel):
    name: Literal["Oslo", "Rome"]
    population: int = Field(ge=0, le=99)
    capital: bool | None


def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"rain in {city}"


def answer(name, model=OpenAIChatModel):
    return Agent(model(name)).run_sync("Hi").output  # reads OPENAI_BASE_URL and OPENAI_API_KEY


def structured(name, output_type=City, model=OpenAIChatModel):
    return Agent(model(name), output_type=output_type, retries=0).run_sync("Name a city.").output


def use_tool(name, model=OpenAIChatModel):
    return Agent(model(name), tools=[get_weather]).run_sync("What is the weather?").output


# --8<-- [end:example]

import asyncio  # noqa: E402

import pytest  # noqa: E402
from pydantic_ai import NativeOutput, PromptedOutput, ToolOutput  # noqa: E402
from pydantic_ai.exceptions import ModelHTTPError  # noqa: E402
from pydantic_ai.models.openai import OpenAIResponsesModel  # noqa: E402

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."
MODELS = pytest.mark.parametrize("model", [OpenAIChatModel, OpenAIResponsesModel])


@MODELS
def test_an_answer_and_a_stream(model):
    async def stream():
        async with Agent(model("tiny/talker")).run_stream("Hi") as run:
            return "".join([piece async for piece in run.stream_text(delta=True)])

    assert answer("tiny/talker", model) == asyncio.run(stream()) == TEXT


@MODELS
@pytest.mark.parametrize("output", [City, ToolOutput(City), NativeOutput(City)])
def test_output(output, model):
    assert structured("tiny/maker", output, model).name in ("Oslo", "Rome")


@MODELS
def test_prompted_output(model):
    class Person(BaseModel):
        name: str
        age: int

    assert structured("tiny/person", PromptedOutput(Person), model).age == 36


@MODELS
def test_a_tool(model):
    assert use_tool("tiny/tools", model) == "It rains in Oslo."


@pytest.mark.parametrize("model", [OpenAIChatModel])
def test_reasoning_is_a_part_of_its_own(model):
    parts = Agent(model("tiny/thinker")).run_sync("Hi").response.parts
    assert [(part.part_kind, part.content) for part in parts] == [("thinking", "Two and two."), ("text", "Four.")]


@MODELS
def test_an_error(model):
    with pytest.raises(ModelHTTPError) as failed:
        answer("acme/missing", model)
    assert failed.value.status_code == 404
