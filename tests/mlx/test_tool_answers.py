"""Tools through the whole service: what the template is told, what a model calls, and what is sent back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mlxk_core._generation.events import Finished
from mlxk_core._generation.request import GenerationRequest
from mlxk_core._generation.service import GenerationService
from mlxk_core._host.host import Host
from mlxk_core.api import Delta, Message, Model, Sampling, Tool, ToolCall, ToolCallDelta
from mlxk_testing.tiny_models import CHATML_TOKENS, scripted_model

_TOOLS = (
    Tool(name="weather", description="Now.", parameters={"type": "object", "properties": {"city": {"type": "string"}}}),
)
_CHATML = (
    "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}{% for tool_call in message.tool_calls or [] %}"
    "{# tool_call.name #}<tool_call>{{ tool_call.function.name }}:"
    "{% for key, value in tool_call.function.arguments | items %}"
    "{{ key }}={{ value }};{% endfor %}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "%s"}}\n</tool_call>'
_TOKENS = (*CHATML_TOKENS, "<think>", "</think>", "<tool_call>", "</tool_call>")


@pytest.fixture
def ask(tmp_path):
    """`ask(says, template)` is a function of requests to a model that says `says`; it gives a generation."""
    with GenerationService(Host.discover(strict=True)) as service:

        def model(says: str, template: str):
            folder = scripted_model(tmp_path / "model", says, chat_template=template, added_tokens=_TOKENS)

            def generate(*messages: Message, **options):
                options = {"sampling": Sampling(temperature=0), "tools": _TOOLS, "echo": True} | options
                prompt = messages or (Message(role="user", content="Is it warm?"),)
                return service.submit(GenerationRequest(model=Model(name="m", path=folder), prompt=prompt, **options))

            return generate

        yield model


def test_a_model_that_thinks_and_calls_tools_gives_both_apart(ask):
    says = f"<think>\nTwo cities.\n</think>\n\nI look.\n{_CALL % 'Oslo'}\n{_CALL % 'Rome'}"
    generate = ask(says, _CHATML + "{# <think></think> #}")
    events = list(generate())
    completion = generate().result()
    assert completion.finish_reason == "tool_calls"
    assert completion.reasoning == "Two cities."
    assert completion.content == "I look."
    assert [(call.name, call.arguments) for call in completion.tool_calls] == [
        ("weather", '{"city": "Oslo"}'),
        ("weather", '{"city": "Rome"}'),
    ]
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    assert [(call.index, call.name, call.arguments) for call in calls] == [
        (index, call.name, call.arguments) for index, call in enumerate(completion.tool_calls)
    ]
    assert isinstance(events[-1], Finished) and events[-1].reason == "tool_calls"
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "Two cities.I look."
    assert events[-1].usage.reasoning_tokens == completion.usage.reasoning_tokens
    assert 0 < completion.usage.reasoning_tokens < 12, "calls are not reasoning"


def test_a_call_may_stand_where_thinking_was_not_closed(ask):
    completion = ask(f"<think>\nHm.\n{_CALL % 'Oslo'}", _CHATML + "{# <think></think> #}")().result()
    assert (completion.reasoning, completion.content, len(completion.tool_calls)) == ("Hm.", "", 1)


def test_calls_are_text_for_a_request_without_tools(ask):
    completion = ask(_CALL % "Oslo", _CHATML)(tools=()).result()
    assert (completion.content, completion.finish_reason) == (_CALL % "Oslo", "stop")
    assert completion.tool_calls == ()


def test_an_answer_cut_off_inside_a_call_has_the_call_so_far(ask):
    generate = ask(_CALL % "Oslo", _CHATML)
    whole = generate().result()
    for allowed in range(1, whole.usage.completion_tokens - 2):
        completion = generate(max_tokens=allowed).result()
        assert completion.finish_reason == "length"
        if not completion.tool_calls:
            assert (_CALL % "Oslo").startswith(completion.content) and completion.content
        else:
            assert '{"city": "Oslo"}'.startswith(completion.tool_calls[0].arguments)


def test_a_template_is_told_the_tools_in_the_form_of_openai(ask):
    generation = ask("Yes.", _CHATML)()
    completion = generation.result()
    function = {"name": "weather", "description": "Now.", "parameters": _TOOLS[0].parameters}
    assert json.loads(completion.prompt_text.splitlines()[0]) == {"type": "function", "function": function}


def _history(arguments: str, *, identifier: str = "call_1") -> tuple[Message, ...]:
    call = ToolCall(id=identifier, name="weather", arguments=arguments)
    return (
        Message(role="user", content="Is it warm?"),
        Message(role="assistant", content="", tool_calls=(call,)),
        Message(role="tool", content="12 °C", tool_call_id=identifier),
    )


def test_calls_and_their_results_are_written_into_the_history(ask):
    generation = ask("No.", _CHATML)(*_history('{"city": "Oslo"}'))
    completion = generation.result()
    assert completion.content == "No."
    assert "<tool_call>weather:city=Oslo;</tool_call>" in completion.prompt_text
    assert "<|im_start|>tool\n12 °C<|im_end|>" in completion.prompt_text


def test_a_call_without_arguments_is_written_as_one_with_none(ask):
    for arguments in ("", "{}", "null"):
        generation = ask("No.", _CHATML)(*_history(arguments))
        completion = generation.result()
        assert completion.content == "No."
        assert "<tool_call>weather:</tool_call>" in completion.prompt_text


def test_a_template_that_wants_arguments_as_text_gets_them(ask):
    template = _CHATML.replace(
        "{% for key, value in tool_call.function.arguments | items %}{{ key }}={{ value }};{% endfor %}",
        "{{ 'json: ' + tool_call.function.arguments }}",
    )
    generation = ask("No.", template)(*_history('{"city": "Oslo"}'))
    completion = generation.result()
    assert completion.content == "No."
    assert '<tool_call>weather:json: {"city": "Oslo"}</tool_call>' in completion.prompt_text


def test_a_template_that_wants_ids_of_nine_characters_gets_them(ask):
    template = _CHATML.replace(
        "{{ tool_call.function.name }}",
        "{% if tool_call.id | length != 9 %}{{ raise_exception('no') }}{% endif %}"
        "{{ tool_call.function.name }}[{{ tool_call.id }}]",
    ).replace("{{ message.content }}", "{{ message.content }}({{ message.tool_call_id }})")
    generation = ask("No.", template)(*_history("{}", identifier="call_0123456789abcdef"))
    completion = generation.result()
    assert completion.content == "No."
    identifier = completion.prompt_text.partition("[")[2].partition("]")[0]
    assert identifier.isalnum() and f"12 °C({identifier})" in completion.prompt_text
    kept = ask("No.", template)(*_history("{}", identifier="abcDEF123"))
    assert "[abcDEF123]" in kept.result().prompt_text


def test_a_result_is_told_the_name_of_its_function(ask):
    template = _CHATML.replace("{{ message.role }}", "{{ message.role }}/{{ message.name }}")
    generation = ask("No.", template)(*_history("{}"))
    completion = generation.result()
    assert "<|im_start|>tool/weather\n12 °C" in completion.prompt_text


def test_reasoning_beside_content_and_calls_is_kept_from_a_template_that_refuses_it(ask):
    template = _CHATML.replace(
        "{{ message.content }}",
        "{% if message.tool_calls and message.content and message.thinking %}{{ raise_exception('both') }}{% endif %}"
        "{{ message.thinking }}|{{ message.content }}",
    )
    user, call, result = _history("{}")
    generation = ask("No.", template)(user, replace(call, reasoning="Hm."), result)
    completion = generation.result()
    assert "<|im_start|>assistant\nHm.|<tool_call>" in completion.prompt_text
    generation = ask("No.", template)(user, replace(call, reasoning="Hm.", content="I look."), result)
    completion = generation.result()
    assert "<|im_start|>assistant\n|I look.<tool_call>" in completion.prompt_text


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_is_sent_back_by_the_name_that_the_template_reads(ask, key):
    # LFM2.5 reads `thinking` beside content and calls, Solar Open `reasoning` only.
    template = _CHATML.replace(
        "{{ message.content }}",
        f"{{% if message.{key} %}}[{{{{ message.{key} }}}}]{{% endif %}}{{{{ message.content }}}}",
    )
    user, call, result = _history("{}")
    generation = ask("No.", template)(user, replace(call, reasoning="Hm.", content="I look."), result)
    completion = generation.result()
    assert "<|im_start|>assistant\n[Hm.]I look.<tool_call>" in completion.prompt_text


def test_reasoning_is_sent_back_as_a_part_of_the_content_where_the_template_wants_that(ask):
    # As Ministral's and Magistral's do.
    template = _CHATML.replace(
        "{{ message.content }}",
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for block in message['content'] %}"
        "{% if block['type'] == 'thinking' %}{{ '[THINK]' + block['thinking'] + '[/THINK]' }}"
        "{% elif block['type'] == 'text' %}{{ block['text'] }}"
        "{% else %}{{ raise_exception('no') }}{% endif %}{% endfor %}{% endif %}",
    )
    user, call, result = _history("{}")
    for content in ("I look.", ""):
        generation = ask("No.", template)(user, replace(call, reasoning="Hm.", content=content), result)
        completion = generation.result()
        assert f"<|im_start|>assistant\n[THINK]Hm.[/THINK]{content}<tool_call>" in completion.prompt_text
    generation = ask("No.", template)(user, replace(call, content="I look."), result)
    completion = generation.result()
    assert "<|im_start|>assistant\nI look.<tool_call>" in completion.prompt_text
