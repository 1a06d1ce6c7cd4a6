"""How clients and frameworks leave a response: the server frees its place and answers the next request."""

import asyncio
import json
import os
import time
import urllib.request

import anthropic
import ollama
import openai
import pytest
from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from langchain_openai import ChatOpenAI
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

set_tracing_disabled(True)
BASE = os.environ["OPENAI_BASE_URL"]
ORIGIN = BASE.removesuffix("/v1")
ENDLESS = "tiny/endless"
HI = [{"role": "user", "content": "Hi"}]
LONG = 8000
"""Tokens: far more than are generated before a client leaves."""
SOON = 0.5
"""Seconds after which a client that waits for a whole response leaves."""
KEY = "none-needed"


def status():
    with urllib.request.urlopen(f"{BASE}/status") as response:
        return json.load(response)


def until(condition):
    deadline = time.monotonic() + 120
    while not condition(status()):
        assert time.monotonic() < deadline, status()
        time.sleep(0.05)


def generates(now):
    return now["active"] > 0


async def cancelled(request):
    """Cancel `request` as a web application does whose user has left: in the middle of a response."""
    task = asyncio.create_task(request)
    await asyncio.to_thread(until, generates)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def break_out_of_a_chat():
    stream = openai.OpenAI().chat.completions.create(model=ENDLESS, messages=HI, max_tokens=LONG, stream=True)
    for _ in zip(range(3), stream, strict=False):
        pass
    stream.close()


def leave_the_block_of_a_text():
    with openai.OpenAI().completions.create(model=ENDLESS, prompt="Hi", max_tokens=LONG, stream=True) as stream:
        next(iter(stream))


def leave_the_block_of_a_response():
    with openai.OpenAI().responses.stream(model=ENDLESS, input="Hi", max_output_tokens=LONG) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                break


def give_up_waiting_for_a_chat():
    with pytest.raises(openai.APITimeoutError):
        openai.OpenAI(max_retries=0, timeout=SOON).chat.completions.create(model=ENDLESS, messages=HI, max_tokens=LONG)


def cancel_the_task_of_a_chat():
    client = openai.AsyncOpenAI()
    asyncio.run(cancelled(client.chat.completions.create(model=ENDLESS, messages=HI, max_tokens=LONG)))


def cancel_the_task_of_a_response():
    asyncio.run(cancelled(openai.AsyncOpenAI().responses.create(model=ENDLESS, input="Hi", max_output_tokens=LONG)))


def leave_the_block_of_a_message():
    client = anthropic.Anthropic(base_url=ORIGIN, api_key=KEY)
    with client.messages.stream(model=ENDLESS, messages=HI, max_tokens=LONG) as stream:
        next(iter(stream.text_stream))


def cancel_the_task_of_a_message():
    client = anthropic.AsyncAnthropic(base_url=ORIGIN, api_key=KEY)
    asyncio.run(cancelled(client.messages.create(model=ENDLESS, messages=HI, max_tokens=4000)))


def close_an_ollama_stream():
    stream = ollama.Client(host=ORIGIN).chat(ENDLESS, HI, stream=True, options={"num_predict": LONG})
    next(stream)
    stream.close()


def cancel_the_task_of_an_ollama_answer():
    client = ollama.AsyncClient(host=ORIGIN)
    asyncio.run(cancelled(client.generate(ENDLESS, "Hi", options={"num_predict": LONG})))


def close_a_langchain_stream():
    stream = ChatOpenAI(model=ENDLESS, max_tokens=LONG).stream("Hi")
    next(stream)
    stream.close()


def cancel_the_task_of_langchain():
    asyncio.run(cancelled(ChatOpenAI(model=ENDLESS, max_tokens=LONG).ainvoke("Hi")))


def cancel_a_run_of_an_agent():
    model = OpenAIChatCompletionsModel(model=ENDLESS, openai_client=openai.AsyncOpenAI())
    agent = Agent(name="Clock", model=model, model_settings=ModelSettings(max_tokens=LONG))

    async def leave():
        run = Runner.run_streamed(agent, "Hi")
        async for event in run.stream_events():
            if event.type == "raw_response_event":  # earlier ones precede the request
                run.cancel()

    asyncio.run(leave())


def leave_the_block_of_a_pydantic_ai_run():
    provider = OpenAIProvider(base_url=BASE, api_key=KEY)
    agent = PydanticAgent(OpenAIChatModel(ENDLESS, provider=provider), model_settings={"max_tokens": LONG})

    async def leave():
        async with agent.run_stream("Hi") as run:
            async for _ in run.stream_text():
                break

    asyncio.run(leave())


@pytest.mark.parametrize(
    "leave",
    [
        break_out_of_a_chat,
        leave_the_block_of_a_text,
        leave_the_block_of_a_response,
        give_up_waiting_for_a_chat,
        cancel_the_task_of_a_chat,
        cancel_the_task_of_a_response,
        leave_the_block_of_a_message,
        cancel_the_task_of_a_message,
        close_an_ollama_stream,
        cancel_the_task_of_an_ollama_answer,
        close_a_langchain_stream,
        cancel_the_task_of_langchain,
        cancel_a_run_of_an_agent,
        leave_the_block_of_a_pydantic_ai_run,
    ],
    ids=lambda leave: leave.__name__,
)
def test_a_client_that_leaves_frees_its_place_and_the_next_is_answered(leave):
    before = status()["counters"]["cancelled"]
    leave()
    until(lambda now: now["active"] == now["waiting"] == now["responses"] == 0)
    assert status()["counters"]["cancelled"] == before + 1
    answer = openai.OpenAI().chat.completions.create(model="tiny/talker", messages=HI, max_tokens=20)
    assert answer.usage.completion_tokens > 0
