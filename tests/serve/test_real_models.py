"""Real models in a real process: what no scripted engine can show."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlxk_testing.tiny_models import (
    CHATML,
    HARMONY_TOKENS,
    OPENED_THINKING_CHATML,
    THINKING_CHATML,
    gpt_oss_model,
    in_hub_cache,
    random_model,
    scripted_model,
)
from mlxk_testing.tiny_models.files import edit_json

THINKS = "<think>\nTwo and two, carefully.\n</think>\n\nIt is four."
EMOJI = ["Zoë says ", "🎉".encode()[:2], "🎉".encode()[2:], " 日", "本".encode()[:1], "本".encode()[1:], "!"]
CALL = (
    "<|channel|>analysis<|message|>Use the tool.<|end|><|start|>assistant<|channel|>commentary to=functions.weather "
    '<|constrain|>json<|message|>{"city":"Paris"}<|call|>'
)
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells it.", "parameters": {"type": "object"}},
}
CALLS_TWICE = """\
Both: <tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>
<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>"""
CALLING_CHATML = (
    "{% for tool in tools or () %}{{ tool.function.name }}{% endfor %}"
    "{% for tool_call in () %}<tool_call>{{ tool_call.name }}</tool_call>{% endfor %}" + CHATML
)
SLOW_TO_READ = {
    "glm47": ["<tool_call>", "f<arg_key>", *[" " * 80] * 100, "x", "</tool_call>"],
    "longcat": [
        "<longcat_tool_call>",
        *["<longcat_arg_key>o</longcat_arg_key><longcat_arg_value>" * 10] * 80,
        "x",
        "</longcat_tool_call>",
    ],
}
"""Answers that the expressions of a tool format search in cubic time: minutes for these, hours for longer ones."""
BACKTRACKS = ["<think>", *["a" * 16] * 8, "b", " c"]
"""An answer that `CLOSED_BY_A` searches in exponential time."""
CLOSED_BY_A = {
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {"reasoning_content": {"open": "<think>", "close_pattern": "(?:a|aa)+$"}, "content": {"content": "text"}},
}
PICKY_CHATML = (
    "{% for role in ['system', 'tool'] if role in messages | map(attribute='role') %}"
    "{{ raise_exception('only user and assistant, no ' ~ role) }}{% endfor %}" + CHATML
)
EFFORTS_CHATML = (
    "{% if reasoning_effort is defined and reasoning_effort not in ['no_think', 'high'] %}"
    "{{ raise_exception('no such effort') }}{% endif %}{{ reasoning_effort }}" + CHATML
)


@pytest.fixture(scope="module")
def port(tmp_path_factory, installed_examples):
    """A server process with tiny real models in a hub cache of its own, and the example plugins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(installed_examples), prepend=os.pathsep)
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        patch.delenv("HF_HUB_CACHE", raising=False)
        in_hub_cache("tiny/random", lambda folder: random_model(folder, context=2048))
        in_hub_cache("tiny/other", lambda folder: random_model(folder, seed=5, context=512))
        in_hub_cache("tiny/emoji", lambda folder: scripted_model(folder, EMOJI))
        thinking = {
            "chat_template": THINKING_CHATML,
            "added_tokens": ("<|im_start|>", "<|im_end|>", "<think>", "</think>"),
        }
        in_hub_cache("tiny/thinks", lambda folder: scripted_model(folder, THINKS, **thinking))
        opened = thinking | {"chat_template": OPENED_THINKING_CHATML}
        in_hub_cache("tiny/opened", lambda folder: scripted_model(folder, THINKS.removeprefix("<think>\n"), **opened))
        muses = THINKING_CHATML.replace("<think>", "⟦muse⟧").replace("</think>", "⟦/muse⟧")
        in_hub_cache("tiny/muses", lambda folder: scripted_model(folder, "⟦muse⟧Plan.⟦/muse⟧Go.", chat_template=muses))
        calling = {"chat_template": CALLING_CHATML, "added_tokens": ("<tool_call>", "</tool_call>")}
        in_hub_cache("tiny/twice", lambda folder: scripted_model(folder, CALLS_TWICE, **calling))
        for form, answer in SLOW_TO_READ.items():
            named = in_hub_cache(f"tiny/{form}", lambda folder, says=answer: scripted_model(folder, says, **calling))
            edit_json(named / "tokenizer_config.json", tool_parser_type=form)
        backtracking = in_hub_cache("tiny/backtracks", lambda folder: scripted_model(folder, BACKTRACKS))
        edit_json(backtracking / "tokenizer_config.json", response_template=CLOSED_BY_A)
        in_hub_cache("tiny/picky", lambda folder: random_model(folder, chat_template=PICKY_CHATML))
        in_hub_cache("tiny/efforts", lambda folder: random_model(folder, chat_template=EFFORTS_CHATML))
        in_hub_cache("tiny/calls", lambda folder: gpt_oss_model(folder, CALL))
        command = [sys.executable, "-m", "mlxk_core", "serve", "--port", "0", "--json", "--log-level", "error"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield _announced(process)["port"]
    process.send_signal(signal.SIGINT)
    try:
        _, told = process.communicate(timeout=180)
    finally:
        process.kill()
    assert process.returncode == 0, told
    assert "Traceback" not in told


def _announced(process):
    """What a server says at its start."""
    document = ""
    while not document.endswith("\n}\n"):
        line = process.stdout.readline()
        assert line, process.stderr.read()
        document += line
    return json.loads(document)["data"]


@pytest.fixture
def ask(port, kit):
    def client(model):
        return kit.Client(port, model=model)

    return client


def joined(events):
    """A stream's message, reason and usage, as the whole answer has them."""
    message, calls, reason, usage = {"content": ""}, [], None, None
    for event in events:
        if event == "[DONE]":
            break
        usage = event.get("usage") or usage
        for choice in event["choices"]:
            reason = choice["finish_reason"] or reason
            for name, value in choice["delta"].items():
                if name == "tool_calls":
                    for call in value:
                        if call["index"] == len(calls):
                            calls.append({k: v for k, v in call.items() if k != "index"})
                        else:
                            calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
                elif name != "role":
                    message[name] = message.get(name, "") + value
    if calls:
        message |= {"content": message["content"] or None, "tool_calls": calls}
    return message, reason, usage


def both(client, content="Hi", **fields):
    """The answer, which must be the same streamed and not."""
    whole = client.chat(content, temperature=0, **fields)
    assert whole.status == 200, whole.body
    choice = whole.json["choices"][0]
    streamed = joined(client.streamed(content, temperature=0, stream_options={"include_usage": True}, **fields))
    message = {k: v for k, v in choice["message"].items() if k not in ("role", "refusal")}
    for call in [*message.get("tool_calls", ()), *streamed[0].get("tool_calls", ())]:
        assert call.pop("id")
    usage = whole.json["usage"]
    for one in (usage, streamed[2]):
        one.pop("prompt_tokens_details")  # what the first answer left in the cache the second one finds there
    assert streamed == (message, choice["finish_reason"], usage)
    return message, choice["finish_reason"], usage


@pytest.mark.parametrize("i", range(10))
def test_streamed_and_whole_are_the_same_text(ask, i):
    message, reason, usage = both(ask("tiny/random"), f"Prompt {i}: äöü 🎉 {'x' * 7 * i}", max_tokens=24)
    assert (reason, usage["completion_tokens"]) == ("length", 24)
    assert len(message["content"]) == 24


def test_characters_cut_over_tokens_come_whole(ask):
    message, reason, _ = both(ask("tiny/emoji"))
    assert (message["content"], reason) == ("Zoë says 🎉 日本!", "stop")
    for limit in range(1, 8):
        cut, reason, _ = both(ask("tiny/emoji"), max_tokens=limit)
        assert "�" not in cut["content"]
        assert "Zoë says 🎉 日本!".startswith(cut["content"])
    stopped, _, _ = both(ask("tiny/emoji"), stop=["🎉 日"])
    assert stopped["content"] == "Zoë says "


def test_log_probabilities_of_a_text_say_where_in_it_each_token_begins(ask):
    client = ask("tiny/emoji")
    body = {"model": client.model, "prompt": "Hi", "temperature": 0, "logprobs": 5}
    choice = client.post("/v1/completions", body).json["choices"][0]
    assert choice["text"] == "Zoë says 🎉 日本!"
    assert choice["logprobs"]["text_offset"] == [0, 9, 9, 10, 12, 12, 13]
    for chosen, top in zip(choice["logprobs"]["token_logprobs"], choice["logprobs"]["top_logprobs"], strict=True):
        assert max(top.values()) == chosen  # parts of characters have the same text: the likeliest of them counts
    with client.stream(body, "/v1/completions") as events:
        parts = [chunk["choices"][0]["logprobs"] for chunk in events if chunk != "[DONE]"]
    assert [offset for part in parts if part for offset in part["text_offset"]] == choice["logprobs"]["text_offset"]


def test_a_seed_gives_the_same_text_alone_and_in_a_batch(ask):
    client = ask("tiny/random")

    def say(seed, content="Tell me"):
        return client.chat(content, seed=seed, temperature=1.0, max_tokens=20).text

    alone = say(7)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(say, [1, 2, 7, 3, 4, 7, 5, 6]))
    assert together[2] == together[5] == alone
    assert len(set(together)) == 7


