"""instructor, in every mode of its OpenAI provider. Run by the client's own pytest."""

# --8<-- [start:example]
from typing import Literal

import instructor
import openai
from pydantic import BaseModel, Field


class City(BaseModel):
    name: Literal["Oslo", "Rome"]
    population: int = Field(ge=0, le=99)
    capital: bool | None


def structured(model, mode=instructor.Mode.TOOLS, **options):
    client = instructor.from_openai(openai.OpenAI(), mode=mode)
    messages = [{"role": "user", "content": "Name a city."}]
    return client.create(model=model, messages=messages, response_model=City, max_retries=0, **options)


# --8<-- [end:example]

from collections.abc import Iterable  # noqa: E402

import pytest  # noqa: E402

HI = [{"role": "user", "content": "Who is it?"}]
Mode = instructor.Mode


class Person(BaseModel):
    name: str
    age: int


def client(mode):
    return instructor.from_openai(openai.OpenAI(max_retries=0), mode=mode)


@pytest.mark.parametrize(
    "mode",
    [Mode.TOOLS, Mode.TOOLS_STRICT, Mode.JSON_SCHEMA, Mode.RESPONSES_TOOLS, Mode.RESPONSES_TOOLS_WITH_INBUILT_TOOLS],
)
def test_modes_that_constrain_the_answer(mode):
    assert structured("tiny/maker", mode).name in ("Oslo", "Rome")


@pytest.mark.parametrize(
    ("mode", "model"), [(Mode.MD_JSON, "tiny/json"), (Mode.JSON, "tiny/person"), (Mode.JSON_O1, "tiny/person")]
)
def test_modes_that_describe_the_schema_in_the_prompt(mode, model):
    person, completion = client(mode).chat.completions.create_with_completion(
        model=model, messages=HI, response_model=Person, max_retries=0
    )
    assert (person.name, person.age) == ("Ada", 36)
    assert completion.usage.completion_tokens > 3


@pytest.mark.parametrize(
    ("mode", "model"),
    [
        (Mode.TOOLS, "tiny/maker"),
        (Mode.JSON_SCHEMA, "tiny/maker"),
        (Mode.RESPONSES_TOOLS, "tiny/maker"),
        (Mode.MD_JSON, "tiny/json"),
    ],
)
def test_a_stream_of_partial_objects(mode, model):
    response_model = City if model == "tiny/maker" else Person
    *_, last = client(mode).create_partial(model=model, messages=HI, response_model=response_model)
    assert last.name in ("Oslo", "Rome", "Ada")


@pytest.mark.parametrize("mode", [Mode.JSON_SCHEMA, Mode.JSON])
def test_a_stream_of_objects(mode):
    people = client(mode).create_iterable(model="tiny/people", messages=HI, response_model=Person)
    assert [person.name for person in people] == ["Ada", "Grace"]


def test_parallel_tools():
    called = client(Mode.PARALLEL_TOOLS).create(
        model="tiny/two_calls", messages=HI, response_model=Iterable[City | Person], max_retries=0
    )
    assert [type(each) for each in called] == [City, Person]
