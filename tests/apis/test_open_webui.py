"""What Open WebUI sends: with every message its 36 built-in tools, also to models whose template has none.

Its package is several GB, so its requests are replayed (its connections to Ollama and to OpenAI, version 0.6).
"""

from __future__ import annotations

import json

import pytest

from mlxk_testing.tiny_models import in_hub_cache, scripted_model
from tests.server_process import ServerProcess, own_home

TEXT = "The keeper said: «ça va, 你好» 🌊 and left."
NAMES = [f"{verb}_{thing}" for verb in ("search", "list", "view", "add", "update", "delete")
         for thing in ("notes", "chats", "memories", "files", "channels", "events")]  # fmt: skip
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Call this to {name.replace('_', ' ')}.",
            "parameters": {
                "type": "object",
                "properties": {
                    "query": {"type": "string", "description": "What to look for."},
                    "count": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": 5},
                    "ids": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["query"],
            },
        },
    }
    for name in NAMES
]
HELLO = [
    {"role": "system", "content": "You are helpful."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "And now?"},
]
TITLE = [{"role": "user", "content": 'Suggest a title as JSON: { "title": "your title" }'}]


@pytest.fixture(scope="module")
def webui(tmp_path_factory, client_of):
    folder = tmp_path_factory.mktemp("webui")
    with own_home(folder):
        in_hub_cache("tiny/talker", lambda folder: scripted_model(folder, TEXT, context=65536))
        process = ServerProcess(folder)
    yield client_of(("127.0.0.1", int(process.base_url.rpartition(":")[2].partition("/")[0])))
    process.kill()


def test_the_connection_to_ollama_finds_the_model_and_chats_with_all_tools(webui):
    assert webui.get("/api/version").json["version"]
    [model] = [entry["model"] for entry in webui.get("/api/tags").json["models"] if entry["name"].startswith("tiny/")]
    assert "tools" in webui.post("/api/show", {"model": model}).json["capabilities"]
    assert isinstance(webui.get("/api/ps").json["models"], list)
    body = {
        "model": f"{model}:latest",
        "messages": HELLO,
        "stream": True,
        "options": {"num_ctx": 65536, "temperature": 0.8, "num_predict": 64},
        "tools": TOOLS,
        "keep_alive": "5m",
    }
    reply = webui.post("/api/chat", body)
    assert reply.status == 200, reply.body
    assert "".join(line["message"]["content"] for line in reply.lines) == TEXT
    assert reply.lines[-1]["done_reason"] == "stop"
    title = {"model": f"{model}:latest", "messages": TITLE, "stream": False, "options": {"num_predict": 1000}}
    assert webui.post("/api/chat", title).json["message"]["content"] == TEXT


def test_the_connection_to_openai_finds_the_model_and_chats_with_all_tools(webui):
    [model] = [entry["id"] for entry in webui.get("/v1/models").json["data"] if entry["id"].startswith("tiny/")]
    body = {
        "model": model,
        "messages": HELLO,
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": TOOLS,
        "temperature": 0.8,
    }
    reply = webui.post("/v1/chat/completions", body)
    assert reply.status == 200, reply.body
    events = [json.loads(line[6:]) for line in reply.body.decode().splitlines() if line.startswith("data: {")]
    assert "".join(c["delta"].get("content") or "" for e in events for c in e["choices"]) == TEXT
    assert events[-1]["usage"]["completion_tokens"] > 0
    title = {"model": model, "messages": TITLE, "stream": False, "max_completion_tokens": 1000}
    assert webui.post("/v1/chat/completions", title).json["choices"][0]["message"]["content"] == TEXT


@pytest.mark.parametrize("path", ["/api/delete", "/api/create", "/api/copy", "/api/push"])
def test_its_model_manager_gets_the_command_that_does_it(webui, path):
    reply = webui.request("DELETE" if path == "/api/delete" else "POST", path, {"model": "tiny/talker"}, {})
    assert (reply.status, "mlxk " in reply.json["error"]) == (404, True)
