"""instructor, in all modes. Run by the client's own pytest; nothing of ours can be imported here."""

from typing import Literal

import instructor
import openai
import pytest
from pydantic import BaseModel, Field

HI = [{"role": "user", "content": "Who is it?"}]


class Person(BaseModel):
    name: str
    age: int


class Short(BaseModel):
    name: Literal["Ada", "Bob"]
    age: int = Field(ge=0, le=150)
    alive: bool | None


def ask(mode, **options):
    client = instructor.from_openai(openai.OpenAI(max_retries=0), mode=mode)
    return client.chat.completions.create_with_completion(
        model="tiny/json", messages=HI, response_model=Person, max_retries=0, **options
    )


def test_json_written_in_the_answer():
    person, completion = ask(instructor.Mode.MD_JSON)
    assert (person.name, person.age) == ("Ada", 36)
    assert completion.usage.completion_tokens > 3


def test_json_written_in_a_stream():
    client = instructor.from_openai(openai.OpenAI(max_retries=0), mode=instructor.Mode.MD_JSON)
    *_, last = client.chat.completions.create_partial(model="tiny/json", messages=HI, response_model=Person)
    assert (last.name, last.age) == ("Ada", 36)


@pytest.mark.parametrize("mode", [instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA])
def test_modes_that_constrain_the_answer(mode):
    """Mode.JSON asks for any object and describes the schema in the prompt, which a random model cannot follow."""
    client = instructor.from_openai(openai.OpenAI(max_retries=0), mode=mode)
    short = client.chat.completions.create(
        model="tiny/maker", messages=HI, response_model=Short, max_retries=0, max_tokens=200, seed=1
    )
    assert isinstance(short, Short)
