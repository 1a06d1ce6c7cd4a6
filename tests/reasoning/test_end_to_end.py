"""Reasoning through the whole service: real tiny models that say a script, cut off at every single token."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from mlxk_core._generation.events import Started
from mlxk_core._generation.request import GenerationRequest
from mlxk_core._generation.service import GenerationService
from mlxk_core._host.host import Host
from mlxk_core.api import Channel, Delta, Message, Model, Sampling, Tool, ToolCallDelta
from mlxk_testing.processes import Processes, Result
from mlxk_testing.tiny_models import (
    CHATML_TOKENS,
    OPENED_THINKING_CHATML,
    THINKING_CHATML,
    gpt_oss_model,
    in_hub_cache,
    scripted_model,
)

_THINK_TOKENS = (*CHATML_TOKENS, "<think>", "</think>")


@dataclass(frozen=True)
class Script:
    """What a model says, and what it means."""

    says: str
    format: str
    reasoning: str
    content: str
    calls: tuple[tuple[str, str], ...] = ()
    template: str | None = None

    def write(self, folder: Path) -> Model:
        if self.format == "harmony":
            gpt_oss_model(folder, self.says)
        else:
            scripted_model(folder, self.says, chat_template=self.template, added_tokens=_THINK_TOKENS)
        return Model(name=folder.name, path=folder)


_SCRIPTS = {
    "harmony": Script(
        "<|channel|>analysis<|message|>The user asks 2+2.\n\nIt is trivial – 4.<|end|><|start|>assistant"
        "<|channel|>final<|message|>It is **4**.\n<|return|>",
        "harmony",
        "The user asks 2+2.\n\nIt is trivial – 4.",
        "It is **4**.\n",
    ),
    "harmony-call": Script(
        "<|channel|>analysis<|message|>Use the tool.<|end|><|start|>assistant<|channel|>commentary<|message|>"
        "I will look.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json"
        '<|message|>{"city": "Oslo"}<|call|>',
        "harmony",
        "Use the tool.",
        "I will look.",
        (("get_weather", '{"city": "Oslo"}'),),
    ),
    "harmony-bare-call": Script(
        "<|channel|>analysis<|message|>Use the tool.<|end|><|start|>assistant<|channel|>commentary "
        "to=functions.get_weather <|constrain|>json<|message|><|call|>",
        "harmony",
        "Use the tool.",
        "",
        (("get_weather", "{}"),),
    ),
    "think": Script(
        "<think>\nWeigh both 🤔 sides.\n</think>\n\nTake the left.",
        "think",
        "Weigh both 🤔 sides.",
        "Take the left.",
        template=THINKING_CHATML,
    ),
    "think-opened": Script(
        "Weigh both sides.\n</think>\n\nTake the left.",
        "think",
        "Weigh both sides.",
        "Take the left.",
        template=OPENED_THINKING_CHATML,
    ),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("models")
    return {name: script.write(folder / name) for name, script in _SCRIPTS.items()}


@pytest.fixture(scope="module")
def service() -> Iterator[GenerationService]:
    with GenerationService(Host.discover(strict=True)) as service:
        yield service


def _request(
    model: Model, max_tokens: int | None = None, *, tools: bool | None = None, **more: object
) -> GenerationRequest:
    """With tools unless told otherwise, where the model's template has a place for them."""
    if tools is None:
        tools = "tools" in (model.chat_template or "")
    return GenerationRequest(
        tools=(Tool(name="get_weather"),) if tools else (),
        model=model,
        prompt=[Message(role="user", content="Which way?")],
        sampling=Sampling(temperature=0),
        max_tokens=max_tokens,
        **more,
    )


@pytest.mark.parametrize("name", _SCRIPTS)
def test_an_answer_is_split_the_same_as_a_stream_and_as_a_whole(
    name: str, service: GenerationService, models: dict[str, Model]
) -> None:
    script = _SCRIPTS[name]
    events = list(service.submit(_request(models[name])))
    whole = service.submit(_request(models[name])).result()

    assert [event.reasoning_format for event in events if isinstance(event, Started)] == [script.format]
    assert (whole.reasoning, whole.content) == (script.reasoning, script.content)
    assert tuple((call.name, call.arguments) for call in whole.tool_calls) == script.calls
    assert whole.finish_reason == ("tool_calls" if script.calls else "stop")
    for channel, text in ((Channel.REASONING, whole.reasoning), (Channel.CONTENT, whole.content)):
        assert "".join(e.text for e in events if isinstance(e, Delta) and e.channel is channel) == text
    assert len({event.id for event in events if isinstance(event, ToolCallDelta) and event.id}) == len(script.calls)
    assert 0 < whole.usage.reasoning_tokens < whole.usage.completion_tokens


