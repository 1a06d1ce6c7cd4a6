"""Survives … what users of other servers reported: thirty threads, each as a case of its own.

`CASES` run here, against a real server with tiny models. `ELSEWHERE` names the test that holds a report already, and
`ABSENT` says of features that mlxk does not have how a request for them ends.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlxk_testing.tiny_models import CHATML, in_hub_cache, random_model, scripted_model
from tests.prepared_command import prepared

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

ROOT = Path(__file__).parents[2]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
TWO_CALLS = """\
Both: <tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>
<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>"""
CALLING = (
    "{% for tool in tools or () %}{{ tool.function.name }}{% endfor %}"
    "{% for tool_call in () %}<tool_call>{{ tool_call.name }}</tool_call>{% endfor %}" + CHATML
)
YES_OR_NO = {"type": "json_schema", "json_schema": {"name": "b", "schema": {"type": "boolean"}, "strict": True}}

# ruff: noqa: E501
ELSEWHERE = {
    "mlx-lm#1505 an exception while generating": "tests/core/generation/test_faults.py::test_the_service_survives_every_engine_failure",
    "mlx-lm#1909 no memory for a row's cache": "tests/mlx/test_faults.py::test_a_step_that_raises_loses_its_rows_and_nothing_else",
    "mlx-vlm#1263 a model switch": "tests/serve/test_real_models.py::test_two_models_take_turns_where_only_one_has_room",
    "mlx#3186 more weights than memory": "tests/serve/test_many.py::test_a_model_too_large_for_the_budget_is_refused_for_good",
    "omlx#3065 memory past its ceiling": "tests/mlx/test_faults.py::test_a_prompt_that_cannot_fit_is_refused_before_it_is_read",
    "Rapid#1025 memory that never falls at idle": "tests/mlx/test_faults.py::test_memory_is_given_back",
    "mlx-lm#1672 too many buffers in a cache": "tests/mlx/test_prefixes.py::test_what_is_kept_stays_within_its_budget",
    "mlx-vlm#1668 early finishers among others": "tests/mlx/test_crowd.py::test_a_crowd_of_rows_says_what_each_of_them_says_alone",
    "omlx#825 a hit on a hybrid model": "tests/mlx/test_prefixes.py::test_a_cache_that_forgets_is_kept_where_prompts_part",
    "Rapid#1737 hybrid models that read everything again": "tests/mlx/test_prefixes.py::test_what_is_counted_is_what_is_held",
    "mlx-lm#1448 several calls in one answer": "tests/mlx/test_tool_calls.py::test_several_calls_are_counted_and_have_ids_of_their_own",
}  # fmt: skip
ABSENT = {
    "Rapid#2715 rows with a draft model": {"draft_model": "tiny/other"},
    "mlx-lm#1737 and mlx#4475 two machines": {"adapters": "ring"},
}
"""omlx#2115 (a cache on disk that ignores its limit): there is none."""
CASES = {}


def case(report):
    def add(run):
        CASES[report] = run
        return run

    return add


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server process with three tiny models and every installed plugin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        patch.delenv("HF_HUB_CACHE", raising=False)
        in_hub_cache("tiny/random", lambda folder: random_model(folder, context=16384))
        in_hub_cache("tiny/ends", lambda folder: random_model(folder, ends=True, context=512))
        calling = {"chat_template": CALLING, "added_tokens": ("<tool_call>", "</tool_call>")}
        in_hub_cache("tiny/calls", lambda folder: scripted_model(folder, TWO_CALLS, **calling))
        command = [sys.executable, "-m", "mlxk_core", "serve", "--port", "0", "--json", "--log-level", "error"]
        process = subprocess.Popen(
            prepared(command, seconds=3600), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    document = ""
    while not document.endswith("\n}\n"):
        line = process.stdout.readline()
        assert line, process.stderr.read()
        document += line
    yield process, json.loads(document)["data"]["port"]
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=180)
    assert process.returncode == 0
    assert "Traceback" not in log


