"""Semantic Kernel. Run by the client's own pytest; nothing of ours can be imported here."""

# --8<-- [start:example]
import asyncio
from typing import Literal

from openai import AsyncOpenAI
from pydantic import BaseModel, Field
from semantic_kernel import Kernel
from semantic_kernel.connectors.ai import FunctionChoiceBehavior
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion, OpenAIChatPromptExecutionSettings
from semantic_kernel.contents import ChatHistory
from semantic_kernel.functions import kernel_function


class City(BaseModel):
    name: Literal["Oslo", "Rome"]
    population: int = Field(ge=0, le=99)


class Weather:
    @kernel_function(name="get_weather", description="Return the weather in a city.")
    def get_weather(self, city: str) -> str:
        return f"rain in {city}"


def ask(name, prompt="Hi", kernel=None, **settings):
    async def run():
        # The OpenAI SDK reads OPENAI_BASE_URL and OPENAI_API_KEY.
        service = OpenAIChatCompletion(ai_model_id=name, async_client=AsyncOpenAI())
        history = ChatHistory()
        history.add_user_message(prompt)
        options = OpenAIChatPromptExecutionSettings(**settings)
        return await service.get_chat_message_content(history, options, kernel=kernel)

    return str(asyncio.run(run()))


def structured(name):
    return City.model_validate_json(ask(name, "Name a city.", response_format=City))


def use_tool(name):
    kernel = Kernel()
    kernel.add_plugin(Weather(), plugin_name="weather")
    return ask(name, "What is the weather?", kernel, function_choice_behavior=FunctionChoiceBehavior.Auto())


# --8<-- [end:example]

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."


def test_an_answer_and_a_stream():
    async def stream():
        service = OpenAIChatCompletion(ai_model_id="tiny/talker", async_client=AsyncOpenAI())
        history = ChatHistory()
        history.add_user_message("Hi")
        options = OpenAIChatPromptExecutionSettings()
        return "".join([str(p) async for p in service.get_streaming_chat_message_content(history, options)])

    assert ask("tiny/talker") == asyncio.run(stream()) == TEXT


def test_structured_output():
    assert structured("tiny/maker").name in ("Oslo", "Rome")


def test_a_tool():
    """Its functions are named after their plugin."""
    assert use_tool("tiny/plugin_tools") == "It rains in Oslo."
