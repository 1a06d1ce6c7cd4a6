"""`docs/reference/server.md` says what there is, and what it shows works."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mlxk_serve.serve import serve as command

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "server.md").read_text(encoding="utf-8")


def test_every_option_is_explained():
    options = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    missing = sorted(name for name in options if f"`{name}" not in TEXT)
    assert missing == []


def test_no_option_is_made_up():
    known = {name for parameter in command.params for name in parameter.opts}
    table = TEXT.partition("## Options")[2].partition("## Routes")[0]
    assert set(re.findall(r"^\| `(--[a-z-]+)", table, re.M)) <= known


def test_every_route_is_there(client):
    paths = client.get("/openapi.json").json["paths"]
    for path in paths:
        assert f"{path.replace('{model}', '{id}')}`" in TEXT


def test_every_request_field_is_explained(client):
    schemas = client.get("/openapi.json").json["components"]["schemas"]
    for name in ("ChatRequest", "TextRequest"):
        for field in set(schemas[name]["properties"]) - {"model"}:
            assert f"`{field}" in TEXT, field


def test_the_example_extension_works(serve, engine, host, monkeypatch):
    module = ModuleType("mlxk_hello_server")
    exec(re.search(r"```python\n(from mlxk_core.*?)```", TEXT, re.S)[1], vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    host.register(module, name="hello")
    client = serve().client
    assert client.get("/hello").json == {"hello": "world"}
    assert client.metric("hello_greeted_total") == 1


def test_the_example_of_the_sdk_is_a_request_that_works(client):
    body = re.search(r"-d '(\{.*?\})'", TEXT)[1].replace("smollm2", "fake")
    assert client.post("/v1/chat/completions", body.encode()).text == "Hello, world."


@pytest.mark.parametrize("code", ["engine_stalled", "queue_full", "context_length_exceeded", "shutting_down"])
def test_codes_that_clients_act_on_are_named(code):
    assert code in TEXT