@pytest.fixture
def ask(server, kit):
    return lambda model: kit.Client(server[1], model=model)


def alone(client, prompts, **fields):
    return [client.chat(prompt, temperature=0, **fields).text for prompt in prompts]


def together(client, prompts, **fields):
    with ThreadPoolExecutor(len(prompts)) as pool:
        return list(pool.map(lambda prompt: client.chat(prompt, temperature=0, **fields).text, prompts))


@case("mlx-lm#965 answers to other people's prompts")
def _sixteen(ask):
    client = ask("tiny/random")
    prompts = [f"{i} asks: " + "word " * (7 * i % 13) for i in range(16)]
    assert together(client, prompts, max_tokens=6) == alone(client, prompts, max_tokens=6)


@case("ollama#17475 aborts beside others")
def _aborts(ask):
    client = ask("tiny/random")
    prompts = [f"customer {i}" for i in range(6)]
    expected = alone(client, prompts, max_tokens=12)
    over = threading.Event()

    def leave():
        while not over.is_set():
            sock = client.begin_chat("a secret", stream=True, max_tokens=50)
            sock.recv(64)
            sock.close()

    thread = threading.Thread(target=leave)
    thread.start()
    try:
        for _ in range(2):
            assert together(client, prompts, max_tokens=12) == expected
    finally:
        over.set()
        thread.join()


@case("mlx-lm#1834 a full prompt cache under load")
def _full_cache(ask):
    client = ask("tiny/random")
    prompts = [f"{i} " + "fill " * 60 for i in range(24)]
    assert all(together(client, prompts, max_tokens=2))


@case("mlx-lm#1493 a long prompt in several steps")
def _long_prompt(ask):
    answer = ask("tiny/random").chat("long " * 900, max_tokens=2)
    assert answer.json["usage"]["prompt_tokens"] > 4000


@case("omlx#2031 a long prompt beside a stream")
def _starved(ask):
    client = ask("tiny/random")
    with client.chat_stream("stream", max_tokens=6000, ignore_eos=True) as events:
        stream = iter(events)
        for _ in range(5):
            next(stream)
        done = threading.Event()
        thread = threading.Thread(target=lambda: (client.chat("other " * 400, max_tokens=1), done.set()))
        thread.start()
        meanwhile = 0
        while not done.is_set():
            next(stream)
            meanwhile += 1
        thread.join()
    assert meanwhile > 0


@case("mlx-lm#1395 a cache that is copied, and ollama#17924 memory with each request")
def _growth(ask):
    client = ask("tiny/random")
    prompt = "again " * 100
    for _ in range(4):
        client.chat(prompt, max_tokens=2, temperature=0)
    before = client.status()["models"]
    for _ in range(8):
        client.chat(prompt, max_tokens=2, temperature=0)
    after = client.status()["models"]
    held = {model["name"]: model["memory"] for model in before}
    assert all(model["memory"] <= held[model["name"]] + (1 << 20) for model in after)


@case("vllm-mlx#784 a plain request before a strict schema")
def _plain_then_strict(ask):
    client = ask("tiny/random")
    for _ in range(4):
        with ThreadPoolExecutor(2) as pool:
            plain = pool.submit(client.chat, "plain", max_tokens=20)
            strict = pool.submit(client.chat, "strict", max_tokens=20, response_format=YES_OR_NO)
            assert plain.result().status == 200
            assert strict.result().text.strip() in ("true", "false")


