"""anthropic-sdk-python. Run by the client's own pytest; nothing of ours can be imported here."""

import os

import anthropic
import pytest

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."
HI = [{"role": "user", "content": "Hi"}]
WEATHER = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}

client = anthropic.Anthropic(base_url=os.environ["OPENAI_BASE_URL"].removesuffix("/v1"), api_key="none", max_retries=0)


def create(model="tiny/talker", messages=HI, **options):
    return client.messages.create(model=model, messages=messages, max_tokens=options.pop("max_tokens", 200), **options)


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
    with client.messages.stream(model="tiny/caller", messages=HI, max_tokens=200, tools=[WEATHER]) as stream:
        message = stream.get_final_message()
    [call] = [block for block in message.content if block.type == "tool_use"]
    assert (message.stop_reason, call.input) == ("tool_use", {"city": "Oslo"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
    turns = [*HI, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    assert create("tiny/caller", turns, tools=[WEATHER]).content


def test_tokens_are_counted():
    usage = create(max_tokens=1).usage
    counted = client.messages.count_tokens(model="tiny/talker", messages=HI).input_tokens
    assert counted == usage.input_tokens + usage.cache_read_input_tokens


def test_errors_are_the_sdks():
    with pytest.raises(anthropic.BadRequestError):
        create(max_tokens=0)
    with pytest.raises(anthropic.NotFoundError):
        create("acme/missing")
