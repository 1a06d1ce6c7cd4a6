"""A scripted engine: answers with given text, one token per character, with delays and faults on demand.

plugin = fake_backend(lambda prompt: "Hello.", step_seconds=0.01)
host.register(plugin, name="fake")
model = fake_model(tmp_path / "fake")
"""

from __future__ import annotations

import json
import math
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlxk_core.api import hookimpl
from mlxk_core.api.backends import EngineContext, Prefilled, Row, Sampled, StepEvent, check_row
from mlxk_core.api.errors import ConstraintFailure, InsufficientMemory, InvalidOption, NoTemplate, TemplateError
from mlxk_core.api.generation import Message, TokenConstraint, Tool
from mlxk_core.api.hooks import BackendSpec, Verdict
from mlxk_core.api.models import Model

END = 0
"""The fake tokenizer's only stop token; every other id is a Unicode code point."""


class FakeDetokenizer:
    def add(self, token: int, /) -> str:
        return "" if token == END else chr(token)

    def finish(self) -> str:
        return ""


class FakeTokenizer:
    """A tokenizer with one token per character."""

    vocab_size = 0x110000

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, tokens: Sequence[int], /) -> str:
        return "".join(chr(token) for token in tokens if token != END)

    def piece(self, token: int, /) -> bytes | None:
        return b"" if token == END else chr(token).encode()

    def token_id(self, text: str, /) -> int | None:
        return ord(text) if len(text) == 1 else None

    def detokenizer(self) -> FakeDetokenizer:
        return FakeDetokenizer()


@dataclass(kw_only=True)
class Script:
    """The behavior of a fake engine; the test may change it while the engine runs.

    `answer` returns the answer to a prompt's text. Each step takes `step_seconds` and reads `prefill_chunk` prompt
    tokens; each load takes `load_seconds`. `fail_step` and `fail_load` are raised once; `faults` are raised by the
    methods they name (`{"reset": OSError()}`) until they are removed. `hang` blocks steps, and `hold_load` blocks
    loads, while it is set. `memory` is the size of a loaded model in bytes. With `template` False there is no chat
    template; `refuses` returns why it rejects messages and options, or None.
    """

    answer: Callable[[str], str]
    step_seconds: float = 0.0
    load_seconds: float = 0.0
    prefill_chunk: int = 1 << 30
    template: bool = True
    refuses: Callable[[Sequence[Message], Mapping[str, Any]], str | None] = lambda messages, options: None
    memory: int = 1000
    fail_step: BaseException | None = None
    fail_load: BaseException | None = None
    faults: dict[str, BaseException] = field(default_factory=dict)
    hang: threading.Event = field(default_factory=threading.Event)
    hold_load: threading.Event = field(default_factory=threading.Event)
    log: list[tuple[str, Any]] = field(default_factory=list)
    """The calls: ("load", name), ("add", row), ("remove", id), ("finish", id), ("reset", None), ("close", name)."""

    def happened(self, what: str) -> list[Any]:
        """Return the details logged under that name, in order."""
        return [detail for event, detail in self.log if event == what]


@dataclass
class _Running:
    row: Row
    answer: str
    read: int = 0
    given: int = 0