@case("omlx#2255 nonsense after a prefix hit")
def _prefix(ask):
    client = ask("tiny/random")
    prompt = "a shared beginning " * 20
    first = client.chat(prompt, temperature=0, max_tokens=16)
    second = client.chat(prompt, temperature=0, max_tokens=16)
    assert second.json["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    assert first.text == second.text


@case("mlx-lm#905 and vllm#58228 cut inside a call: the reason is length")
def _cut(ask):
    for limit in range(3, 14, 3):
        answer = ask("tiny/calls").chat(tools=[WEATHER], max_tokens=limit, temperature=0)
        assert answer.status == 200
        assert answer.json["choices"][0]["finish_reason"] == "length"


@case("Rapid#425 streamed calls are those of the whole answer")
def _streamed_calls(ask):
    client = ask("tiny/calls")
    whole = client.chat(tools=[WEATHER], temperature=0).json["choices"][0]["message"]["tool_calls"]
    calls = {}
    for event in client.streamed(tools=[WEATHER], temperature=0):
        for choice in event["choices"] if event != "[DONE]" else ():
            for call in choice["delta"].get("tool_calls", ()):
                name, arguments = calls.get(call["index"], ("", ""))
                function = call["function"]
                calls[call["index"]] = (name + function.get("name", ""), arguments + function["arguments"])
    assert [(call["function"]["name"], call["function"]["arguments"]) for call in whole] == list(calls.values())
    assert len(calls) == 2


@case("mlx-lm#1341 a wrong label for the calls, and calls that leak as text")
def _leak(ask):
    message = ask("tiny/calls").chat(tools=[WEATHER], temperature=0).json["choices"][0]["message"]
    assert "<tool_call>" not in (message["content"] or "")


@case("vllm-mlx#628 a stream that ends by itself says stop")
def _stop(ask):
    for i in range(4):
        events = ask("tiny/ends").streamed(f"{i}", max_tokens=400, temperature=1.5, seed=i)
        reasons = [c["finish_reason"] for e in events[:-1] for c in e["choices"] if c["finish_reason"]]
        assert events[-1] == "[DONE]"
        assert len(reasons) == 1
        assert reasons[0] in ("stop", "length")


@case("ollama#18567 a schema and white space without end")
def _white_space(ask):
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "o", "schema": schema, "strict": True}}
    for seed in range(3):
        answer = ask("tiny/random").chat(response_format=form, temperature=2, seed=seed, max_tokens=200)
        assert isinstance(json.loads(answer.text)["a"], bool)


@case("ollama#18441 a stray character before the JSON")
def _stray(ask):
    for seed in range(4):
        answer = ask("tiny/random").chat(response_format=YES_OR_NO, temperature=2, seed=seed, max_tokens=20)
        assert answer.text in ("true", "false")


@case("mlxcel#1011 a prompt beside streams that decode")
def _prefill_beside(ask):
    client = ask("tiny/random")
    socks = [client.begin_chat(f"{i}", stream=True, max_tokens=4000) for i in range(6)]
    for sock in socks:
        sock.recv(64)
    try:
        assert client.chat("word " * 400, max_tokens=1).status == 200
        assert client.status()["active"] >= 1
    finally:
        for sock in socks:
            sock.close()


@pytest.mark.parametrize("report", CASES, ids=lambda report: report.partition(" ")[0])
def test_survives_a_field_report(report, ask, server):
    before = ask("tiny/random").chat("the same before and after", temperature=0, max_tokens=8).text
    CASES[report](ask)
    assert server[0].poll() is None
    assert ask("tiny/random").get("/health").status == 200
    assert ask("tiny/random").chat("the same before and after", temperature=0, max_tokens=8).text == before


@pytest.mark.parametrize("report", ELSEWHERE, ids=lambda report: report.partition(" ")[0])
def test_survives_a_field_report_elsewhere(report):
    file, _, name = ELSEWHERE[report].partition("::")
    assert f"def {name}(" in (ROOT / file).read_text()


@pytest.mark.parametrize("report", ABSENT, ids=lambda report: report.partition(" ")[0])
def test_survives_a_request_for_what_is_not_there(report, ask):
    answer = ask("tiny/random").chat("Hi", max_tokens=2, **ABSENT[report])
    assert (answer.status, answer.error["param"]) == (400, *ABSENT[report])
