"""Fuzz the parsers that read what others send: requests, schemas, templates, and the files of models.

    uv run python tools/fuzz.py [--minutes 5] [--target NAME]… [--seed N]

Each target gets mutated examples. Only the errors it documents may come out, within five seconds of CPU each. A failing
input is written to the current folder. Continuous integration runs a few hundred inputs of each (`tests/survival`).
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from waitress.adjustments import Adjustments

from mlxk_core.api.errors import MlxkError
from mlxk_core.api.generation import Constraint
from mlxk_core.api.host import Host
from mlxk_core.api.models import Model, check_health
from mlxk_core.api.server import ApiError
from mlxk_mlx.support.architectures import accepts
from mlxk_serve.http.body_limits import checked_size
from mlxk_serve.http.byte_budget import ByteBudget, Share
from mlxk_serve.http.parser import Parser
from mlxk_serve.openai.body_decoding import decode
from mlxk_serve.openai.requests import ChatRequest, TextRequest
from mlxk_testing.tiny_models import random_model

_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "model.safetensors")
LONGEST = 5.0
"""Seconds of CPU for one input."""
_WORDS = [
    b"[", b"]", b"{", b"}", b'"', b",", b":", b"\\", b"\x00", b"\xff", b"\xed\xa0\x80", b"null", b"true", b"-1",
    b"1e999",
    b"9" * 40, b"\r\n", b"\r\n\r\n", b"$ref", b"#/", b"{{", b"}}", b"{%", b"%}", b"0x", b"%00", b"chunked",
    b"\xf0\x9f\x98\x80",
]  # fmt: skip


@dataclass(frozen=True)
class Target:
    """What is fuzzed: `run` may raise `allowed` for any input made from `examples`."""

    name: str
    examples: list[bytes]
    run: Callable[[bytes], object]
    allowed: tuple[type[BaseException], ...]


def mutate(data: bytes, dice: random.Random) -> bytes:
    """Return `data` with a few bytes or tokens changed, repeated, removed or moved."""
    for _ in range(dice.choice((1, 1, 2, 3, 8))):
        at = dice.randrange(len(data) + 1)
        end = min(len(data), at + dice.choice((1, 2, 4, 16, 64)))
        match dice.randrange(7):
            case 0:
                data = data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:at] + data[at:end] * dice.choice((2, 3, 50, 2000)) + data[end:]
            case 3:
                data = data[:at] + dice.choice(_WORDS) * dice.choice((1, 1, 1, 100)) + data[at:]
            case 4:
                data = data[:at] + dice.choice(_WORDS) + data[end:]
            case 5:
                data = data[:at]
            case 6:
                other = dice.randrange(len(data) + 1)
                data = data[:at] + data[other : other + 64] + data[at:]
        data = data[: 1 << 18]
    return data


def _json(*values: Any) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


def _chats() -> list[bytes]:
    message = {"role": "user", "content": "Hi"}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}
    called = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}
    return _json(
        {"model": "m", "messages": [message], "temperature": 0.5, "stop": ["a"], "n": 2, "logit_bias": {"1": 2}},
        {"model": "m", "messages": [message, called], "tools": [tool], "tool_choice": "auto", "stream": True},
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "é"}]}], "max_tokens": 5.0},
        {"model": "m", "messages": [message], "response_format": {"type": "json_object"}, "seed": 1, "user": None},
    )


def _texts() -> list[bytes]:
    return _json({"model": "m", "prompt": [[1, 2]], "logprobs": 1}, {"prompt": "Hi", "echo": True, "max_tokens": 5.0})


def _schemas() -> list[bytes]:
    return _json(
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "^a+$"}}, "required": ["a"]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"type": "integer", "minimum": 3}, {"enum": [1, "b", None]}]}}},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1, "maxItems": 4, "prefixItems": [{"const": {"a": 1}}]},
        {"patternProperties": {"^x-": {"type": "number"}}, "additionalProperties": False, "format": "date"},
    )


def _requests() -> list[bytes]:
    return [
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n",
        b"GET /v1/models/a%2Fb?x=1 HTTP/1.0\r\nHost: [::1]:80\r\nX-Request-Id: 1\r\nOrigin: null\r\n\r\n",
    ]


class _Files:
    """A model folder of which one file is replaced by an input."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self.example = (folder / name).read_bytes()[: 1 << 14]

    def run(self, data: bytes) -> None:
        (self._folder / self._name).write_bytes(data)
        model = Model(name="fuzzed", path=self._folder)
        check_health(model)
        accepts(model)


