"""Simon Willison's llm, with the models in its extra-openai-models.yaml. Run by the client's own pytest."""

import json
import os

import pytest
from click.testing import CliRunner
from llm.cli import cli

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."
# --8<-- [start:example]
MODEL = """
- model_id: {id}
  model_name: {name}
  api_base: {base}
  supports_tools: true
  supports_schema: true
"""
# --8<-- [end:example]


@pytest.fixture(autouse=True, scope="session")
def user(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llm")
    os.environ["LLM_USER_PATH"] = str(folder)
    models = {
        "talker": "tiny/talker",
        "endless": "tiny/endless",
        "caller": "tiny/caller",
        "maker": "tiny/maker",
        "tools": "tiny/tools",
        "nobody": "nobody/nothing",
    }
    base = os.environ["OPENAI_BASE_URL"]
    text = "".join(MODEL.format(id=id, name=name, base=base) for id, name in models.items())
    (folder / "extra-openai-models.yaml").write_text(text)


def llm(*args, input=""):
    return CliRunner().invoke(cli, args, input=input)


def test_a_stream_and_a_whole_answer():
    assert llm("-m", "talker", "Hi").stdout == TEXT + "\n"
    assert llm("-m", "talker", "--no-stream", "Hi").stdout == TEXT + "\n"


def test_a_conversation_goes_on():
    llm("-m", "talker", "-s", "Be brief.", "Hi")
    again = llm("-c", "-u", "Go on", input="a text")
    assert again.stdout == TEXT + "\n"
    assert "Token usage" in again.stderr


def test_options():
    short = llm("-m", "endless", "-o", "max_tokens", "4", "-o", "temperature", "0", "Hi")
    assert 0 < len(short.stdout.split()) <= 4


def test_tools():
    code = "def get_weather(city: str) -> str:\n    'The weather in a city.'\n    return '-3 in ' + city"
    told = llm("-m", "caller", "--functions", code, "--chain-limit", "2", "--tools-debug", "Hi")
    assert "-3 in Oslo" in told.stderr


def test_a_schema():
    schema = '{"type": "object", "properties": {"name": {"enum": ["Oslo", "Rome"]}}, "required": ["name"], '
    schema += '"additionalProperties": false}'
    for options in ([], ["--no-stream"]):
        answer = llm("-m", "maker", "--schema", schema, *options, "A city?")
        assert json.loads(answer.stdout)["name"] in ("Oslo", "Rome")


def test_the_result_of_a_tool_goes_back():
    code = "def get_weather(city: str) -> str:\n    'The weather in a city.'\n    return '-3 in ' + city"
    assert llm("-m", "tools", "--functions", code, "Hi").stdout.strip() == "It rains in Oslo."


def test_an_error_is_shown():
    failed = llm("-m", "nobody", "Hi")
    assert failed.exit_code == 1
    assert "nobody/nothing" in failed.stderr
