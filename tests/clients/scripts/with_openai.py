"""The OpenAI SDK for Python. Run by the client's own pytest; nothing of ours can be imported here."""

# --8<-- [start:example]
from typing import Literal

import openai
from pydantic import BaseModel, Field

client = openai.OpenAI(max_retries=0)  # reads OPENAI_BASE_URL and OPENAI_API_KEY


class City(BaseModel):
    name: Literal["Oslo", "Rome"]
    population: int = Field(ge=0, le=99)


class Lookup(BaseModel):
    """Return the weather in a city."""

    city: Literal["Oslo", "Rome"]


def answer(model):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}])


def structured(model):
    messages = [{"role": "user", "content": "Name a city."}]
    parsed = client.chat.completions.parse(model=model, messages=messages, response_format=City)
    return parsed.choices[0].message.parsed


def required_tool(model):
    messages = [{"role": "user", "content": "What is the weather?"}]
    tools = [openai.pydantic_function_tool(Lookup)]
    parsed = client.chat.completions.parse(model=model, messages=messages, tools=tools, tool_choice="required")
    return parsed.choices[0].message.tool_calls[0].function.parsed_arguments


# --8<-- [end:example]

import asyncio  # noqa: E402
import time  # noqa: E402

import pytest  # noqa: E402

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."
HI = [{"role": "user", "content": "Hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def chat(model="tiny/talker", messages=HI, **options):
    return client.chat.completions.create(model=model, messages=messages, **options)


def status():
    return client.get("/status", cast_to=object)


def test_models_are_listed_and_told_of_one_by_one():
    listed = {model.id: model for model in client.models.list()}
    assert {"tiny/talker", "tiny/endless", "tiny/thinker"} <= set(listed)
    one = client.models.retrieve("tiny/talker")
    assert (one.id, one.object, one.owned_by) == ("tiny/talker", "model", "tiny")
    assert one.created == listed["tiny/talker"].created
    assert one.model_extra["context_length"] == 2048


def test_a_whole_answer():
    assert answer("tiny/talker").choices[0].message.content == TEXT


def test_the_fields_of_a_whole_answer():
    answer = chat()
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "tiny/talker"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id


def test_a_stream_says_the_same():
    chunks = list(chat(stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_tells_its_usage_when_asked():
    *chunks, last = chat(stream=True, stream_options={"include_usage": True})
    assert last.choices == [] and last.usage == chat().usage
    assert all(chunk.usage is None for chunk in chunks)


def test_the_stream_helper():
    with client.chat.completions.stream(
        model="tiny/talker", messages=HI, stream_options={"include_usage": True}
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert kinds.count("content.delta") > 5 and "content.done" in kinds
    assert final.choices[0].message.content == TEXT
    assert final.usage.completion_tokens > 5


def test_limits_and_stops():
    short = chat("tiny/endless", max_tokens=7)
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 7)
    assert chat("tiny/endless", max_completion_tokens=5, max_tokens=9).usage.completion_tokens == 5
    stopped = chat(stop=["ça", "nowhere"])
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("The keeper said: «", "stop")
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model="tiny/endless", messages=HI, max_tokens=3)


def test_a_seed_repeats():
    def say(seed):
        return chat("tiny/random", seed=seed, temperature=1.0, max_tokens=20).choices[0].message.content

    assert say(1) == say(1) != say(2)


def test_logprobs():
    choice = chat(logprobs=True, top_logprobs=2).choices[0]
    assert b"".join(bytes(token.bytes) for token in choice.logprobs.content) == TEXT.encode()
    for token in choice.logprobs.content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 2
        assert token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob
    chunks = chat(logprobs=True, stream=True)
    streamed = [token for chunk in chunks if (said := chunk.choices[0].logprobs) for token in said.content]
    assert [token.token for token in streamed] == [token.token for token in choice.logprobs.content]


def test_several_choices():
    answer = chat("tiny/random", n=3, seed=4, temperature=1.0, max_tokens=12)
    texts = [choice.message.content for choice in answer.choices]
    assert len(set(texts)) == 3
    assert 12 < answer.usage.completion_tokens <= 36
    streamed = ["", "", ""]
    for chunk in chat("tiny/random", n=3, seed=4, temperature=1.0, max_tokens=12, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == texts


def test_tools():
    answer = chat("tiny/caller", tools=[WEATHER])
    [call] = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None
    assert (call.type, call.function.name, call.function.arguments) == ("function", "get_weather", '{"city": "Oslo"}')
    turns = [*HI, answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "-3 °C"}]
    assert chat("tiny/caller", turns, tools=[WEATHER], tool_choice="auto").choices[0].message.tool_calls
    none = chat("tiny/caller", tools=[WEATHER], tool_choice="none")
    assert none.usage.prompt_tokens < answer.usage.prompt_tokens


def test_tools_in_a_stream():
    with client.chat.completions.stream(model="tiny/caller", messages=HI, tools=[WEATHER]) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds
    [call] = final.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city": "Oslo"}')
    assert call.id


def test_reasoning_stands_beside_the_answer():
    answer = chat("tiny/thinker")
    assert answer.choices[0].message.content == "Four."
    assert answer.choices[0].message.model_extra["reasoning_content"] == "Two and two."
    assert answer.choices[0].message.model_extra["reasoning"] == "Two and two."
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0
    deltas = [chunk.choices[0].delta for chunk in chat("tiny/thinker", stream=True)]
    assert "".join(delta.content or "" for delta in deltas) == "Four."
    assert "".join(delta.model_extra.get("reasoning_content", "") for delta in deltas) == "Two and two."
    # What the SDK gives back for the next turn is taken.
    assert chat("tiny/thinker", [*HI, answer.choices[0].message, *HI]).choices[0].message.content == "Four."


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_is_not_here_is_a_not_found_error(stream):
    with pytest.raises(openai.NotFoundError) as caught:
        chat("nobody/nothing", stream=stream)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert caught.value.request_id
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody/nothing")


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"n": 0}, "n"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "nobody", "content": "Hi"}]}, "messages[0].role"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
def test_what_cannot_be_done_is_a_bad_request_that_names_the_field(options, param):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(**options)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_a_parsed_answer():
    assert structured("tiny/maker").name in ("Oslo", "Rome")
    options = {"model": "tiny/maker", "messages": HI, "response_format": City, "seed": 1}
    parsed = client.chat.completions.parse(**options)
    with client.chat.completions.stream(**options) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == parsed.choices[0].message.parsed


