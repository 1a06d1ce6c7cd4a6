"""ollama-python. Run by the client's own pytest; nothing of ours can be imported here."""

# --8<-- [start:example]
import os
from typing import Literal

import ollama
from pydantic import BaseModel

client = ollama.Client(host=os.environ["OPENAI_BASE_URL"].removesuffix("/v1"))


class City(BaseModel):
    name: Literal["Oslo", "Rome"]


def answer(model):
    return client.chat(model, [{"role": "user", "content": "Hi"}]).message.content


def structured(model):
    messages = [{"role": "user", "content": "Name a city."}]
    return City.model_validate_json(client.chat(model, messages, format=City.model_json_schema()).message.content)


def get_weather(city: str) -> str:
    """Return the weather in a city.

    Args:
        city: The name of the city.
    """
    return "rain"


def use_tool(model):
    messages = [{"role": "user", "content": "What is the weather?"}]
    message = client.chat(model, messages, tools=[get_weather]).message
    messages.append(message)
    for call in message.tool_calls:
        result = get_weather(**call.function.arguments)
        messages.append({"role": "tool", "content": result, "tool_name": call.function.name})
    return client.chat(model, messages, tools=[get_weather]).message.content


# --8<-- [end:example]

import json  # noqa: E402
import time  # noqa: E402
import urllib.request  # noqa: E402

import pytest  # noqa: E402

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."
HI = [{"role": "user", "content": "Hi"}]


def test_an_answer():
    assert answer("tiny/talker") == TEXT


def test_structured_output():
    assert structured("tiny/maker").name in ("Oslo", "Rome")
    whole = client.generate("tiny/maker", "A city?", format=City.model_json_schema()).response
    assert City.model_validate_json(whole)
    pieces = client.chat("tiny/maker", HI, format=City.model_json_schema(), stream=True)
    assert City.model_validate_json("".join(piece.message.content for piece in pieces))
    assert isinstance(json.loads(client.chat("tiny/person", HI, format="json").message.content), dict)


def test_a_tool():
    assert use_tool("tiny/tools") == "It rains in Oslo."


def test_closing_a_stream_frees_its_place():
    def status():
        with urllib.request.urlopen(os.environ["OPENAI_BASE_URL"] + "/status") as response:
            return json.load(response)

    before = status()["counters"]["cancelled"]
    stream = client.chat("tiny/endless", HI, stream=True)
    next(stream)
    stream.close()
    for _ in range(500):
        now = status()
        if now["active"] == now["responses"] == 0 and now["counters"]["cancelled"] > before:
            return
        time.sleep(0.02)
    raise AssertionError(now)


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


def test_vectors():
    response = client.embed("tiny/bert", ["the cat", "a dog"], keep_alive="5m")
    assert [len(vector) for vector in response.embeddings] == [32, 32]
    assert response.prompt_eval_count > 4
    alone = client.embeddings("tiny/bert", "the cat").embedding
    assert alone == pytest.approx(response.embeddings[0], abs=1e-5)
    assert client.show("tiny/bert").capabilities == ["embedding"]


def test_a_model_is_kept_and_unloaded():
    assert client.generate("tiny/person", keep_alive="10m").done_reason == "load"
    assert client.generate("tiny/person", keep_alive=0).done_reason == "unload"
    assert "tiny/person" not in {model.model for model in client.ps().models}


def test_downloads_are_off():
    with pytest.raises(ollama.ResponseError) as failed:
        client.pull("acme/model")
    assert failed.value.status_code == 403


def test_images_are_an_error():
    with pytest.raises(ollama.ResponseError) as failed:
        client.chat("tiny/talker", [{**HI[0], "images": [b"picture"]}])
    assert failed.value.status_code == 400