def test_a_call_that_nobody_can_answer_is_part_of_the_answer(
    service: GenerationService, models: dict[str, Model]
) -> None:
    whole = service.submit(_request(models["harmony-call"], tools=False)).result()
    assert whole.content == 'I will look.\nget_weather {"city": "Oslo"}'
    assert (whole.tool_calls, whole.finish_reason) == ((), "stop")


@pytest.mark.parametrize("name", _SCRIPTS)
def test_an_answer_cut_off_anywhere_shows_a_beginning_of_the_whole(
    name: str, service: GenerationService, models: dict[str, Model]
) -> None:
    script = _SCRIPTS[name]
    total = service.submit(_request(models[name])).result().usage.completion_tokens
    cuts = [service.submit(_request(models[name], max_tokens=count)) for count in range(1, total + 1)]
    counted = 0
    for count, cut in enumerate(cuts, start=1):
        answer = cut.result()
        assert script.reasoning.startswith(answer.reasoning.rstrip("\n"))
        assert script.content.startswith(answer.content)
        for call, (function, arguments) in zip(answer.tool_calls, script.calls, strict=False):
            assert call.name == function
            assert arguments.startswith(call.arguments)
        assert answer.usage.completion_tokens == count
        assert counted <= answer.usage.reasoning_tokens <= count
        counted = answer.usage.reasoning_tokens
        if count < total:
            assert answer.finish_reason == "length"
            assert not (answer.content and script.reasoning != answer.reasoning), "an answer before its reasoning"
    assert (answer.reasoning, answer.content) == (script.reasoning, script.content)


def test_the_chats_stop_strings_end_the_answer_and_not_the_reasoning(
    service: GenerationService, tmp_path: Path
) -> None:
    script = Script(
        "<think>\nThey said:\nUser: hi\n</think>\nHello.\nUser: and", "think", "", "", template=THINKING_CHATML
    )
    answer = service.submit(_request(script.write(tmp_path / "m"))).result()
    assert (answer.reasoning, answer.content) == ("They said:\nUser: hi", "Hello.")
    assert (answer.finish_reason, answer.stop_string) == ("stop", "\nUser:")


def test_switched_off_by_the_template_there_is_no_reasoning(service: GenerationService, tmp_path: Path) -> None:
    script = Script("Take the left.", "think", "", "", template=THINKING_CHATML)
    request = _request(script.write(tmp_path / "m"), template_options={"enable_thinking": False})
    answer = service.submit(request).result()
    assert (answer.reasoning, answer.content) == ("", "Take the left.")
    assert answer.usage.reasoning_tokens == 0


def test_format_none_shows_the_text_as_the_model_wrote_it(service: GenerationService, models: dict[str, Model]) -> None:
    answer = service.submit(_request(models["think"], reasoning_format="none")).result()
    assert (answer.reasoning, answer.content) == ("", _SCRIPTS["think"].says)


@pytest.fixture
def run(cli: Callable[..., Result], models: dict[str, Model]) -> Callable[..., Result]:
    """`run("think", "--json")`: the command line with everything that is installed."""
    host = Host.discover(strict=True)
    return lambda name, *options: cli("run", str(models[name].path), "Which way?", *options, host=host)


@pytest.mark.parametrize("name", ["harmony", "think", "think-opened"])
def test_run_shows_the_same_streamed_and_whole(name: str, run: Callable[..., Result]) -> None:
    script = _SCRIPTS[name]
    streamed, whole = run(name), run(name, "--no-stream")
    assert streamed.code == whole.code == 0
    assert streamed.stdout == whole.stdout
    assert streamed.stdout.rstrip("\n") == (
        f"**[Reasoning]**\n\n{script.reasoning}\n\n---\n\n**[Answer]**\n\n{script.content}".rstrip("\n")
    )


@pytest.mark.parametrize("name", ["harmony", "think", "think-opened"])
def test_run_hides_the_reasoning_and_keeps_it_apart_in_json(name: str, run: Callable[..., Result]) -> None:
    script = _SCRIPTS[name]
    assert run(name, "--hide-reasoning").stdout.rstrip("\n") == script.content.rstrip("\n")
    data = json.loads(run(name, "--json").stdout)["data"]
    assert (data["reasoning"], data["response"]) == (script.reasoning, script.content)


