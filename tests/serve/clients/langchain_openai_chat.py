"""langchain-openai: invoke, stream, usage, bound tools."""

import sys

from langchain_openai import ChatOpenAI

base_url, model = sys.argv[1:]
chat = ChatOpenAI(base_url=base_url, api_key="unused", model=model, max_retries=0, stream_usage=True)
answer = chat.invoke([("system", "Be brief."), ("human", "Hi")])
assert answer.content == "Hello, world."
assert answer.usage_metadata["output_tokens"] == 14
assert answer.response_metadata["finish_reason"] == "stop"

parts = list(chat.stream("Hi"))
assert "".join(part.content for part in parts) == "Hello, world."
assert any(part.usage_metadata for part in parts)


def weather(city: str) -> str:
    """Tells the weather."""
    return city


assert chat.bind_tools([weather]).invoke("Hi").content == "Hello, world."
assert chat.batch(["a", "b", "c"])[2].content == "Hello, world."
print("done")
