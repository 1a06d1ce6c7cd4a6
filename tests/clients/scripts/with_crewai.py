"""CrewAI. Run by the client's own pytest; nothing of ours can be imported here."""

# --8<-- [start:example]
import os
from typing import Literal

os.environ["CREWAI_DISABLE_TELEMETRY"] = os.environ["OTEL_SDK_DISABLED"] = "true"

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from pydantic import BaseModel, Field


class City(BaseModel):
    name: Literal["Oslo", "Rome"]
    population: int = Field(ge=0, le=99)


@tool("get_weather")
def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"rain in {city}"


def llm(name, **options):
    return LLM(model=name, provider="openai", base_url=os.environ["OPENAI_BASE_URL"], **options)


def run(name, tools=(), **options):
    agent = Agent(role="Reporter", goal="Report", backstory="Brief", llm=llm(name), tools=list(tools), max_iter=3)
    task = Task(description="What is the weather?", expected_output="One sentence", agent=agent, **options)
    return Crew(agents=[agent], tasks=[task]).kickoff()


# --8<-- [end:example]

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."


def test_an_answer():
    assert llm("tiny/talker").call("Hi") == TEXT
    assert run("tiny/talker").raw == TEXT


def test_structured_output():
    assert llm("tiny/maker", response_format=City).call("Name a city.").name in ("Oslo", "Rome")


def test_a_task_with_structured_output():
    assert run("tiny/maker", output_pydantic=City).pydantic.name in ("Oslo", "Rome")


def test_a_tool():
    assert run("tiny/tools", [get_weather]).raw == "It rains in Oslo."
