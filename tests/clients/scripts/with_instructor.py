"""instructor: of its modes, the one that needs nothing but text; the others are refused with the field's name."""

import instructor
import openai
import pytest
from pydantic import BaseModel

HI = [{"role": "user", "content": "Who is it?"}]


class Person(BaseModel):
    name: str
    age: int


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


@pytest.mark.parametrize(
    ("mode", "param"),
    [
        (instructor.Mode.TOOLS, "tool_choice"),
        (instructor.Mode.JSON, "response_format"),
        (instructor.Mode.JSON_SCHEMA, "response_format"),
    ],
)
def test_modes_that_constrain_the_answer_are_refused_clearly(mode, param):
    with pytest.raises(Exception) as caught:
        ask(mode)
    refusal = caught.value
    while refusal is not None and not isinstance(refusal, openai.BadRequestError):
        refusal = refusal.__cause__
    assert refusal is not None, caught.value
    assert refusal.param == param
