"""Chat templates: every part of a conversation is in the prompt, and a template cannot take the process down."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import MappingProxyType

import pytest

from mlxk_core._generation.role_rewrites import rewrites
from mlxk_core.api import Message, Model, Tool, ToolCall
from mlxk_core.api.errors import InvalidOption, NoTemplate, TemplateError, TemplateLimitExceeded
from mlxk_core.api.processes import ProcessNotStarted
from mlxk_mlx.engine.argument_repair import repaired_object
from mlxk_mlx.engine.chat_template import ChatTemplate
from mlxk_mlx.engine.message_format import MessageFormat
from mlxk_mlx.engine.template_messages import Request, encode_request
from mlxk_mlx.engine.template_probe import Probe
from mlxk_mlx.engine.template_process import OutputLimit, RenderProcesses, TemplateLimit, TemplateRefusal
from mlxk_mlx.loading.chat_template_files import renderer

SYSTEM = Message(role="system", content="Be brief.")
QUESTION = Message(role="user", content="How warm?")
ANSWER = Message(role="assistant", content="Very.")
CALL = ToolCall(id="call_1", name="weather", arguments='{"city": "Rome"}')
OTHER_CALL = ToolCall(id="call_2", name="wind", arguments='{"city": "Oslo"}')
CALLING = Message(role="assistant", content="", tool_calls=(CALL,))
RESULT = Message(role="tool", content="sunny", tool_call_id="call_1")
OTHER_RESULT = Message(role="tool", content="windy", tool_call_id="call_2")

PLAIN = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def render(source: str, *messages: Message, **options) -> str:
    return ChatTemplate.of({"default": source}, {}).render(messages, **options)


@pytest.mark.parametrize(
    "content",
    [
        "{{ m.content[0].text }}",
        "{% for c in m.content | selectattr('type', 'equalto', 'text') %}{{ c.text }}{% endfor %}",
        "{% if m.content[0]['type'] == 'image' %}:{% endif %}{% for c in m['content'] %}{{ c['text'] }}{% endfor %}",
        "{% if m.role == 'user' %}{{ m.content[0].text }}{% else %}{{ m.content | trim }}{% endif %}",
    ],
)
def test_content_is_shown_by_a_template_that_reads_typed_parts(content):
    source = PLAIN.replace("{{ m.content }}", content)
    prompt = render(source, SYSTEM, QUESTION, ANSWER, QUESTION)
    assert prompt == "<system>Be brief.;<user>How warm?;<assistant>Very.;<user>How warm?;<assistant>"


@pytest.mark.parametrize(
    "assistant, shown",
    [
        ("{% if m.content is none %}CALL {{ c.name + ' ' + c.arguments }}{% endif %}", 'CALL weather {"city": "Rome"}'),
        ("{% if 'content' not in m %}{{ c.name }} {{ c.arguments | tojson }}{% endif %}", 'weather {"city": "Rome"}'),
        ("{{ c.name }}{% for k, v in c.arguments | items %}({{ k }}: {{ v }}){% endfor %}", "weather(city: Rome)"),
        ("{{ m.tool_calls[0].name }} {{ m.tool_calls[0].arguments }}", 'weather {"city": "Rome"}'),
    ],
)
def test_a_call_is_shown_by_a_template_that_expects_another_form(assistant, shown):
    source = (
        "{% for m in messages %}{% if m.tool_calls %}{% set c = m.tool_calls[0].function %}<assistant>"
        + assistant
        + ";{% else %}<{{ m.role }}>{{ m.content }};{% endif %}{% endfor %}"
    )
    assert render(source, QUESTION, CALLING, RESULT) == f"<user>How warm?;<assistant>{shown};<tool>sunny;"


ONE_CALL = (
    "{% for m in messages %}{% if m.tool_calls %}"
    "{% if m.tool_calls | length > 1 %}{{ raise_exception('one') }}{% endif %}"
    "<call>{{ m.tool_calls[0].function.name }} {{ m.tool_calls[0].function.arguments | tojson }}\n"
    "{% else %}<{{ m.role }}>{{ m.content }}\n{% endif %}{% endfor %}"
)


@pytest.mark.parametrize("source", [ONE_CALL, ONE_CALL.replace("{{ raise_exception('one') }}", "")])
def test_text_and_several_calls_are_shown_by_a_template_that_has_one_call_or_text(source):
    calling = Message(role="assistant", content="I look.", tool_calls=(CALL, OTHER_CALL))
    assert render(source, QUESTION, calling, RESULT, OTHER_RESULT).splitlines() == [
        "<user>How warm?",
        "<assistant>I look.",
        '<call>weather {"city": "Rome"}',
        "<tool>sunny",
        '<call>wind {"city": "Oslo"}',
        "<tool>windy",
    ]


@pytest.mark.parametrize(
    "arguments, shown",
    [
        ('{"city": "Ro', "city=Ro;"),
        ('{"city": ', "city=None;"),
        ('{"city": "Rome", "days": [1, 2', "city=Rome;days=[1, 2];"),
        ('"{\\"city\\": \\"Rome\\"}"', "city=Rome;"),
        ("Rome, please", "arguments=Rome, please;"),
        ("[1]", "arguments=[1];"),
        ("", ""),
        ("null", ""),
    ],
)
def test_arguments_that_are_no_object_reach_a_template_that_wants_one(arguments, shown):
    source = (
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.name }}("
        "{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }};{% endfor %}){% endfor %}"
        "{{ m.content }}{% endfor %}"
    )
    calling = Message(role="assistant", content="", tool_calls=(ToolCall(id="1", name="f", arguments=arguments),))
    assert render(source, QUESTION, calling) == f"How warm?f({shown})"


@pytest.mark.parametrize(
    "source, messages, missing",
    [
        ("{% for m in messages if m.role != 'tool' %}{{ m.content }}{{ m.tool_calls }}{% endfor %}", "tool", "results"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "call", "tool calls"),
        ("{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}", "system", "system messages"),
        ("{{ messages[0].content }}", "late", "system messages"),
        ("{{ 'Hello' }}", "question", "user messages"),
    ],
)
def test_what_a_template_leaves_out_is_an_error_that_names_it(source, messages, missing):
    conversation = {
        "tool": (QUESTION, CALLING, RESULT),
        "call": (QUESTION, CALLING),
        "system": (SYSTEM, QUESTION),
        "late": (QUESTION, SYSTEM),
        "question": (QUESTION,),
    }[messages]
    with pytest.raises(TemplateError, match=missing):
        render(source, *conversation)


@pytest.mark.parametrize("said", ["No system role", "No system role."])
def test_the_error_of_a_template_ends_with_one_full_stop(said):
    with pytest.raises(TemplateError, match=r"[^.]: No system role\.$"):
        render(f"{{{{ raise_exception('{said}') }}}}", QUESTION)


def test_named_templates_are_used_for_tools_and_documents():
    named = {
        "default": PLAIN,
        "tool_use": "T {{ tools | length }} " + PLAIN,
        "rag": "D {{ documents[0].text }} " + PLAIN,
    }
    template = ChatTemplate.of(named, {})
    assert template.render([QUESTION]) == "<user>How warm?;<assistant>"
    assert template.render([QUESTION], tools=[Tool(name="f")]).startswith("T 1 <user>")
    assert template.render([QUESTION], options={"documents": [{"text": "x"}]}).startswith("D x <user>")
    with pytest.raises(NoTemplate):
        ChatTemplate.of({}, {}).render([QUESTION])


def test_a_template_sees_special_tokens_and_options():
    template = ChatTemplate.of({"default": "{{ bos_token }}{{ mood }}{{ messages[0].content }}"}, {"bos_token": "<s>"})
    assert template.render([QUESTION], options={"mood": "calm "}) == "<s>calm How warm?"


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 10 ** 11 }}",
        "{{ '%100000000000d' % 1 }}",
        "{% set n = namespace(s='ab') %}{% for i in range(64) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
        "{% set n = namespace(l=[1]) %}{% for i in range(40) %}{% set n.l = [n.l, n.l] %}{% endfor %}"
        "{{ n.l | tojson }}",
        "{% for i in range(99999) %}{{ ('a' * 1000) }}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_a_hostile_template_fails_within_its_limits(source):
    processes = RenderProcesses(1, seconds=6)
    began = time.monotonic()
    with pytest.raises((TemplateLimit, TemplateRefusal)):
        processes.render(source, {})
    assert time.monotonic() - began < 60  # not for ever
    assert processes.render("{{ x }}", {"x": "ä\ud800"}) == "ä\ud800"
    processes.close()


def test_texts_reach_a_template_without_escapes():
    """Which take a second to write, with the interpreter locked; and a text that comes several times is sent once."""
    text = "\U0001f600" + "\n" * 1_000_000
    variables = {"messages": [{"content": text, "thinking": text, "reasoning": text}], "x": MappingProxyType({"a": 1})}
    assert len(encode_request(Request("", False, {"messages": variables["messages"]}))) < len(text) + 1000
    processes = RenderProcesses(1)
    source = "{{ messages[0].reasoning == messages[0].content }} {{ x.a }} {{ messages[0].content | length }}"
    assert processes.render(source, variables) == "True 1 1000001"
    processes.close()


def test_an_error_of_a_template_is_short_however_long_it_is_written():
    processes = RenderProcesses(1)
    with pytest.raises(TemplateRefusal) as refusal:
        processes.render("{{ raise_exception('x' * 10000000) }}", {})
    assert 0 < len(str(refusal.value)) < 2000
    processes.close()


@pytest.mark.parametrize("reasoning", ["", "Hm."])
def test_a_process_that_cannot_be_started_is_not_a_refusal_and_is_tried_again(reasoning):
    starts = iter([False])

    def apply(variables):
        if not next(starts, True):
            raise ProcessNotStarted("the chat template", "no descriptor is free")
        return "".join(message["content"] + message.get("reasoning_content", "") for message in variables["messages"])

    template = ChatTemplate.of_code(apply)
    conversation = [QUESTION, Message(role="assistant", content="Very.", reasoning=reasoning), QUESTION]
    with pytest.raises(ProcessNotStarted):
        template.render(conversation)
    assert template.render(conversation) == f"How warm?Very.{reasoning}How warm?"


def test_a_template_that_exceeded_its_limits_is_not_tried_again():
    calls = []

    def endless(variables):
        calls.append(variables)
        raise TemplateLimit("it takes more than 10 s")

    now = 0.0
    template = ChatTemplate.of_code(endless, lambda: now)
    for now, tries in ((0.0, 1), (30.0, 1), (59.0, 1), (61.0, 2)):  # noqa: B007 - the clock reads it
        # After a minute again: a busy machine is not the template's fault.
        with pytest.raises(TemplateLimitExceeded):
            template.render([QUESTION])
        assert len(calls) == tries


def test_options_with_which_a_template_exceeds_its_limits_are_those_of_one_client():
    calls = []

    def endless(variables):
        calls.append(variables)
        if "options" in variables:
            raise TemplateLimit("it takes more than 10 s")
        return variables["messages"][0]["content"]

    template = ChatTemplate.of_code(endless)
    with pytest.raises(TemplateLimitExceeded):
        template.render([QUESTION], options={"options": "x"})
    assert template.render([QUESTION]) == "How warm?"


def test_a_long_option_does_not_make_a_template_unavailable():
    template = ChatTemplate.of({"default": "{% for m in messages %}{{ m.content }}{{ between }}{% endfor %}"}, {})
    turns = [QUESTION, ANSWER] * 100
    for between in ("x" * 1_000_000, ["x" * 1_000_000]):
        with pytest.raises(InvalidOption):
            template.render(turns, options={"between": between})
    assert template.render(turns, options={"between": "x" * 5000}).count("x" * 5000) == 200
    assert template.render(turns, options={"between": "."}).count(".") == 200 + 100  # those of the answers


def test_a_conversation_has_a_limited_expansion():
    """However many spaces a template indents numbers with, or writes between messages."""
    processes = RenderProcesses(1)
    indented = "{{ x | tojson(indent=4) }}"
    assert processes.render(indented, {"x": {"a": [1]}}) == '{\n    "a": [\n        1\n    ]\n}'
    deep = json.loads("[" * 188 + "0" + ",0" * 3_000 + "]" * 188)
    with pytest.raises(OutputLimit):
        processes.render(indented, {"x": deep})
    assert len(processes.render("{{ x }}{{ x }}", {"x": "\n" * 1_000_000})) == 2_000_000
    processes.close()


def test_the_forms_that_are_tried_share_the_time_limit():
    times = []

    def slow(variables):
        times.append(6.0)
        if len(variables["messages"]) > 1:
            raise ValueError("not so")
        return variables["messages"][0]["content"]

    template = ChatTemplate.of_code(slow, lambda: sum(times))
    with pytest.raises(TemplateLimitExceeded):
        template.render([SYSTEM, CALLING, RESULT])
    assert len(times) == 2
    assert template.render([QUESTION]) == "How warm?"  # another shape


def test_a_prompt_with_half_a_character_is_an_error_of_the_template():
    with pytest.raises(TemplateError, match="surrogates"):
        render(PLAIN + "{{ '\\ud800' }}", QUESTION)


def test_a_template_that_takes_its_time_for_conversations_soon_has_less():
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    source = "{% if 'mlxk1' not in messages[0].content %}" + loop + "{% endif %}" + PLAIN
    template = ChatTemplate.of({"default": source}, {})
    for limit in ("10 s", "1 s"):
        with pytest.raises(TemplateLimitExceeded, match=f"more than {limit}"):
            template.render([QUESTION])


def kinds_that_follow(messages):
    kinds = [(message.role, bool(message.content), bool(message.tool_calls)) for message in messages]
    return set(pairwise(kinds))


@pytest.mark.parametrize(
    "turns",
    [
        [Message(role="assistant", content="", tool_calls=(ToolCall(id="c", name="f", arguments="{}"),) * 20_000)],
        [
            message
            for number in range(5000)
            for message in (
                Message(
                    role="assistant",
                    content="",
                    tool_calls=tuple(ToolCall(id=f"c{number}-{i}", name="f", arguments="{}") for i in range(3)),
                ),
                *(Message(role="tool", content="r", tool_call_id=f"c{number}-{i}") for i in range(3)),
            )
        ],
        [Message(role="assistant", content="y")] * 20_000,
        [Message(role="tool", content="r", tool_call_id="c")] * 20_000,
        [*[SYSTEM] * 66, *[Message(role=role, content="") for role in ("user", "assistant")] * 9000, *[ANSWER] * 66],
        [*[QUESTION, ANSWER] * 33, *[SYSTEM] * 20_000, CALLING, RESULT, *[ANSWER] * 66],
        [
            *[SYSTEM] * 66,
            *[Message(role=role, content="") for role in ("assistant", "user")],
            *[ANSWER] * 66,
            SYSTEM,
            RESULT,
        ],
    ],
    ids=[
        "calls",
        "results",
        "answers",
        "results of one call",
        "ends that differ",
        "a middle that differs",
        "an end like no other",
    ],
)
def test_a_conversation_of_thousands_of_pieces_has_a_short_probe(turns):
    probe = Probe.of([QUESTION, *turns])
    assert len(probe.messages) <= 140
    if len(turns) > 1:
        assert kinds_that_follow(probe.messages) <= kinds_that_follow([QUESTION, *turns])
    assert sum(len(message.tool_calls) for message in probe.messages) <= 130
    calls = {call.id for message in probe.messages for call in message.tool_calls}
    results = [message.tool_call_id for message in probe.messages if message.role == "tool"]
    assert not calls or set(results) <= calls


def counting():
    """A template that writes the contents, and the variables of each of its calls."""
    calls = []

    def apply(variables):
        calls.append(variables)
        return "".join(message["content"] for message in variables["messages"])

    template = ChatTemplate.of_code(apply)
    return template, calls


def test_a_shape_of_conversation_is_probed_once():
    template, calls = counting()
    assert [template.render([QUESTION]) for _ in range(3)] == ["How warm?"] * 3
    assert len(calls) == 4


def test_white_space_is_one_shape_however_much_there_is():
    template, calls = counting()
    spaces = [" " * (1 + number) for number in range(5)]
    assert [template.render([Message(role="user", content=text)]) for text in spaces] == spaces
    assert len(calls) == 6
    assert max(len(message["content"]) for message in calls[0]["messages"]) <= 1


def test_long_conversations_and_deep_arguments_take_linear_time():
    source = PLAIN.replace(
        "{{ m.content }}", "{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function }}{% endfor %}"
    )
    calls = tuple(ToolCall(id=f"c{number}", name="f", arguments='{"a": ') for number in range(2))
    results = [Message(role="tool", content="r", tool_call_id=call.id) for call in calls]
    turns = [QUESTION, Message(role="assistant", content="", tool_calls=calls), *results, ANSWER] * 4000
    assert render(source, *turns).count("How warm?") == 4000
    assert MessageFormat(calls="one-by-one").write(turns)[2]["role"] == "tool"
    assert repaired_object("{" + '"a":[' * 200_000) is None
    assert len(next(rewrites([QUESTION] * 20_000)).messages) == 1


def test_a_template_of_mlx_lm_is_rendered_in_a_process_with_limits(tmp_path):
    config = {"chat_template_type": "deepseek_v32"}
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    render = renderer(Model(name="x", path=tmp_path))
    assert "How warm?" in render([QUESTION])
    many = [QUESTION, *([Message(role="assistant", content="a", reasoning="b")] * 20_000)]
    with pytest.raises(TemplateLimitExceeded):
        render(many)


def test_conversations_that_need_no_search_do_not_wait_for_one():
    """Calls that a template cannot show are tried in a hundred forms, each set of options by itself."""
    with_calls, go_on = [], threading.Event()

    def apply(variables):
        if any(message.get("tool_calls") for message in variables["messages"]):
            with_calls.append(variables)
            assert len(with_calls) == 1 or go_on.wait(60)
        return "".join(str(message["content"]) for message in variables["messages"])

    template = ChatTemplate.of_code(apply)
    user = Message(role="user", content="x")
    calls = Message(role="assistant", content="", tool_calls=(ToolCall(id="a", name="f", arguments="{}"),))
    with ThreadPoolExecutor(1) as pool:
        search = pool.submit(template.render, [user, calls, user])
        try:
            until = time.monotonic() + 60
            while len(with_calls) < 2 and time.monotonic() < until:
                time.sleep(0.01)
            assert template.render([user]) == "x"
            assert template.render([user, Message(role="assistant", content="y"), user]) == "xyx"
            assert not search.done()
        finally:
            go_on.set()