def test_choices_with_a_seed_differ_and_are_reproducible(ask):
    client = ask("tiny/random")
    first, second = (client.chat(n=3, seed=11, temperature=1.0, max_tokens=16).json["choices"] for _ in range(2))
    texts = [choice["message"]["content"] for choice in first]
    assert len(set(texts)) == 3
    assert texts == [choice["message"]["content"] for choice in second]
    assert texts[1] == client.chat(seed=12, temperature=1.0, max_tokens=16).text


def test_prompts_in_parallel_on_two_models_get_their_own_answers(ask):
    jobs = [("tiny/random" if i % 2 else "tiny/other", f"Number {i}") for i in range(12)]

    def say(job):
        return ask(job[0]).chat(job[1], temperature=0, max_tokens=16).text

    alone = [say(job) for job in jobs]
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(say, jobs)) == alone


def test_logprobs_are_those_of_the_tokens_and_best_first(ask):
    answer = ask("tiny/random").chat(temperature=0, max_tokens=8, logprobs=True, top_logprobs=3).json["choices"][0]
    entries = answer["logprobs"]["content"]
    assert len(entries) == 8
    assert b"".join(bytes(entry["bytes"]) for entry in entries).decode() == answer["message"]["content"]
    for entry in entries:
        assert entry["logprob"] <= 0
        assert entry["top_logprobs"][0]["logprob"] == pytest.approx(entry["logprob"])
        assert entry["top_logprobs"] == sorted(entry["top_logprobs"], key=lambda top: -top["logprob"])


