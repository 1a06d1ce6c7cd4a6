"""litellm as an OpenAI-compatible client."""

import sys

import litellm

base_url, model = sys.argv[1:]
common = {"model": f"openai/{model}", "api_base": base_url, "api_key": "unused", "num_retries": 0}
messages = [{"role": "user", "content": "Hi"}]
answer = litellm.completion(messages=messages, **common)
assert answer.choices[0].message.content == "Hello, world."
assert answer.usage.completion_tokens == 14

parts = litellm.completion(messages=messages, stream=True, **common)
assert "".join(part.choices[0].delta.content or "" for part in parts) == "Hello, world."

try:
    litellm.completion(messages=messages, temperature=5, **common)
except litellm.BadRequestError:
    pass
else:
    raise AssertionError("a temperature of 5 was taken")
print("done")
