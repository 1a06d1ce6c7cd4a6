"""The proof of structured output: requests with many schemas against a real server; each answer is valid or `length`.

    uv run python benchmarks/structured_proof.py                    # 1,000 requests, a tiny random model
    uv run python benchmarks/structured_proof.py --model smollm2    # the same with SmolLM2
    uv run python benchmarks/structured_proof.py --requests 50 --at-once 4

A random model writes noise unless something holds it to a schema. Half of the requests are streamed; some ask for a
required tool call, `n` of 2 or log probabilities. The exit status is 1 if any answer is invalid, or none finished.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from mlxk_testing.tiny_models import CHATML, CHATML_TOKENS, in_hub_cache, random_model
from tests.structured.schemas import Keywords, Schemas, validator_of

CALLS = CHATML.replace(
    "{% for message",
    "{% if tools %}<tools>{{ tools | tojson }}</tools>{% endif %}"
    "{% if false %}<tool_call>{{ tool_call.name }}</tool_call>{% endif %}{% for message",
    1,
)
SCHEMAS = 50


@dataclass
class Report:
    """How the requests ended. `invalid` has what was wrong with the first ones."""

    ends: Counter[str] = field(default_factory=Counter)
    by_schema: Counter[int] = field(default_factory=Counter)
    invalid: list[str] = field(default_factory=list)
    tokens: int = 0
    requests: int = 0

    def fault(self, number: int, problem: str) -> None:
        self.ends["invalid"] += 1
        self.invalid.append(f"request {number} (schema {number % SCHEMAS}): {problem}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a name (default: a tiny random model)")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first request, to go on after an earlier run"
    )
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=math.inf, help="send no further requests after this time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not arguments.model:
            os.environ["HF_HOME"] = folder
            os.environ.pop("HF_HUB_CACHE", None)
            tokens = (*CHATML_TOKENS, "<tool_call>", "</tool_call>")
            in_hub_cache(
                "tiny/random",
                lambda path: random_model(path, ends=True, chat_template=CALLS, added_tokens=tokens, context=4096),
            )
        with _server(arguments.at_once) as url:
            report = _prove(url, arguments.model or "tiny/random", arguments)
    ends = ", ".join(f"{count} {end}" for end, count in sorted(report.ends.items()))
    print(f"{report.requests} requests, {SCHEMAS} schemas, {report.tokens} tokens: {ends}")
    finished = sum(1 for number in range(SCHEMAS) if report.by_schema[number])
    print(f"{finished} of {SCHEMAS} schemas have a finished answer")
    for problem in report.invalid[:20]:
        print(problem)
    sys.exit(1 if report.invalid or not finished else 0)


class _server:
    """`mlxk serve` on a free port, stopped at the end."""

    def __init__(self, at_once: int) -> None:
        self._command = [sys.executable, "-m", "mlxk_core", "serve", "--port", "0", "--json"]
        self._command += ["--concurrency", str(at_once)]

    def __enter__(self) -> str:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        document = ""
        while not document.endswith("\n}\n"):
            line = self._process.stdout.readline()
            if not line:
                raise SystemExit("the server did not start")
            document += line
        return str(json.loads(document)["data"]["base_url"]).removesuffix("/v1")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)


def _prove(url: str, model: str, arguments: argparse.Namespace) -> Report:
    schemas = [(Keywords if seed % 2 else Schemas)(seed).root() for seed in range(SCHEMAS)]
    validators = [validator_of(schema) for schema in schemas]
    report = Report()
    begin = time.monotonic()

    def ask(number: int) -> tuple[int, list[tuple[str, str]] | str | None, int]:
        if time.monotonic() - begin > 60 * arguments.minutes:
            return number, None, 0
        body = _body(model, schemas[number % SCHEMAS], number, arguments.max_tokens)
        try:
            return number, *_answers(url, body)
        except (urllib.error.HTTPError, OSError, KeyError, ValueError) as error:
            detail = error.read().decode() if isinstance(error, urllib.error.HTTPError) else repr(error)
            return number, detail, 0

    # Tools make long prompts, and every row of a batch is as wide as the longest: they come last, together.
    numbers = sorted(range(arguments.first, arguments.first + arguments.requests), key=lambda n: _kind(n) == "tool")
    with ThreadPoolExecutor(arguments.at_once) as pool:
        for done, answered in enumerate(as_completed([pool.submit(ask, number) for number in numbers]), 1):
            number, answers, tokens = answered.result()
            if answers is None:
                continue
            report.requests += 1
            report.tokens += tokens
            if isinstance(answers, str):
                report.fault(number, answers[:300])
                continue
            for text, end in answers:
                _judge(report, validators[number % SCHEMAS], number, text, end)
            if done % 50 == 0:
                print(f"{done} requests, {time.monotonic() - begin:.0f} s, {dict(report.ends)}", file=sys.stderr)
    return report


def _judge(report: Report, validator: Any, number: int, text: str, end: str) -> None:
    if end == "length":
        report.ends["length"] += 1
        return
    try:
        problem = next(validator.iter_errors(json.loads(text)), None)
    except ValueError as error:
        problem = error
    if end not in ("stop", "tool_calls") or problem is not None:
        report.fault(number, f"{end}, {str(problem)[:200]}: {text[:200]}")
        return
    report.ends["valid"] += 1
    report.by_schema[number % SCHEMAS] += 1


def _kind(number: int) -> str:
    return random.Random(number).choice(["schema", "schema", "schema", "tool", "n", "logprobs"])


def _body(model: str, schema: dict[str, Any], number: int, max_tokens: int) -> dict[str, Any]:
    kind = _kind(number)
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": f"Give me an example, number {number}."}],
        "temperature": 1,
        "seed": number,
        "max_tokens": max_tokens,
        "stream": number % 2 == 1,
    }
    if kind == "tool":
        body["tools"] = [{"type": "function", "function": {"name": "give", "parameters": schema, "strict": True}}]
        body.update(tool_choice="required", parallel_tool_calls=False)
        return body
    body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    if kind == "n":
        body["n"] = 2
    if kind == "logprobs":
        body.update(logprobs=True, top_logprobs=2)
    return body


def _answers(url: str, body: dict[str, Any]) -> tuple[list[tuple[str, str]], int]:
    """The text (of the answer or the arguments) and the end of every choice, and the number of tokens."""
    if body["stream"]:
        body = {**body, "stream_options": {"include_usage": True}}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=3600) as response:
        if not body["stream"]:
            read = json.loads(response.read())
            return [_whole(choice) for choice in read["choices"]], read["usage"]["completion_tokens"]
        return _streamed(_chunks(response))


def _whole(choice: dict[str, Any]) -> tuple[str, str]:
    calls = choice["message"].get("tool_calls")
    text = calls[0]["function"]["arguments"] if calls else choice["message"]["content"]
    return text or "", choice["finish_reason"]


def _chunks(response: Any) -> Iterator[dict[str, Any]]:
    for line in response:
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


def _streamed(chunks: Iterator[dict[str, Any]]) -> tuple[list[tuple[str, str]], int]:
    texts: dict[int, str] = {}
    ends: dict[int, str] = {}
    tokens = 0
    for chunk in chunks:
        if "error" in chunk:
            raise ValueError(json.dumps(chunk["error"]))
        tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
        for choice in chunk["choices"]:
            delta, index = choice["delta"], choice["index"]
            calls = [call["function"].get("arguments") or "" for call in delta.get("tool_calls") or ()]
            texts[index] = "".join(itertools.chain([texts.get(index, ""), delta.get("content") or ""], calls))
            ends[index] = choice["finish_reason"] or ends.get(index, "")
    return [(texts[index], ends[index]) for index in sorted(texts)], tokens


if __name__ == "__main__":
    main()