def test_logit_bias_forces_and_a_token_that_does_not_exist_is_refused(ask):
    client = ask("tiny/random")
    assert client.chat(temperature=0, max_tokens=5, logit_bias={str(ord("Z")): 100}).text == "ZZZZZ"
    answer = client.chat(logit_bias={"99999999": 5})
    assert (answer.status, answer.error["param"]) == (400, "logit_bias")
    assert client.chat(temperature=0, max_tokens=5).status == 200


def test_a_prompt_that_was_read_is_not_read_again(ask):
    client = ask("tiny/random")
    content = "A long beginning. " * 20
    client.chat(content, max_tokens=2)
    usage = client.chat(content + "And more.", max_tokens=2).json["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > 200


def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers(ask):
    answer = ask("tiny/other").chat("x" * 600)
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    assert "512" in answer.error["message"]


def test_completions_take_text_and_token_ids(ask):
    client = ask("tiny/random")
    text = client.post("/v1/completions", {"model": "tiny/random", "prompt": "Hello", "temperature": 0}).json
    ids = client.post("/v1/completions", {"model": "tiny/random", "prompt": list(b"Hello"), "temperature": 0}).json
    assert text["choices"] == ids["choices"]
    assert text["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize("model", ["tiny/thinks", "tiny/opened"])
def test_reasoning_comes_by_both_names_and_apart_from_the_answer(ask, model):
    message, reason, usage = both(ask(model), "2+2?")
    assert message["content"] == "It is four."
    assert message["reasoning_content"] == message["reasoning"]
    assert message["reasoning"].strip() == "Two and two, carefully."
    assert reason == "stop"
    assert 0 < usage["completion_tokens_details"]["reasoning_tokens"] < usage["completion_tokens"]


def test_a_third_partys_format_is_split_here_too(ask):
    message, _, _ = both(ask("tiny/muses"))
    assert message == {"content": "Go.", "reasoning": "Plan.", "reasoning_content": "Plan."}


def test_reasoning_can_be_left_out(ask):
    for fields in ({"include_reasoning": False}, {"reasoning_effort": "none"}):
        message, _, usage = both(ask("tiny/opened"), **fields)
        assert message == {"content": "It is four."}
        assert usage["completion_tokens_details"]["reasoning_tokens"] > 0


def test_stop_strings_do_not_act_on_reasoning(ask):
    message, reason, _ = both(ask("tiny/opened"), stop=["carefully", "four"])
    assert message["content"] == "It is "
    assert message["reasoning"].strip() == "Two and two, carefully."
    assert reason == "stop"


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_is_taken_back_under_either_name(ask, name):
    history = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "It is four.", name: "Two and two."},
        {"role": "user", "content": "Sure?"},
    ]
    body = {"model": "tiny/thinks", "messages": history}
    assert ask("tiny/thinks").post("/v1/chat/completions", body).status == 200


