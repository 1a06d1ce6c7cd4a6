"""What people do with openai-python, with the base URL changed and nothing else."""

import sys

import openai

base_url, model = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key="unused", max_retries=0)

assert model in [item.id for item in client.models.list()]
assert client.models.retrieve(model).id == model

messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
completion = client.chat.completions.create(model=model, messages=messages)
assert completion.choices[0].message.content == "Hello, world."
assert completion.choices[0].finish_reason == "stop"
assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
assert completion._request_id.startswith("req_")

raw = client.chat.completions.with_raw_response.create(model=model, messages=messages)
assert raw.headers["x-request-id"]
assert raw.parse().choices[0].message.role == "assistant"

text = ""
usage = None
options = {"include_usage": True}
for chunk in client.chat.completions.create(model=model, messages=messages, stream=True, stream_options=options):
    if chunk.choices:
        text += chunk.choices[0].delta.content or ""
    usage = chunk.usage or usage
assert text == "Hello, world."
assert usage == completion.usage

with client.chat.completions.stream(model=model, messages=messages) as stream:
    kinds = [event.type for event in stream]
    assert stream.get_final_completion().choices[0].message.content == "Hello, world."
assert "content.delta" in kinds
assert "content.done" in kinds

choices = client.chat.completions.create(model=model, messages=messages, n=3, logprobs=True, top_logprobs=2).choices
assert [choice.index for choice in choices] == [0, 1, 2]
assert len(choices[0].logprobs.content) == len("Hello, world.")
assert len(choices[0].logprobs.content[0].top_logprobs) == 2

tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
assert client.chat.completions.create(model=model, messages=messages, tools=tools, tool_choice="auto").choices

short = client.chat.completions.create(model=model, messages=messages, max_completion_tokens=2)
assert short.choices[0].finish_reason == "length"

old = client.completions.create(model=model, prompt="Say hello", max_tokens=50, echo=True)
assert old.choices[0].text == "Say helloHello, world."
streamed = client.completions.create(model=model, prompt="Say hello", max_tokens=50, stream=True)
assert "".join(chunk.choices[0].text for chunk in streamed) == "Hello, world."

for error, fields in (
    (openai.BadRequestError, {"temperature": 5}),
    (openai.BadRequestError, {"response_format": {"type": "json_object"}}),
    (openai.NotFoundError, {"model": "nobody/nothing"}),
):
    try:
        client.chat.completions.create(**{"model": model, "messages": messages, **fields})
    except error as raised:
        assert raised.body["message"]
        assert raised.request_id
    else:
        raise AssertionError(fields)

# Leaving in the middle is not an error on either side.
with client.chat.completions.create(model=model, messages=messages, stream=True) as stream:
    next(iter(stream))
print("done")
