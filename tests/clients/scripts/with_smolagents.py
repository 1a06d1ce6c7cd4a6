"""smolagents: a CodeAgent and a ToolCallingAgent. Run by the client's own pytest."""

# --8<-- [start:example]
import os

from smolagents import CodeAgent, OpenAIModel, ToolCallingAgent, tool


@tool
def get_weather(city: str) -> str:
    """Return the weather in a city.

    Args:
        city: The name of a city.
    """
    return "rain"


def model(name, **options):
    return OpenAIModel(name, api_base=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"], **options)


def write_code(name):
    return CodeAgent(tools=[get_weather], model=model(name), max_steps=2, verbosity_level=0).run("What is the weather?")


def call_tools(name):
    one_at_a_time = model(name, parallel_tool_calls=False)  # smolagents refuses a final answer with another call
    agent = ToolCallingAgent(tools=[get_weather], model=one_at_a_time, max_steps=2, verbosity_level=0)
    return agent.run("What is the weather?", return_full_result=True)


# --8<-- [end:example]

from smolagents import ChatMessage, MessageRole  # noqa: E402

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."
HI = [ChatMessage(role=MessageRole.USER, content=[{"type": "text", "text": "Hi"}])]


def test_an_answer_and_a_stream():
    assert model("tiny/talker").generate(HI).content == TEXT
    assert "".join(delta.content or "" for delta in model("tiny/talker").generate_stream(HI)) == TEXT


def test_an_agent_that_writes_code():
    assert write_code("tiny/coder") == "rain in Oslo"


def test_an_agent_that_has_to_call_a_tool_with_every_step():
    steps = [step for step in call_tools("tiny/maker").steps if step.get("tool_calls")]
    called = [call["function"] for step in steps for call in step["tool_calls"]]
    assert called and {call["name"] for call in called} <= {"get_weather", "final_answer"}
    assert all(set(call["arguments"]) in ({"city"}, {"answer"}) for call in called)


def test_structured_output():
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["Oslo", "Rome"]}},
        "required": ["name"],
        "additionalProperties": False,
    }
    format = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": True}}
    assert model("tiny/maker").generate(HI, response_format=format).content in ('{"name":"Oslo"}', '{"name":"Rome"}')
