"""The JSON documentation and its schema: examples hold, every command is in both, and real output matches."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from mlxk_core._host.host import Host
from mlxk_testing import Processes, Result
from mlxk_testing.tiny_models import in_hub_cache, random_model

DOCUMENT = (Path(__file__).parents[2] / "docs" / "reference" / "json-api.md").read_text(encoding="utf-8")
EXAMPLES = [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)]


def test_the_schema_is_one(schema: jsonschema.Draft202012Validator) -> None:
    schema.check_schema(schema.schema)


def _has_json_output(command: click.Command) -> bool:
    """Whether a command, or one of its own, takes --json."""
    own = any("--json" in parameter.opts for parameter in command.params)
    return own or (isinstance(command, click.Group) and any(map(_has_json_output, command.commands.values())))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["command"])
def test_every_example_keeps_to_the_schema(example: dict[str, Any], schema: jsonschema.Draft202012Validator) -> None:
    schema.validate(example)


def test_every_command_of_ours_is_described(schema: jsonschema.Draft202012Validator) -> None:
    host = Host.discover()
    commands = {spec.name for spec in host.commands() if _has_json_output(host.load(spec.target))}
    ours = commands | {"plugins"}
    described = {rule["if"]["properties"].get("command", {}).get("const") for rule in schema.schema["allOf"]}
    assert ours <= described
    assert ours <= set(re.findall(r"^## (\w+)", DOCUMENT, re.MULTILINE))


@pytest.mark.parametrize(
    "broken",
    [
        {"status": "success", "command": "list", "data": {"models": []}, "error": None},
        {"status": "success", "command": "show", "data": {"model": {}}, "error": None},
        {"status": "error", "command": "list", "data": None, "error": None},
        {"status": "success", "command": "x", "data": {}, "error": {"type": "x", "message": "x", "details": {}}},
        {"status": "success", "command": "version", "data": {"version": "0.1.0", "more": 1}, "error": None},
        {"status": "success", "data": None, "error": None},
    ],
)
def test_the_schema_notices_what_is_missing_or_too_much(
    broken: dict[str, Any], schema: jsonschema.Draft202012Validator
) -> None:
    assert not schema.is_valid(broken)


RUNS = [
    (["--version", "--json"], 0),
    (["--help", "--json"], 0),
    (["--json"], 2),
    (["plugins", "--json"], 0),
    (["list", "--json"], 0),
    (["list", "--all", "--json"], 0),
    (["list", "--help", "--json"], 0),
    (["list", "--nonsense", "--json"], 2),
    (["show", "tiny", "--files", "--config", "--json"], 0),
    (["show", "--json"], 2),
    (["show", "nope", "--json"], 1),
    (["health", "--json"], 0),
    (["health", "nope", "--json"], 1),
    (["rm", "tiny", "--json"], 2),
    (["nonsense", "--json"], 2),
]


def _name(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else ""


@pytest.mark.parametrize(("arguments", "code"), RUNS, ids=_name)
def test_whatever_is_asked_one_document_answers(arguments: list[str], code: int, ask: Callable[..., Result]) -> None:
    in_hub_cache("org/tiny", random_model)
    result = ask(*arguments)
    assert result.code == code
    assert result.json["status"] == ("success" if code == 0 else "error")


@pytest.mark.parametrize(("arguments", "code"), RUNS[5::4], ids=_name)
def test_a_real_process_answers_the_same(
    arguments: list[str], code: int, alone: Callable[..., Result], ask: Callable[..., Result]
) -> None:
    in_hub_cache("org/tiny", random_model)
    result = alone(*arguments)
    assert (result.code, result.json) == (code, ask(*arguments).json)


@pytest.mark.needs("serve")
def test_a_server_says_where_it_listens_in_one_document(
    mlxk: Processes, schema: jsonschema.Draft202012Validator
) -> None:
    process = mlxk.start("serve", "--port", "0", "--json", env={"MLXK_DISABLE_PLUGINS": "smollm2"})
    assert process.stdout is not None
    text = ""
    while not text.endswith("\n}\n"):
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        text += line
    document = json.loads(text)
    schema.validate(document)
    assert document["data"]["port"]
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=180)
    assert rest == ""
