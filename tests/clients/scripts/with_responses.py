"""openai-python's Responses API and the OpenAI Agents SDK. Run by the client's own pytest."""

import asyncio
import json

import openai
import pytest
from agents import Agent, ModelSettings, Runner, function_tool, set_tracing_disabled

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}

set_tracing_disabled(True)
client = openai.OpenAI()


def test_a_whole_response():
    response = client.responses.create(model="tiny/talker", input="Hi")
    assert (response.output_text, response.status) == (TEXT, "completed")
    assert response.usage.total_tokens > 10


def test_a_stream_gives_the_same_response():
    with client.responses.stream(model="tiny/talker", input="Hi") as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text == TEXT


def test_reasoning_is_an_item():
    output = client.responses.create(model="tiny/thinker", input="Hi", reasoning={"summary": "auto"}).output
    assert [item.type for item in output] == ["reasoning", "message"]
    assert output[0].summary[0].text == "Two and two."


def test_a_call_and_its_result():
    first = client.responses.create(model="tiny/caller", input="Weather?", tools=[WEATHER])
    [call] = [item for item in first.output if item.type == "function_call"]
    assert json.loads(call.arguments) == {"city": "Oslo"}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    second = client.responses.create(
        model="tiny/caller", input=[result], tools=[WEATHER], previous_response_id=first.id
    )
    assert second.previous_response_id == first.id


def test_stored_responses():
    response = client.responses.create(model="tiny/talker", input="Hi")
    assert client.responses.retrieve(response.id).output_text == TEXT
    assert client.responses.input_items.list(response.id).data[0].content[0].text == "Hi"
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_a_request_that_cannot_be_answered_is_the_sdks_error():
    with pytest.raises(openai.BadRequestError) as failed:
        client.responses.create(model="tiny/talker", input="Hi", tools=[{"type": "code_interpreter"}])
    assert failed.value.param == "tools[0].type"


def test_an_agent_answers_streams_and_calls_its_tool():
    """In one event loop: the SDK's default client belongs to the first one it is used in."""
    called = []

    @function_tool(strict_mode=False)  # the scripted model cannot follow a grammar that orders its header otherwise
    def get_weather(city: str) -> str:
        """Return the weather in a city."""
        called.append(city)
        return "rain"

    # The SDK routes by the first prefix of a model's name.
    keeper = Agent(name="Keeper", instructions="Be brief.", model="openai/tiny/talker")
    caller = Agent(
        name="Caller",
        model="openai/tiny/caller",
        tools=[get_weather],
        model_settings=ModelSettings(store=True, verbosity="low"),
        tool_use_behavior="stop_on_first_tool",
    )

    async def run():
        assert (await Runner.run(keeper, "Hi")).final_output == TEXT
        result = Runner.run_streamed(keeper, "Hi")
        async for _ in result.stream_events():
            pass
        assert result.final_output == TEXT
        assert (await Runner.run(caller, "Weather?")).final_output == "rain"

    asyncio.run(run())
    assert called == ["Oslo"]
