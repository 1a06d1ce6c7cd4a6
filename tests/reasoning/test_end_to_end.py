"""Reasoning through the whole service: real tiny models that say a script, cut off at every single token."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlxk_core.api import Channel, Delta, Message, Model, Sampling, Tool, ToolCallDelta
from mlxk_core.generation.events import Started
from mlxk_core.generation.messages import GenerationRequest
from mlxk_core.generation.service import GenerationService
from mlxk_core.host import Host
from mlxk_core.testing.models import (
    CHATML_TOKENS,
    OPENED_THINKING_CHATML,
    THINKING_CHATML,
    gpt_oss_model,
    scripted_model,
)
from mlxk_core.testing.processes import Result

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


def _request(model: Model, max_tokens: int | None = None, **more: object) -> GenerationRequest:
    return GenerationRequest(
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
    events = list(service.submit(_request(models[name], tools=(Tool(name="get_weather"),))))
    whole = service.submit(_request(models[name], tools=(Tool(name="get_weather"),))).result()

    assert [event.reasoning_format for event in events if isinstance(event, Started)] == [script.format]
    assert (whole.reasoning, whole.content) == (script.reasoning, script.content)
    assert tuple((call.name, call.arguments) for call in whole.tool_calls) == script.calls
    assert whole.finish_reason == ("tool_calls" if script.calls else "stop")
    for channel, text in ((Channel.REASONING, whole.reasoning), (Channel.CONTENT, whole.content)):
        assert "".join(e.text for e in events if isinstance(e, Delta) and e.channel is channel) == text
    assert len({event.id for event in events if isinstance(event, ToolCallDelta) and event.id}) == len(script.calls)
    assert 0 < whole.usage.reasoning_tokens < whole.usage.completion_tokens


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


def test_a_third_partys_format_works_with_no_change_elsewhere(service: GenerationService, tmp_path: Path) -> None:
    pytest.importorskip("mlxk_hello_format")
    template = THINKING_CHATML.replace("<think>", "⟦muse⟧").replace("</think>", "⟦/muse⟧")
    scripted_model(tmp_path / "m", "⟦muse⟧Plan.⟦/muse⟧Go.", chat_template=template)
    answer = service.submit(_request(Model(name="m", path=tmp_path / "m"))).result()
    assert (answer.reasoning, answer.content) == ("Plan.", "Go.")


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
