"""anthropic-sdk-python. Run by the client's own pytest; nothing of ours can be imported here."""

# --8<-- [start:example]
import os
from typing import Literal

import anthropic
from pydantic import BaseModel

# The Anthropic SDK adds /v1 itself.
base_url = os.environ["OPENAI_BASE_URL"].removesuffix("/v1")
client = anthropic.Anthropic(base_url=base_url, api_key=os.environ["OPENAI_API_KEY"], max_retries=0)


class City(BaseModel):
    name: Literal["Oslo", "Rome"]


def answer(model):
    messages = [{"role": "user", "content": "Hi"}]
    return client.messages.create(model=model, max_tokens=200, messages=messages).content[0].text


def structured(model):
    messages = [{"role": "user", "content": "Name a city."}]
    return client.messages.parse(model=model, max_tokens=200, messages=messages, output_format=City).parsed_output


def required_tool(model):
    tool = {"name": "name_city", "input_schema": City.model_json_schema(), "strict": True}
    messages = [{"role": "user", "content": "Name a city."}]
    message = client.messages.create(
        model=model, max_tokens=200, messages=messages, tools=[tool], tool_choice={"type": "any"}
    )
    return message.content[-1]


# --8<-- [end:example]

import json  # noqa: E402
import time  # noqa: E402
import urllib.request  # noqa: E402

import pytest  # noqa: E402

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."
HI = [{"role": "user", "content": "Hi"}]
WEATHER = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def create(model="tiny/talker", messages=HI, **options):
    return client.messages.create(model=model, messages=messages, max_tokens=options.pop("max_tokens", 200), **options)


def test_an_answer():
    assert answer("tiny/talker") == TEXT


def test_structured_output():
    assert structured("tiny/maker").name in ("Oslo", "Rome")


def test_a_required_tool():
    call = required_tool("tiny/maker")
    assert (call.type, call.name) == ("tool_use", "name_city")
    assert call.input["name"] in ("Oslo", "Rome")


def test_closing_a_stream_frees_its_place():
    def status():
        with urllib.request.urlopen(f"{base_url}/v1/status") as response:
            return json.load(response)

    before = status()["counters"]["cancelled"]
    stream = client.messages.create(model="tiny/endless", messages=HI, max_tokens=5000, stream=True)
    next(iter(stream))
    stream.close()
    for _ in range(500):
        now = status()
        if now["active"] == now["responses"] == 0 and now["counters"]["cancelled"] > before:
            return
        time.sleep(0.02)
    raise AssertionError(now)


def test_a_whole_message():
    message = create()
    assert (message.content[0].text, message.stop_reason) == (TEXT, "end_turn")


def test_a_stream_gives_the_same_message():
    with client.messages.stream(model="tiny/talker", messages=HI, max_tokens=200) as stream:
        assert "".join(stream.text_stream) == TEXT
        assert stream.get_final_message().content[0].text == TEXT


def test_thinking_is_a_block_and_goes_back():
    message = create("tiny/thinker", thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2048)
    assert [block.type for block in message.content] == ["thinking", "text"]
    turns = [*HI, {"role": "assistant", "content": message.content}, {"role": "user", "content": "More"}]
    assert create("tiny/thinker", turns).stop_reason == "end_turn"


def test_a_call_and_its_result():
    with client.messages.stream(model="tiny/tools", messages=HI, max_tokens=200, tools=[WEATHER]) as stream:
        message = stream.get_final_message()
    [call] = [block for block in message.content if block.type == "tool_use"]
    assert (message.stop_reason, call.input) == ("tool_use", {"city": "Oslo"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
    turns = [*HI, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    assert create("tiny/tools", turns, tools=[WEATHER]).content[0].text == "It rains in Oslo."


def test_tokens_are_counted():
    usage = create(max_tokens=1).usage
    counted = client.messages.count_tokens(model="tiny/talker", messages=HI).input_tokens
    assert counted == usage.input_tokens + usage.cache_read_input_tokens


def test_errors_are_the_sdks():
    with pytest.raises(anthropic.BadRequestError):
        create(max_tokens=0)
    with pytest.raises(anthropic.NotFoundError):
        create("acme/missing")
