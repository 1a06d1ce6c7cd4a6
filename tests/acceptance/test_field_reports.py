"""What users of this field reported, by number: through `mlxk serve`, streamed and whole, and through `mlxk run`.

The templates in `reports/` are the ones the reports were made with.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlxk_testing.servers import Response, RunningServer
from mlxk_testing.tiny_models import CHATML, in_hub_cache, random_model, scripted_model
from mlxk_testing.tiny_models.files import edit_json
from tests.server_process import ServerProcess, own_home

pytestmark = pytest.mark.needs("mlx", "serve", "run", "models", "pull", "reasoning")

TEMPLATES = Path(__file__).parent / "reports"
LLAMA = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>")
DEEPSEEK = tuple(f"<｜tool▁{name}｜>" for name in ("calls▁begin", "calls▁end", "call▁begin", "call▁end", "sep"))
THINK = ("<think>", "</think>", "<tool_call>", "</tool_call>")
ARGUMENTS = {"expression": "17*23"}
CALCULATE = {
    "type": "function",
    "function": {
        "name": "calculate",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}},
    },
}
TOOLS_TEMPLATE = "{% if tools %}TOOLS {{ tools|tojson }}\n" + "{% endif %}" + CHATML
CALLS = {  # the tool formats of report 10: template, added tokens, end of a turn, what the model says
    "llama3": (
        (TEMPLATES / "llama3.jinja").read_text(),
        LLAMA,
        "<|eot_id|>",
        '{"name": "calculate", "parameters": %s}',
    ),
    "python-tag": (
        (TEMPLATES / "llama3.jinja").read_text(),
        LLAMA,
        "<|eom_id|>",
        '<|python_tag|>{"name": "calculate", "parameters": %s}',
    ),
    "deepseek": (
        TOOLS_TEMPLATE + "{# <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>name<｜tool▁sep｜> #}",
        ("<|im_start|>", *DEEPSEEK),
        "<|im_end|>",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>calculate<｜tool▁sep｜>%s<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    "granite": (
        TOOLS_TEMPLATE + "{# <|tool_call|> #}",
        ("<|im_start|>", "<|tool_call|>"),
        "<|im_end|>",
        '<|tool_call|>[{"name": "calculate", "arguments": %s}]',
    ),
}
REASONING = {  # report 15
    "call inside": (
        '<think>I\'ll call it.\n<tool_call>\n{"name": "calculate", "arguments": %s}\n</tool_call>\n</think>\n\n'
    ),
    "talks about it": "<think>The user wants <tool_call> tags explained.</think>They mark calls.",
}
THINK_TEMPLATE = TOOLS_TEMPLATE + "{# <think> </think> <tool_call> tool_call.name #}"
ROPE = {  # report 26: the keys of config.json, and the context that follows
    "yarn": ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}, 2048),
    "linear": ({"rope_type": "linear", "factor": 2.0}, 1024),
    "dynamic": ({"rope_type": "dynamic", "factor": 2.0}, 1024),
    "llama3": (
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        512,
    ),
}


def _speaker(name: str, template: str | None, says: str = "fine", **options: Any) -> Path:
    return in_hub_cache(f"acme/{name}", lambda folder: scripted_model(folder, says, chat_template=template, **options))


def _write_models() -> None:
    for file in TEMPLATES.glob("*.jinja"):
        _speaker(file.stem, file.read_text())
    named = [{"name": "default", "template": CHATML}, {"name": "tool_use", "template": TOOLS_TEMPLATE}]
    listed = _speaker("listed", CHATML)
    (listed / "chat_template.jinja").unlink(missing_ok=True)
    edit_json(listed / "tokenizer_config.json", chat_template=named)
    filed = _speaker("filed", CHATML)
    (filed / "additional_chat_templates").mkdir()
    (filed / "additional_chat_templates" / "tool_use.jinja").write_text(TOOLS_TEMPLATE)
    for name, (template, tokens, end, says) in CALLS.items():
        _speaker(name, template, says % json.dumps(ARGUMENTS), added_tokens=tokens, eos=end)
    for name, says in REASONING.items():
        said = says.replace("%s", json.dumps(ARGUMENTS))
        _speaker(name.replace(" ", "-"), THINK_TEMPLATE, said, added_tokens=("<|im_start|>", *THINK))
    for name, (scaling, _) in ROPE.items():
        keys = {"max_position_embeddings": 512, "rope_scaling": scaling}
        in_hub_cache(f"acme/{name}-rope", lambda folder, keys=keys: random_model(folder, config=keys))
    in_hub_cache("acme/bos", lambda folder: random_model(folder, bos="<|begin|>"))


@dataclass
class Reply:
    """One answer, which came out the same streamed and whole."""

    status: int
    message: dict[str, Any]
    usage: dict[str, Any]
    error: dict[str, Any]

    @property
    def calls(self) -> list[tuple[str, Any]]:
        functions = (call["function"] for call in self.message.get("tool_calls") or ())
        return [(function["name"], json.loads(function["arguments"])) for function in functions]


class Reported:
    """The models of the reports behind a server."""

    def __init__(self, server: ServerProcess, home: Path) -> None:
        self.server = RunningServer(server.base_url.removesuffix("/v1"))
        self.home = home

    def chat(self, model: str, messages: Sequence[dict[str, Any]], **fields: Any) -> Reply:
        """Ask twice, whole and streamed, and compare."""
        body = {"model": f"acme/{model}", "messages": messages, "temperature": 0, "max_tokens": 64, **fields}
        whole = self.server.post("/v1/chat/completions", body)
        streaming = {"stream": True, "stream_options": {"include_usage": True}}
        streamed = self.server.post("/v1/chat/completions", body | streaming)
        assert streamed.status == whole.status
        if whole.status != 200:
            assert streamed.json == whole.json
            return Reply(whole.status, {}, {}, whole.json["error"])
        message, usage = whole.json["choices"][0]["message"], whole.json["usage"]
        joined, counted = _joined(streamed.body.decode())
        for part in ("content", "reasoning_content"):
            assert joined[part] == (message.get(part) or "")
        calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or ()]
        assert joined["calls"] == calls
        assert counted["prompt_tokens"] == usage["prompt_tokens"]
        return Reply(200, message, usage, {})

    def prompt(self, model: str, messages: Sequence[dict[str, Any]], **fields: Any) -> str:
        body = {"model": f"acme/{model}", "messages": messages, **fields}
        answer = self.server.post("/apply-template", body)
        assert answer.status == 200, answer.body
        prompt: str = answer.json["prompt"]
        return prompt

    def model(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.server.get(f"/v1/models/acme/{name}").json
        return found


def _joined(stream: str) -> tuple[dict[str, Any], dict[str, Any]]:
    joined: dict[str, Any] = {"content": "", "reasoning_content": ""}
    calls: dict[int, list[str]] = {}
    usage: dict[str, Any] = {}
    for line in stream.splitlines():
        if not line.startswith("data: {"):
            continue
        event = json.loads(line[6:])
        usage = event.get("usage") or usage
        for choice in event["choices"]:
            for part in ("content", "reasoning_content"):
                joined[part] += choice["delta"].get(part) or ""
            for call in choice["delta"].get("tool_calls") or ():
                name, arguments = calls.setdefault(call["index"], ["", ""])
                function = call["function"]
                calls[call["index"]] = [name + (function.get("name") or ""), arguments + function["arguments"]]
    joined["calls"] = [(name, arguments) for name, arguments in calls.values()]
    return joined, usage


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reported]:
    home = tmp_path_factory.mktemp("reports")
    with own_home(home):
        _write_models()
        server = ServerProcess(home)
        try:
            yield Reported(server, home)
        finally:
            server.close()


@pytest.fixture
def run(mlxk, reported):
    """`run("acme/x", "prompt", …)`: the data of `mlxk run --json`."""

    def ask(model: str, *args: str) -> dict[str, Any]:
        done = mlxk("run", f"acme/{model}", *args, "--max-tokens", "64", "--json", env={"HF_HOME": str(reported.home)})
        assert done.code == 0, done.stderr
        data: dict[str, Any] = done.json["data"]
        return data

    return ask


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def assistant(text: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def calling(arguments: str) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": arguments}
    return assistant(None, tool_calls=[{"id": "call_1", "type": "function", "function": function}])


CONVERSATIONS = {  # reports 01 and 03
    "late system": [system("Be terse."), user("Hi"), assistant("Hello."), system("Answer BLUE."), user("Sky?")],
    "two systems": [system("Be terse."), system("Character: X"), user("Hi")],
    "system last": [user("Hi"), system("Be terse.")],
    "two users": [user("one"), user("two")],
    "system, two users": [system("Be terse."), user("one"), user("two")],
    "assistant first": [assistant("Welcome"), user("two")],
    "system only": [system("Be terse.")],
    "empty answer": [user("one"), assistant(""), user("two")],
}


@pytest.mark.parametrize("template", ["guard", "alternate"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_01_03_a_conversation_that_a_strict_template_refuses_is_reshaped(reported, template, name):
    messages = CONVERSATIONS[name]
    reply = reported.chat(template, messages)
    assert reply.status == 200, reply.error
    prompt = reported.prompt(template, messages)
    at = [prompt.find(message["content"]) for message in messages]
    assert -1 not in at, prompt
    assert reply.usage["prompt_tokens"] > sum(len(message["content"]) for message in messages)


def test_01_a_system_prompt_of_run(run):
    assert run("alternate", "one", "--system", "Be terse.")["usage"]["prompt_tokens"] > len("Be terse.one")


@pytest.mark.parametrize("arguments", ['{"a": ', "[1, 2]", '"Rome"', "3", "", "null"])
@pytest.mark.parametrize("model", ["calls_without_content", "guard", "listed", "llama3"])
def test_06_arguments_that_are_no_object(reported, model, arguments):
    messages = [user("a"), calling(arguments), {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]
    reply = reported.chat(model, messages, tools=[CALCULATE])
    assert reply.status == 200, reply.error
    prompt = reported.prompt(model, messages, tools=[CALCULATE])
    assert "get_weather" in prompt
    assert "sunny" in prompt


@pytest.mark.parametrize("content", [None, "", "Let me look."])
def test_07_calls_of_the_history_are_in_the_prompt(reported, content):
    call = calling('{"city": "Rome"}') | {"content": content}
    messages = [user("a"), call, {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]
    reply = reported.chat("calls_without_content", messages, tools=[CALCULATE])
    assert reply.status == 200, reply.error
    prompt = reported.prompt("calls_without_content", messages, tools=[CALCULATE])
    assert "get_weather" in prompt
    assert "Rome" in prompt
    assert (content or "") in prompt


@pytest.mark.parametrize("shape", ["index", "selectattr", "smolvlm"])
def test_08_a_template_that_reads_typed_parts(reported, run, shape):
    question = "Which way is north?"
    reply = reported.chat(f"parts_{shape}", [user(question)])
    assert question in reported.prompt(f"parts_{shape}", [user(question)])
    assert question in reported.prompt(f"parts_{shape}", [user([{"type": "text", "text": question}])])
    assert run(f"parts_{shape}", question)["usage"]["prompt_tokens"] == reply.usage["prompt_tokens"]


@pytest.mark.parametrize("model", ["listed", "filed"])
def test_09_tools_use_the_template_for_tools(reported, model):
    assert "tools" in reported.model(model)["capabilities"]
    assert "TOOLS" in reported.prompt(model, [user("a")], tools=[CALCULATE])
    assert "TOOLS" not in reported.prompt(model, [user("a")])
    assert reported.chat(model, [user("a")], tools=[CALCULATE]).status == 200


@pytest.mark.parametrize("model", CALLS)
def test_10_a_call_in_the_words_of_its_model(reported, run, model):
    reply = reported.chat(model, [user("17*23?")], tools=[CALCULATE])
    assert reply.calls == [("calculate", ARGUMENTS)]
    assert not reply.message["content"]
    assert "calculate" in run(model, "17*23?")["response"]  # without tools it is a text


def test_15_a_call_inside_reasoning(reported, run):
    reply = reported.chat("call-inside", [user("9?")], tools=[CALCULATE])
    assert reply.calls == [("calculate", ARGUMENTS)]
    assert not (reply.message["content"] or "").strip()
    assert reply.message["reasoning_content"].strip() == "I'll call it."
    plain = reported.chat("call-inside", [user("9?")])
    assert "</think>" not in (plain.message["content"] or "")
    answered = run("call-inside", "9?")
    assert "</think>" not in answered["response"] + answered["reasoning"]


@pytest.mark.parametrize("fields", [{}, {"tools": [CALCULATE]}])
def test_15_reasoning_that_talks_about_a_marker(reported, run, fields):
    reply = reported.chat("talks-about-it", [user("What are they?")], **fields)
    assert reply.message["content"] == "They mark calls."
    assert reply.message["reasoning_content"] == "The user wants <tool_call> tags explained."
    assert not reply.calls
    answered = run("talks-about-it", "What are they?")
    assert (answered["response"], answered["reasoning"]) == (
        "They mark calls.",
        "The user wants <tool_call> tags explained.",
    )


@pytest.mark.parametrize("kind", ROPE)
def test_26_the_context_follows_from_the_rope_scaling(reported, mlxk, kind):
    expected = ROPE[kind][1]
    assert reported.model(f"{kind}-rope")["context_length"] == expected
    shown = mlxk("show", f"acme/{kind}-rope", "--json", env={"HF_HOME": str(reported.home)})
    assert shown.json["data"]["model"]["context_length"] == expected
    assert reported.chat(f"{kind}-rope", [user("x" * (expected - 200))]).status == 200
    assert reported.chat(f"{kind}-rope", [user("x" * expected)]).status == 400


def test_show_has_the_stop_token_that_only_the_template_gives(mlxk, hub_cache):
    template = CHATML.replace("<|im_end|>", "<|turn_end|>")
    tokens = ("<|im_start|>", "<|turn_end|>")
    in_hub_cache("acme/turns", lambda folder: random_model(folder, chat_template=template, added_tokens=tokens))
    shown = mlxk("show", "acme/turns", "--json")
    assert "<|turn_end|>" in [token["text"] for token in shown.json["data"]["model"]["stop_tokens"]]


@pytest.mark.parametrize("prompt", ["hi", "<|begin|>hi"])
def test_28_a_raw_prompt_has_one_bos(reported, run, prompt):
    body = {"model": "acme/bos", "prompt": prompt, "max_tokens": 2}
    answer = reported.server.post("/v1/completions", body)
    assert answer.json["usage"]["prompt_tokens"] == 3
    assert run("bos", "--no-chat-template", prompt)["usage"]["prompt_tokens"] == 3


def test_32_a_compressed_body_is_read_or_named(reported):
    body = gzip.compress(json.dumps({"model": "acme/guard", "messages": [user("hi")], "max_tokens": 4}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer: Response = reported.server.request("POST", "/v1/chat/completions", body, headers)
    assert answer.status == 200 or (answer.status == 415 and b"content-encoding" in answer.body.lower())


def test_16_a_file_of_macos_beside_a_reference(reported, mlxk, tmp_path):
    home = tmp_path / "home"
    for name in ("guard", "alternate"):
        folder = f"hub/models--acme--{name}"
        shutil.copytree(reported.home / folder, home / folder, symlinks=True)
    (home / "hub/models--acme--alternate/refs/._main").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X \xb0\xb0")
    environment = {"HF_HOME": str(home)}
    assert mlxk("rm", "acme/guard", "--force", env=environment).code == 0
    assert not (home / "hub/models--acme--guard").exists()
    listed = mlxk("list", "--json", env=environment)
    assert "acme/alternate" in [model["name"] for model in listed.json["data"]["models"]]
    assert mlxk("run", "acme/alternate", "hi", "--max-tokens", "4", env=environment).code == 0
