"""Google's Agent Development Kit, through LiteLLM. Run by the client's own pytest."""

# --8<-- [start:example]
import asyncio
import os
from typing import Literal

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else LiteLLM asks the network for prices

from google.adk.agents import LlmAgent
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
from pydantic import BaseModel, Field


class City(BaseModel):
    name: Literal["Oslo", "Rome"]
    population: int = Field(ge=0, le=99)


def get_weather(city: str) -> dict[str, str]:
    """Return the weather in a city."""
    return {"weather": f"rain in {city}"}


async def run(agent, prompt="What is the weather?"):
    events = await InMemoryRunner(agent=agent, app_name="example").run_debug(prompt, quiet=True)
    return [part for event in events for part in (event.content.parts if event.content else [])]


def answer(name):
    return asyncio.run(run(LlmAgent(name="keeper", model=LiteLlm(model=f"openai/{name}"))))


def use_tool(name):
    return asyncio.run(run(LlmAgent(name="reporter", model=LiteLlm(model=f"openai/{name}"), tools=[get_weather])))


def structured(name):
    agent = LlmAgent(name="maker", model=LiteLlm(model=f"openai/{name}"), output_schema=City)
    return City.model_validate_json(asyncio.run(run(agent))[-1].text)


# --8<-- [end:example]

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."


def test_an_answer():
    assert answer("tiny/talker")[-1].text == TEXT


def test_a_tool():
    call, result, text = use_tool("tiny/tools")
    assert (call.function_call.name, call.function_call.args) == ("get_weather", {"city": "Oslo"})
    assert result.function_response.response == {"weather": "rain in Oslo"}
    assert text.text == "It rains in Oslo."


def test_structured_output():
    assert structured("tiny/maker").name in ("Oslo", "Rome")
