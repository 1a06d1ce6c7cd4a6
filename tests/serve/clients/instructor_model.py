"""instructor, in the mode that needs no constrained decoding."""

import sys

import instructor
import openai
import pydantic

base_url, model = sys.argv[1:]


class City(pydantic.BaseModel):
    name: str
    people: int


client = instructor.from_openai(openai.OpenAI(base_url=base_url, api_key="unused"), mode=instructor.Mode.MD_JSON)
city = client.chat.completions.create(
    model=model, response_model=City, messages=[{"role": "user", "content": "Describe Paris."}], max_retries=0
)
assert (city.name, city.people) == ("Paris", 2_000_000)
print("done")