def test_template_options_reach_the_template(ask):
    client = ask("tiny/thinks")
    plain = client.chat(max_tokens=1).json["usage"]["prompt_tokens"]
    closed = client.chat(max_tokens=1, chat_template_kwargs={"enable_thinking": False}).json["usage"]["prompt_tokens"]
    none = client.chat(max_tokens=1, reasoning_effort="none").json["usage"]["prompt_tokens"]
    assert closed == none > plain
    refused = client.chat(chat_template_kwargs={"messages": []})
    assert (refused.status, refused.error["param"]) == (400, "chat_template_kwargs.messages")


@pytest.mark.parametrize(
    "off",
    [
        {"enable_thinking": False},
        {"thinking": {"type": "disabled"}},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"chat_template_kwargs": {"enable_thinking": False, "reasoning_effort": "high"}},
    ],
)
def test_thinking_that_is_off_stays_off_beside_an_effort(ask, off):
    client = ask("tiny/thinks")
    closed = client.chat(max_tokens=1, enable_thinking=False).json["usage"]["prompt_tokens"]
    answer = client.chat(max_tokens=1, reasoning_effort="high", **off)
    assert (answer.status, answer.json["usage"]["prompt_tokens"]) == (200, closed), answer.text


def test_no_effort_is_said_in_the_templates_own_word(ask):
    client = ask("tiny/efforts")
    own = client.chat(max_tokens=1, chat_template_kwargs={"reasoning_effort": "no_think"})
    none = client.chat(max_tokens=1, reasoning_effort="none")
    assert own.json["usage"]["prompt_tokens"] == none.json["usage"]["prompt_tokens"]
    assert client.chat(max_tokens=1, reasoning_effort="high").status == 200
    refused = client.chat(max_tokens=1, reasoning_effort="low")
    assert (refused.status, refused.error["code"]) == (400, "template_error")


