"""pydantic-ai: its output in all modes, and a tool. Run by the client's own pytest."""

from typing import Literal

import pytest
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.settings import ModelSettings


class City(BaseModel):
    name: Literal["Oslo", "Rome"]
    population: int = Field(ge=0, le=99)
    capital: bool | None


@pytest.mark.parametrize("output", [City, ToolOutput(City), NativeOutput(City)])
def test_output(output):
    agent = Agent(OpenAIChatModel("tiny/maker"), output_type=output, retries=0)
    result = agent.run_sync("A city?", model_settings=ModelSettings(max_tokens=300, seed=1))
    assert isinstance(result.output, City)


def test_prompted_output_is_an_object():
    agent = Agent(OpenAIChatModel("tiny/maker"), output_type=PromptedOutput(dict[str, int]), retries=2)
    try:
        assert isinstance(agent.run_sync("Numbers?", model_settings=ModelSettings(max_tokens=60)).output, dict)
    except Exception as error:  # a random model's object need not have numbers in it, or end in time
        assert "retries" in str(error) or "token" in str(error)