class FakeEngine:
    """An `Engine` that follows a script."""

    def __init__(self, script: Script, name: str = "fake") -> None:
        self.script = script
        self.tokenizer = FakeTokenizer()
        self.native_stops = frozenset({END})
        self._name = name
        self._rows: dict[int, _Running] = {}

    @property
    def memory(self) -> int:
        self._fault("memory")
        return self.script.memory

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        generation_prompt: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        if not self.script.template:
            raise NoTemplate
        if why := self.script.refuses(messages, options or {}):
            raise TemplateError(why)
        turns = "".join(f"<tool>{tool.name}\n" for tool in tools)
        turns += "".join(f"<{message.role}>{message.content}\n" for message in messages)
        return turns + ("<assistant>" if generation_prompt else "")

    def check(self, row: Row) -> None:
        self._fault("check")
        check_row(row, self.tokenizer.vocab_size)
        if row.sampling.top_k > self.tokenizer.vocab_size:
            raise InvalidOption("top_k", "it is larger than the vocabulary")
        if len(row.prompt) > 1_000_000:
            raise InsufficientMemory("The prompt does not fit into memory.")

    def add(self, row: Row) -> None:
        self._fault("add")
        self.script.log.append(("add", row))
        self._rows[row.id] = _Running(row, self.script.answer(self.tokenizer.decode(row.prompt)))

    def step(self) -> Sequence[StepEvent]:
        self._pass_time(self.script.step_seconds)
        while self.script.hang.is_set():
            time.sleep(0.005)
        if self.script.fail_step is not None:
            error, self.script.fail_step = self.script.fail_step, None
            raise error
        return [event for running in list(self._rows.values()) for event in self._advance(running)]

    def _advance(self, running: _Running) -> list[StepEvent]:
        row, total = running.row, len(running.row.prompt)
        if running.read < total:
            running.read = min(total, running.read + self.script.prefill_chunk)
            return [Prefilled(row.id, running.read, total)]
        ended = running.given >= len(running.answer)
        token = END if ended else ord(running.answer[running.given])
        running.given += 1
        complete = False
        if row.constraint is not None:
            token = _allowed_token(row.constraint, token)
            row.constraint.accept(token)
            complete = row.constraint.complete
        finish: Literal["stop", "length", "complete"] | None = None
        if token in row.stop_tokens:
            finish = "stop"
        elif complete:
            finish = "complete"
        elif running.given >= row.max_tokens:
            finish = "length"
        if finish:
            self._rows.pop(row.id)
            self.script.log.append(("finish", row.id))
        if row.sampling.logprobs is None:
            return [Sampled(row.id, token, finish)]
        top = tuple((token + other, math.log(0.5 / (other + 1))) for other in range(row.sampling.logprobs))
        return [Sampled(row.id, token, finish, math.log(0.5), top)]

    def remove(self, id: int, /) -> None:
        self._fault("remove")
        if self._rows.pop(id, None):
            self.script.log.append(("remove", id))

    def reset(self) -> None:
        self.script.log.append(("reset", None))
        self._rows.clear()
        self._fault("reset")

    def close(self) -> None:
        self.script.log.append(("close", self._name))
        self._rows.clear()
        self._fault("close")

    def _fault(self, method: str) -> None:
        if method in self.script.faults:
            raise self.script.faults[method]

    def _pass_time(self, seconds: float) -> None:
        if seconds:
            time.sleep(seconds)


def _allowed_token(constraint: TokenConstraint, token: int) -> int:
    """Return `token` if the constraint allows it, else the lowest token id that it allows."""
    mask = constraint.mask()
    if mask is None or (token // 8 < len(mask) and mask[token // 8] >> token % 8 & 1):
        return token
    for index, byte in enumerate(mask):
        if byte:
            return index * 8 + (byte & -byte).bit_length() - 1
    raise ConstraintFailure("The constraint allows no token.")


class FakeBackend:
    """A plugin object with one backend, for every model that `fake_model` wrote with the same `kind`."""

    def __init__(self, script: Script, kind: str, spec: Mapping[str, Any]) -> None:
        self.script = script
        self.kind = kind
        self._spec = spec

    @hookimpl
    def mlxk_backends(self) -> list[BackendSpec]:
        return [
            BackendSpec(
                name=self.kind,
                summary="A scripted engine.",
                accepts=self._accepts,
                target=self.load,
                estimate=self.estimate,
                **self._spec,
            )
        ]

    def _accepts(self, model: Model) -> Verdict:
        return Verdict.yes() if model.config.get("model_type") == self.kind else Verdict.foreign("it is not scripted")

    def estimate(self, model: Model) -> int:
        return self.script.memory

    def load(self, model: Model, context: EngineContext) -> FakeEngine:
        until = time.monotonic() + self.script.load_seconds
        while time.monotonic() < until or self.script.hold_load.is_set():
            context.alive()
            time.sleep(0.002)
        if self.script.fail_load is not None:
            error, self.script.fail_load = self.script.fail_load, None
            raise error
        self.script.log.append(("load", model.name))
        context.at_thread_exit(self._at_exit)
        return FakeEngine(self.script, model.name)

    def _at_exit(self) -> None:
        self.script.log.append(("exit", None))


def fake_backend(
    answer: str | Callable[[str], str] = "Hello.",
    *,
    kind: str = "fake",
    spec: Mapping[str, Any] | None = None,
    **script: Any,
) -> FakeBackend:
    """Return a plugin to register in a host; its `script` may be changed at any time. `script` takes `Script`'s fields.

    `spec` are fields of its `BackendSpec`: with `{"constraints": True}` it enforces constraints.
    """
    say = answer if callable(answer) else lambda prompt: answer
    return FakeBackend(Script(answer=say, **script), kind, spec or {})


def fake_model(folder: Path, *, kind: str = "fake", context: int = 4096, name: str | None = None) -> Model:
    """Write a folder that counts as a complete model, and that only the fake backend of that `kind` accepts."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "max_position_embeddings": context}))
    (folder / "tokenizer.json").write_text('{"added_tokens": []}')
    header = b'{"weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    return Model(name=name or folder.name, path=folder)