def test_parsed_arguments():
    assert required_tool("tiny/maker").city in ("Oslo", "Rome")
    tools = [openai.pydantic_function_tool(Lookup, name="get_weather")]
    auto = client.chat.completions.parse(model="tiny/tools", messages=HI, tools=tools).choices[0].message
    assert auto.tool_calls[0].function.parsed_arguments == Lookup(city="Oslo")


def test_a_tool_loop():
    first = chat("tiny/tools", tools=[WEATHER]).choices[0].message
    result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "rain"}
    assert chat("tiny/tools", [*HI, first, result], tools=[WEATHER]).choices[0].message.content == "It rains in Oslo."


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_required_tool(choice):
    answer = chat("tiny/maker", tools=[WEATHER], tool_choice=choice, max_tokens=300, seed=1).choices[0]
    assert answer.finish_reason in ("tool_calls", "length")


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_does_not_fit_is_told_with_both_numbers(stream):
    with pytest.raises(openai.BadRequestError) as caught:
        chat("tiny/narrow", [{"role": "user", "content": "x" * 500}], stream=stream)
    assert caught.value.code == "context_length_exceeded"
    assert "128" in caught.value.message and "5" in caught.value.message


def test_raw_and_streaming_responses():
    raw = client.chat.completions.with_raw_response.create(
        model="tiny/talker", messages=HI, extra_headers={"x-request-id": "mine-1"}
    )
    assert raw.headers["x-request-id"] == raw.request_id == "mine-1"
    assert raw.parse().choices[0].message.content == TEXT
    with client.chat.completions.with_streaming_response.create(
        model="tiny/talker", messages=HI, stream=True
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


def test_texts():
    assert client.completions.create(model="tiny/talker", prompt="Once").usage.completion_tokens > 5
    several = client.completions.create(model="tiny/endless", prompt=["a", "b"], max_tokens=4, echo=True)
    assert [choice.text[0] for choice in several.choices] == ["a", "b"]
    default = client.completions.create(model="tiny/endless", prompt="Once")
    assert (default.usage.completion_tokens, default.choices[0].finish_reason) == (16, "length")
    tokens = client.completions.create(model="tiny/random", prompt=list(b"Once"), temperature=0, max_tokens=4)
    text = client.completions.create(model="tiny/random", prompt="Once", temperature=0, max_tokens=4, stream=True)
    assert "".join(chunk.choices[0].text for chunk in text) == tokens.choices[0].text


def test_many_at_once():
    async def ask(model):
        async with openai.AsyncOpenAI(max_retries=0) as own:
            stream = await own.chat.completions.create(model=model, messages=HI, stream=True, max_tokens=60)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def everybody():
        return await asyncio.gather(*(ask(("tiny/talker", "tiny/thinker")[i % 2]) for i in range(16)))

    assert asyncio.run(everybody()) == [TEXT, "Four."] * 8


def test_leaving_a_stream_frees_its_place():
    before = status()["counters"]["cancelled"]
    stream = chat("tiny/endless", stream=True)
    next(stream)
    stream.close()
    for _ in range(500):
        now = status()
        if now["active"] == now["responses"] == 0 and now["counters"]["cancelled"] > before:
            return
        time.sleep(0.02)
    raise AssertionError(now)


def test_vectors():
    response = client.embeddings.create(model="tiny/bert", input=["the cat", "a dog"])  # sent as base64
    assert [len(entry.embedding) for entry in response.data] == [32, 32]
    assert response.usage.prompt_tokens > 4
    numbers = client.embeddings.create(model="tiny/bert", input="the cat", encoding_format="float", dimensions=8)
    assert abs(sum(value * value for value in numbers.data[0].embedding) - 1) < 1e-4
    with pytest.raises(openai.BadRequestError) as failed:
        client.embeddings.create(model="tiny/talker", input="x")
    assert failed.value.code == "unsupported_model"