def test_serve_splits_the_same_streamed_and_whole(mlxk: Processes) -> None:
    for name, script in _SCRIPTS.items():
        in_hub_cache(f"org/{name}", script.write)
    server = mlxk.start("serve", "--port", "0", "--json", "--log-level", "error")
    assert server.stdout is not None
    document, started = "", None
    while started is None:
        document += server.stdout.readline()
        try:
            started = json.loads(document)
        except ValueError:
            assert server.poll() is None, document
    try:
        for name, script in _SCRIPTS.items():
            message, reason = _ask(started["data"]["base_url"], f"org/{name}")
            parts, streamed_reason = _ask(started["data"]["base_url"], f"org/{name}", stream=True)
            assert reason == streamed_reason == ("tool_calls" if script.calls else "stop")
            for said in (message, parts):
                assert said["reasoning_content"] == said["reasoning"] == script.reasoning
                assert (said["content"] or "") == script.content
                calls = [call["function"] for call in said.get("tool_calls", ())]
                assert tuple((call["name"], call["arguments"]) for call in calls) == script.calls
        hidden, _ = _ask(started["data"]["base_url"], "org/think", include_reasoning=False)
        assert hidden["content"] == _SCRIPTS["think"].content
        assert not hidden.get("reasoning")
    finally:
        server.terminate()
        server.wait()


def _ask(base: str, model: str, **fields: object) -> tuple[dict, str]:
    """The message of one chat completion (a stream's deltas joined), and why it ended."""
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    tools = [tool] if model.endswith("call") else None
    body = {"model": model, "messages": [{"role": "user", "content": "Which way?"}], "temperature": 0, "tools": tools}
    request = urllib.request.Request(
        f"{base}/chat/completions", json.dumps({**body, **fields}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        if not fields.get("stream"):
            choice = json.load(response)["choices"][0]
            return choice["message"], choice["finish_reason"]
        joined: dict = {"content": "", "reasoning": "", "reasoning_content": "", "tool_calls": []}
        reason = ""
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            choice = json.loads(line[6:])["choices"][0]
            reason = choice["finish_reason"] or reason
            for key in ("content", "reasoning", "reasoning_content"):
                joined[key] += choice["delta"].get(key) or ""
            for call in choice["delta"].get("tool_calls", ()):
                if call["index"] == len(joined["tool_calls"]):
                    joined["tool_calls"].append(call)
                else:
                    joined["tool_calls"][call["index"]]["function"]["arguments"] += call["function"]["arguments"]
        return joined, reason


def test_a_chat_at_a_terminal_sets_the_reasoning_of_each_turn_apart(mlxk: Processes, models: dict[str, Model]) -> None:
    command, *arguments = mlxk.command("run", str(models["harmony"].path), "--plain")
    chat = pexpect.spawn(command, arguments, encoding="utf-8", timeout=180, echo=False, dimensions=(24, 200))
    try:
        said = []
        for question in ("Which way?", "And now?"):
            chat.expect("You:")
            chat.sendline(question)
            chat.expect(r"Thinking.*It is \*\*4\*\*\.")
            said.append(" ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", chat.match.group()).split()))
        chat.expect("You:")
        chat.sendline("/bye")
        chat.expect(pexpect.EOF)
    finally:
        chat.close(force=True)
    script = _SCRIPTS["harmony"]
    # A terminal draws an unfinished line again and again, so only the last state of each turn is compared.
    answer = " ".join(f"{script.reasoning} {script.content}".split())
    assert [text.endswith(answer[-30:]) for text in said] == [True, True]


@pytest.mark.usefixtures("examples")
def test_a_third_partys_format_works_everywhere_with_no_change_elsewhere(
    cli: Callable[..., Result], tmp_path: Path
) -> None:
    template = THINKING_CHATML.replace("<think>", "⟦muse⟧").replace("</think>", "⟦/muse⟧")
    scripted_model(tmp_path / "m", "⟦muse⟧Plan.⟦/muse⟧Go.", chat_template=template)
    host = Host.discover(strict=True)

    with GenerationService(host) as service:
        answer = service.submit(_request(Model(name="m", path=tmp_path / "m"))).result()
    data = cli("run", str(tmp_path / "m"), "Hi", "--json", host=host).json["data"]
    shown = cli("show", str(tmp_path / "m"), host=host).stdout

    assert (answer.reasoning, answer.content) == (data["reasoning"], data["response"]) == ("Plan.", "Go.")
    assert "muse (the chat template writes ⟦muse⟧)" in " ".join(shown.split())