def test_tool_calls_come_as_openai_has_them(ask):
    assert "<|call|>" in HARMONY_TOKENS
    message, reason, _ = both(ask("tiny/calls"), "Weather in Paris?", tools=[TOOL])
    assert reason == "tool_calls"
    assert message["tool_calls"] == [
        {"type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
    ]
    assert message["content"] is None
    assert message["reasoning"] == "Use the tool."


def test_no_more_than_one_call_when_no_more_is_asked_for(ask):
    client = ask("tiny/twice")
    message, reason, usage = both(client, "Weather?", tools=[TOOL])
    assert (reason, len(message["tool_calls"])) == ("tool_calls", 2)
    one, reason, less = both(client, "Weather?", tools=[TOOL], parallel_tool_calls=False)
    assert (reason, one) == ("tool_calls", message | {"tool_calls": message["tool_calls"][:1]})
    assert less["completion_tokens"] <= usage["completion_tokens"]


def test_models_whose_template_has_no_place_for_tools_get_them_in_the_system_message(ask):
    plain = ask("tiny/thinks").chat("Weather?", max_tokens=1).json["usage"]["prompt_tokens"]
    with_tools = ask("tiny/thinks").chat("Weather?", tools=[TOOL], max_tokens=1)
    assert with_tools.json["usage"]["prompt_tokens"] > plain + 100
    called = ask("tiny/random").chat("Weather?", tools=[TOOL], tool_choice="required", max_tokens=400, seed=1)
    assert called.json["choices"][0]["finish_reason"] in ("tool_calls", "length")
    listed = {m["id"]: (m["capabilities"], m["tools"]) for m in ask("").get("/v1/models").json["data"]}
    assert listed["tiny/thinks"] == (["chat", "completions", "reasoning"], "generic")
    assert listed["tiny/calls"] == (["chat", "completions", "tools", "reasoning"], "native")


def test_a_system_prompt_that_the_template_refuses_is_said_with_the_first_question(ask):
    client = ask("tiny/picky")
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    folded = client.post("/v1/chat/completions", {"model": "tiny/picky", "messages": turns, "max_tokens": 1})
    said = client.chat("Be brief.\n\nHi", max_tokens=1)
    assert folded.json["usage"]["prompt_tokens"] == said.json["usage"]["prompt_tokens"]


def test_a_late_system_message_is_folded_into_the_user_message_before_it(ask):
    client = ask("tiny/picky")
    turns = [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Be brief."}]
    folded = client.post("/v1/chat/completions", {"model": "tiny/picky", "messages": turns, "max_tokens": 1})
    said = client.chat("Hi\n\nBe brief.", max_tokens=1)
    assert folded.json["usage"]["prompt_tokens"] == said.json["usage"]["prompt_tokens"]


def test_a_tool_result_that_the_template_refuses_is_a_text_of_the_user(ask):
    turns = [{"role": "user", "content": "Hi"}, {"role": "tool", "tool_call_id": "1", "content": "Sunny."}]
    client = ask("tiny/picky")
    taken = client.post("/v1/chat/completions", {"model": "tiny/picky", "messages": turns, "max_tokens": 1})
    texts = [{"role": "user", "content": text} for text in ("Hi", "<tool_response>\nSunny.\n</tool_response>")]
    said = client.post("/v1/chat/completions", {"model": "tiny/picky", "messages": texts, "max_tokens": 1})
    assert taken.json["usage"]["prompt_tokens"] == said.json["usage"]["prompt_tokens"]


def test_tool_calls_and_their_results_are_taken_back(ask):
    client = ask("tiny/calls")
    call = client.chat("Weather?", tools=[TOOL]).json["choices"][0]["message"]
    messages = [
        {"role": "user", "content": "Weather?"},
        call,
        {"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "Sunny."},
    ]
    body = {"model": "tiny/calls", "messages": messages, "tools": [TOOL], "tool_choice": "auto"}
    assert client.post("/v1/chat/completions", body).status == 200


def test_two_models_take_turns_where_only_one_has_room(mlxk, kit):
    for seed, name in enumerate(("tiny/one", "tiny/two")):
        in_hub_cache(name, lambda folder, seed=seed: random_model(folder, seed=seed, hidden=256, layers=4))
    process = mlxk.start("serve", "--port", "0", "--json", "--log-level", "error")
    alone = kit.Client(_announced(process)["port"], model="tiny/one")
    alone.chat(max_tokens=8)
    budget = int(1.6 * alone.status()["models"][0]["memory"])  # its tokenizer takes most
    process.send_signal(signal.SIGTERM)
    assert process.wait(180) == 0
    process = mlxk.start("serve", "--port", "0", "--json", "--memory", str(budget), "--log-level", "error")
    port = _announced(process)["port"]
    one, two = kit.Client(port, model="tiny/one"), kit.Client(port, model="tiny/two")
    first = one.chat(temperature=0, max_tokens=8).text
    with one.chat_stream(temperature=0, max_tokens=300) as events:
        next(iter(events))
        waiting = two.begin_chat(stream=True, temperature=0, max_tokens=8)
        assert list(events)[-1] == "[DONE]"
    assert kit.everything(waiting).count(b"[DONE]") == 1
    status = two.status()
    assert [model["name"] for model in status["models"]] == ["tiny/two"]
    assert status["models"][0]["memory"] <= budget
    assert status["counters"]["unloads"] == 1
    assert one.chat(temperature=0, max_tokens=8).text == first
    labels = f'backend="mlx",model="tiny/one",revision="{one.status()["models"][0]["revision"]}"'
    held = one.metric(f"mlxk_prompt_cache_bytes{{{labels}}}")
    assert 0 < held < one.metric(f"mlxk_model_memory_bytes{{{labels}}}")
    process.send_signal(signal.SIGTERM)
    assert process.wait(180) == 0


@pytest.mark.smollm2
def test_the_offline_model_answers_over_http(ask):
    listed = ask("smollm2").get("/v1/models").json["data"]
    assert "smollm2" in [item["id"] for item in listed]
    message, reason, _ = both(ask("smollm2"), "What is the capital of France?", max_tokens=20)
    assert "Paris" in message["content"]
    assert reason == "stop"


@pytest.mark.smollm2
def test_the_offline_model_stops_at_a_string_that_is_not_a_token(ask):
    message, reason, _ = both(ask("smollm2"), "What is the capital of France?", max_tokens=20, stop=["Paris"])
    assert message["content"] == "The capital of France is "
    assert reason == "stop"


@pytest.mark.parametrize("form", SLOW_TO_READ)
def test_an_answer_that_a_tool_format_takes_for_ever_to_read_is_text(ask, form):
    answer = ask(f"tiny/{form}").chat(tools=[TOOL], max_tokens=200, temperature=0)
    assert answer.text.strip() == "".join(SLOW_TO_READ[form]).strip()
    assert ask("tiny/random").chat(max_tokens=1).status == 200


def test_an_answer_that_a_response_template_takes_for_ever_to_read_is_text(ask):
    message = ask("tiny/backtracks").chat(max_tokens=200, temperature=0).json["choices"][0]["message"]
    assert (message.get("reasoning") or "") + message["content"] in ("".join(BACKTRACKS), "".join(BACKTRACKS[1:]))
    assert ask("tiny/random").chat(max_tokens=1).status == 200
