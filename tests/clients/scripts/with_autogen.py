"""AutoGen. Run by the client's own pytest; nothing of ours can be imported here."""

# --8<-- [start:example]
import asyncio
import os
from typing import Literal

from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import UserMessage
from autogen_ext.models.openai import OpenAIChatCompletionClient
from pydantic import BaseModel, Field


class City(BaseModel):
    name: Literal["Oslo", "Rome"]
    population: int = Field(ge=0, le=99)


async def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"rain in {city}"


def client(name, **options):
    return OpenAIChatCompletionClient(
        model=name,
        base_url=os.environ["OPENAI_BASE_URL"],
        model_info={
            "vision": False,
            "function_calling": True,
            "json_output": True,
            "structured_output": True,
            "family": "unknown",
        },
        **options,
    )


def use_tool(name):
    agent = AssistantAgent("reporter", client(name), tools=[get_weather], reflect_on_tool_use=True)
    return asyncio.run(agent.run(task="What is the weather?")).messages[-1].content


def structured(name):
    agent = AssistantAgent("maker", client(name), output_content_type=City)
    return asyncio.run(agent.run(task="Name a city.")).messages[-1].content


# --8<-- [end:example]

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."
HI = [UserMessage(content="Hi", source="user")]


def test_an_answer_and_a_stream():
    async def run():
        whole = await client("tiny/talker").create(HI)
        *pieces, last = [piece async for piece in client("tiny/talker").create_stream(HI)]
        return whole.content, "".join(pieces), last.content

    assert asyncio.run(run()) == (TEXT, TEXT, TEXT)


def test_structured_output():
    assert structured("tiny/maker").name in ("Oslo", "Rome")


def test_a_tool():
    assert use_tool("tiny/tools") == "It rains in Oslo."


def test_a_required_tool():
    from autogen_core.tools import FunctionTool

    tools = [FunctionTool(get_weather, description="The weather", strict=True)]
    answer = asyncio.run(client("tiny/tools").create(HI, tools=tools, tool_choice="required"))
    assert [(call.name, call.arguments) for call in answer.content] == [("get_weather", '{"city": "Oslo"}')]
