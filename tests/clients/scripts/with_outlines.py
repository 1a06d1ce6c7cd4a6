"""outlines, with its models for OpenAI and for vLLM. Run by the client's own pytest."""

# --8<-- [start:example]
from typing import Literal

import openai
import outlines
from outlines.types import CFG, Regex
from pydantic import BaseModel, Field


class City(BaseModel):
    name: Literal["Oslo", "Rome"]
    population: int = Field(ge=0, le=99)


def answer(name):
    return outlines.from_openai(openai.OpenAI(), name)("Hi")


def structured(name):
    return City.model_validate_json(outlines.from_openai(openai.OpenAI(), name)("A city?", City))


def constrained(name, kind):
    # Its model for vLLM sends `structured_outputs`, which mlxk has too: regular expressions, choices and grammars.
    return outlines.from_vllm(openai.OpenAI(), name)("A city?", kind)


# --8<-- [end:example]

import re  # noqa: E402

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."


def test_an_answer_and_a_stream():
    assert answer("tiny/talker") == TEXT
    assert "".join(outlines.from_openai(openai.OpenAI(), "tiny/talker").stream("Hi")) == TEXT


def test_structured_output():
    assert structured("tiny/maker").name in ("Oslo", "Rome")


def test_constraints():
    assert re.fullmatch(r"[a-c]{2}-[0-9]{3}", constrained("tiny/maker", Regex(r"[a-c]{2}-[0-9]{3}")))
    assert constrained("tiny/maker", Literal["red", "green"]) in ("red", "green")
    assert constrained("tiny/maker", CFG('start: "yes" | "no"')) in ("yes", "no")
    assert City.model_validate_json(constrained("tiny/maker", City))
