"""The OpenAI Agents SDK, on Responses and on chat completions. Run by the client's own pytest."""

# --8<-- [start:example]
from typing import Literal

from agents import Agent, ModelSettings, Runner, function_tool, set_tracing_disabled
from agents.models.multi_provider import MultiProvider
from agents.run import RunConfig
from pydantic import BaseModel, Field

set_tracing_disabled(True)  # traces go to OpenAI


class City(BaseModel):
    name: Literal["Oslo", "Rome"]
    population: int = Field(ge=0, le=99)


@function_tool
def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"rain in {city}"


def config(use_responses=True):
    # Else the SDK takes what is before the "/" in a model's name for a provider.
    provider = MultiProvider(
        openai_prefix_mode="model_id", unknown_prefix_mode="model_id", openai_use_responses=use_responses
    )
    return RunConfig(model_provider=provider)


def run(agent, prompt="Hi", **options):
    return Runner.run_sync(agent, prompt, run_config=config(**options)).final_output


def answer(model, **options):
    return run(Agent(name="Keeper", instructions="Be brief.", model=model), **options)


def structured(model, **options):
    return run(Agent(name="Maker", model=model, output_type=City), "Name a city.", **options)


def use_tool(model, **options):
    return run(Agent(name="Reporter", model=model, tools=[get_weather]), "The weather?", **options)


# --8<-- [end:example]

import asyncio  # noqa: E402

import pytest  # noqa: E402

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."
APIS = pytest.mark.parametrize("use_responses", [True, False], ids=["responses", "chat"])


@APIS
def test_an_answer(use_responses):
    assert answer("tiny/talker", use_responses=use_responses) == TEXT


@APIS
def test_structured_output(use_responses):
    assert structured("tiny/maker", use_responses=use_responses).name in ("Oslo", "Rome")


@APIS
def test_a_strict_tool(use_responses):
    assert use_tool("tiny/tools", use_responses=use_responses) == "It rains in Oslo."


@APIS
def test_a_required_tool(use_responses):
    settings = ModelSettings(
        tool_choice="required", store=use_responses or None, verbosity="low" if use_responses else None
    )
    agent = Agent(
        name="Reporter",
        model="tiny/tools",
        tools=[get_weather],
        model_settings=settings,
        tool_use_behavior="stop_on_first_tool",
    )
    assert run(agent, use_responses=use_responses) == "rain in Oslo"


@APIS
def test_a_stream(use_responses):
    async def stream():
        agent = Agent(name="Reporter", model="tiny/tools", tools=[get_weather])
        result = Runner.run_streamed(agent, "Hi", run_config=config(use_responses))
        kinds = [event.name async for event in result.stream_events() if event.type == "run_item_stream_event"]
        return result.final_output, kinds

    # In the loop that run_sync uses: the SDK's HTTP client belongs to the first loop it is used in.
    text, kinds = asyncio.get_event_loop_policy().get_event_loop().run_until_complete(stream())
    assert text == "It rains in Oslo."
    assert kinds == ["tool_called", "tool_output", "message_output_created"]


def test_an_error():
    with pytest.raises(Exception, match="acme/missing"):
        answer("acme/missing")