class _Gguf:
    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._file = folder / "model.gguf"

    @property
    def example(self) -> bytes:
        def text(value: bytes) -> bytes:
            return struct.pack("<Q", len(value)) + value

        pairs = text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
        pairs += text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text(b"a") + text(b"b")
        tensor = text(b"token_embd.weight") + struct.pack("<IQQIQ", 2, 4, 2, 0, 0)
        return b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + pairs + tensor + bytes(64)

    def run(self, data: bytes) -> None:
        self._file.write_bytes(data)
        model = Model(name="fuzzed", path=self._file)
        check_health(model)
        Host().verdicts(model)


def _parse(data: bytes) -> None:
    parser = Parser(
        Adjustments(max_request_body_size=1 << 20),
        lambda method, path, headers: None,
        [],
        share=Share(ByteBudget(1 << 20)),
        free_body=0,
    )
    rest = data
    while rest and not parser.completed:
        consumed = parser.received(rest)
        if not consumed:
            break
        rest = rest[consumed:]
    parser.close()


def _compile(kind: str) -> Callable[[bytes], None]:
    from mlxk_core.api.generation import Matches
    from mlxk_structured.compiler import compiler

    def run(data: bytes) -> None:
        value: Any = data.decode("utf-8", "replace")
        if kind == "json_schema":
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return
        compiler().check(Matches(Constraint(kind=kind, value=value, option="fuzz").kind, value))

    return run


def _render(data: bytes) -> None:
    from mlxk_mlx.engine.template_process import RENDER_PROCESSES, TemplateLimit, TemplateRefusal

    variables = {"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": True, "bos_token": "<s>"}
    try:
        RENDER_PROCESSES.render(data.decode("utf-8", "replace"), variables)
    except (TemplateLimit, TemplateRefusal):
        pass


def targets(scratch: Path) -> dict[str, Target]:
    """Return every target by name. Files are written below `scratch`."""
    from mlxk_testing.tiny_models import CHATML

    failures = (MlxkError, ApiError)
    found = [
        Target("http", _requests(), _parse, ()),
        Target("chat", _chats(), lambda data: decode(data, ChatRequest), failures),
        Target("completion", _texts(), lambda data: decode(data, TextRequest), failures),
        Target("weight", _chats(), lambda data: checked_size(BytesIO(data), len(data)), failures),
        Target("schema", _schemas(), _compile("json_schema"), failures),
        Target("regex", [rb"^(?:a|b){2,3}[^c-e]\d+$", rb"(?=x)\u0041\p{L}*?"], _compile("regex"), failures),
        Target("lark", [b'start: "a" x\nx: /b+/ | "c" start\n'], _compile("lark"), failures),
        Target("gbnf", [b'root ::= "a" x\nx ::= [b-d]+ | root\n'], _compile("gbnf"), failures),
        Target("template", [CHATML.encode()], _render, failures),
    ]  # fmt: skip
    for name in (
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "model.safetensors",
    ):
        folder = random_model(scratch / name)
        if (folder / name).exists():
            files = _Files(folder, name)
            found.append(Target(name, [files.example], files.run, failures))
    gguf = _Gguf(scratch / "gguf")
    found.append(Target("gguf", [gguf.example], gguf.run, failures))
    return {target.name: target for target in found}


def attack(target: Target, dice: random.Random, *, inputs: int | None, until: float | None) -> tuple[bytes, str] | None:
    """Feed mutated examples to `target`; return the first input that fails it and why, or None."""
    count = 0
    while (inputs is None or count < inputs) and (until is None or time.monotonic() < until):
        count += 1
        data = mutate(dice.choice(target.examples), dice)
        began = time.thread_time()
        try:
            target.run(data)
        except target.allowed:
            pass
        except BaseException as error:  # also a panic in a Rust extension
            if isinstance(error, KeyboardInterrupt):
                raise
            return data, f"{type(error).__name__}: {error}"[:500]
        if (spent := time.thread_time() - began) > LONGEST:
            return data, f"{spent:.1f} s of CPU"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--target", action="append")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        chosen = {n: t for n, t in targets(Path(scratch)).items() if not options.target or n in options.target}
        for name, target in chosen.items():
            share = time.monotonic() + options.minutes * 60 / len(chosen)
            found = attack(target, random.Random(options.seed), inputs=None, until=share)
            print(f"{name:<24} {'ok' if found is None else found[1]}", flush=True)
            if found is not None:
                failed += 1
                Path(f"fuzz-{name}.bin").write_bytes(found[0])
    print(f"seed {options.seed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
