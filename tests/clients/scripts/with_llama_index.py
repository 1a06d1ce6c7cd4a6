"""LlamaIndex's OpenAILike. Run by the client's own pytest; nothing of ours can be imported here."""

# --8<-- [start:example]
import asyncio
import os
from typing import Literal

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, Field


class City(BaseModel):
    """A city."""

    name: Literal["Oslo", "Rome"]
    population: int = Field(ge=0, le=99)


def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"rain in {city}"


def model(name, **options):
    return OpenAILike(
        model=name,
        api_base=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
        is_chat_model=True,
        is_function_calling_model=options.pop("tools", True),
        max_retries=0,
        **options,
    )


def structured(name, **options):
    return model(name, **options).as_structured_llm(City).complete("Name a city.").raw


def use_tool(name):
    async def run():
        return await FunctionAgent(tools=[get_weather], llm=model(name)).run("What is the weather?")

    return str(asyncio.run(run()))


# --8<-- [end:example]

import pytest  # noqa: E402

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."


def test_an_answer_and_a_stream():
    assert model("tiny/talker").complete("Hi").text == TEXT
    assert [*model("tiny/talker").stream_complete("Hi")][-1].text == TEXT


@pytest.mark.parametrize("options", [{}, {"should_use_structured_outputs": True}])
def test_structured_output(options):
    """By a required tool, and by a schema."""
    assert structured("tiny/maker", **options).name in ("Oslo", "Rome")


def test_a_tool():
    assert use_tool("tiny/tools") == "It rains in Oslo."


def test_a_required_tool():
    from llama_index.core.tools import FunctionTool

    answer = model("tiny/tools").chat_with_tools([FunctionTool.from_defaults(get_weather)], "Hi", tool_required=True)
    [call] = model("tiny/tools").get_tool_calls_from_response(answer)
    assert (call.tool_name, call.tool_kwargs) == ("get_weather", {"city": "Oslo"})
