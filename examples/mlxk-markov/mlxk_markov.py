"""A backend without MLX: Markov chains over bytes, in pure Python.

A model is a folder with `config.json` (`{"model_type": "markov"}`) and `markov.json`, which `train` writes.
"""

from __future__ import annotations

import json
import random
from codecs import getincrementaldecoder
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from mlxk_core.api import BackendSpec, Verdict, hookimpl
from mlxk_core.api.backends import EngineContext, Prefilled, Row, Sampled, StepEvent, check_row
from mlxk_core.api.errors import BrokenModel
from mlxk_core.api.generation import Message, Tool
from mlxk_core.api.models import Model

__version__ = "0.1.0"

END, END_TEXT = 256, "<end>"


# --8<-- [start:describe]
@hookimpl
def mlxk_backends() -> Iterable[BackendSpec]:
    yield SPEC


def accepts(model: Model) -> Verdict:
    if model.config.get("model_type") != "markov":
        return Verdict.foreign("not a Markov chain")
    if model.config.get("order", 1) != 1:
        return Verdict.no("only chains of order 1 are supported")
    return Verdict.yes()


SPEC = BackendSpec(
    name="markov",
    summary="Markov chains over bytes, in pure Python.",
    accepts=accepts,
    target="mlxk_markov:load",
    sampling=frozenset({"temperature", "seed"}),  # anything else is an error before the model is loaded
    tools=False,
    framework="Markov",
    type="base",
)
# --8<-- [end:describe]


# --8<-- [start:load]
def load(model: Model, context: EngineContext) -> MarkovEngine:
    try:
        counts = json.loads((model.path / "markov.json").read_text(encoding="utf-8"))
        table = {int(a): {int(b): int(n) for b, n in following.items()} for a, following in counts.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise BrokenModel(f"`{model.name}`: markov.json cannot be read: {error}.", model=model.name) from error
    context.alive()  # a long load calls it a few times per second
    return MarkovEngine(table)


# --8<-- [end:load]


# --8<-- [start:tokenizer]
class ByteTokenizer:
    """One token a byte, and one that ends a text."""

    vocab_size = 257

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        parts = text.split(END_TEXT)
        tokens = [list(part.encode("utf-8", "replace")) for part in parts]
        return [token for number, part in enumerate(tokens) for token in ([END, *part] if number else part)]

    def decode(self, tokens: Sequence[int], /) -> str:
        detokenizer = self.detokenizer()
        return "".join([*map(detokenizer.add, tokens), detokenizer.finish()])

    def piece(self, token: int, /) -> bytes | None:
        return END_TEXT.encode() if token == END else bytes([token])

    def token_id(self, text: str, /) -> int | None:
        tokens = self.encode(text, add_special_tokens=False)
        return tokens[0] if len(tokens) == 1 else None

    def detokenizer(self) -> ByteDetokenizer:
        return ByteDetokenizer()


class ByteDetokenizer:
    """Holds back the bytes of a character until it is complete."""

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")("replace")

    def add(self, token: int, /) -> str:
        if token == END:
            return self.finish() + END_TEXT
        return self._decoder.decode(bytes([token]))

    def finish(self) -> str:
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


# --8<-- [end:tokenizer]


# --8<-- [start:engine]
@dataclass
class _Active:
    row: Row
    draw: random.Random
    last: int
    read: bool = False
    tokens: list[int] = field(default_factory=list)


class MarkovEngine:
    """One chain. Every row is a walk of its own through the table."""

    def __init__(self, table: Mapping[int, Mapping[int, int]]) -> None:
        self.tokenizer = ByteTokenizer()
        self.native_stops = frozenset({END})
        self._table = table
        self._rows: dict[int, _Active] = {}

    @property
    def memory(self) -> int:
        return 100 * sum(map(len, self._table.values())) + 1

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        generation_prompt: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        turns = "".join(f"{message.role}: {message.content}\n" for message in messages)
        return turns + ("assistant: " if generation_prompt else "")

    def check(self, row: Row) -> None:
        check_row(row, self.tokenizer.vocab_size)

    def add(self, row: Row) -> None:
        self._rows[row.id] = _Active(row, random.Random(row.sampling.seed), row.prompt[-1])

    def step(self) -> Sequence[StepEvent]:
        return [self._advance(active) for active in list(self._rows.values())]

    def _advance(self, active: _Active) -> StepEvent:
        row = active.row
        if not active.read:
            active.read = True
            return Prefilled(row.id, len(row.prompt), len(row.prompt))
        token = active.last = self._next(active)
        active.tokens.append(token)
        if token in row.stop_tokens:
            self.remove(row.id)
            return Sampled(row.id, token, "stop")
        if len(active.tokens) == row.max_tokens:
            self.remove(row.id)
            return Sampled(row.id, token, "length")
        return Sampled(row.id, token)

    def _next(self, active: _Active) -> int:
        counts = self._table.get(active.last) or dict.fromkeys(range(97, 123), 1)
        temperature = active.row.sampling.temperature
        if temperature == 0:
            return max(counts, key=lambda token: (counts[token], -token))
        largest = max(counts.values())
        weights = [(count / largest) ** (1 / max(temperature, 1e-3)) for count in counts.values()]
        return active.draw.choices(list(counts), weights)[0]

    def remove(self, id: int, /) -> None:
        self._rows.pop(id, None)

    def reset(self) -> None:
        self._rows.clear()

    def close(self) -> None:
        self._rows.clear()


# --8<-- [end:engine]


def train(text: str, folder: Path) -> Path:
    """Write a model of `text` into `folder` and return it."""
    tokens = [*text.encode(), END]
    table: dict[int, Counter[int]] = defaultdict(Counter)
    for a, b in pairwise(tokens):
        table[a][b] += 1
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "markov", "max_position_embeddings": 4096}))
    (folder / "markov.json").write_text(json.dumps(table))
    return folder
