"""ollama-python. Run by the client's own pytest; nothing of ours can be imported here."""

import os

import ollama
import pytest

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."
HI = [{"role": "user", "content": "Hi"}]

client = ollama.Client(host=os.environ["OPENAI_BASE_URL"].removesuffix("/v1"))


def get_weather(city: str) -> str:
    """Return the weather in a city.

    Args:
        city: The name of the city.
    """
    return "rain"


def test_a_whole_chat():
    response = client.chat("tiny/talker", HI)
    assert (response.message.content, response.done_reason) == (TEXT, "stop")
    assert response.eval_count > 10


def test_a_streamed_chat():
    parts = list(client.chat("tiny/talker", HI, stream=True))
    assert "".join(part.message.content for part in parts) == TEXT
    assert parts[-1].done


def test_thinking():
    message = client.chat("tiny/thinker", HI, think=True).message
    assert (message.thinking, message.content) == ("Two and two.", "Four.")


def test_a_call_and_its_result():
    message = client.chat("tiny/caller", HI, tools=[get_weather]).message
    [call] = message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Oslo"})
    turns = [
        *HI,
        message,
        {"role": "tool", "content": get_weather(**call.function.arguments), "tool_name": "get_weather"},
    ]
    assert client.chat("tiny/caller", turns, tools=[get_weather]).message


def test_a_prompt():
    assert client.generate("tiny/talker", "Hi").response == TEXT


def test_listings():
    assert "tiny/talker" in {model.model for model in client.list().models}
    assert "completion" in client.show("tiny/talker").capabilities
    assert client.ps().models


def test_errors_are_the_sdks():
    with pytest.raises(ollama.ResponseError) as failed:
        client.chat("acme/missing", HI)
    assert failed.value.status_code == 404
