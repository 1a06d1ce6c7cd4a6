"""A soak of `mlxk serve`: streams from many clients on two models at once, many left rudely; nothing may stay behind.

    uv run python benchmarks/soak.py [--streams 2000 | --seconds 600] [--clients 48] [--rude 0.4] [--seed 0] [--json]

The models are tiny, so that the server is what works. Clients that stay check that they get their own model's whole
answer. Those that leave do so with FIN or RST at a random moment: with half of the request sent, before the first byte
(with more clients than the batch has rows: while queued), in the stream, or waiting for an answer that is not streamed.
At the end the server's descriptors, threads and memory are compared with those after a first round that woke everything
up. Exits with 1 if anything stays.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from chats import Chat, Unfinished, text_of
from servers import Served, mlxk_serve

from mlxk_testing.tiny_models import in_hub_cache, scripted_model

MODELS = {"soak/clock": "tick tock ", "soak/bell": "ding dong dang "}
LONGEST_ANSWER = 120
MOMENTS = ("in the request", "before the first byte", "a little later", "in the stream", "waiting for all of it")
PROMPTS = [f"{number}: " + "word " * (number % 61) for number in range(200)]
"""No more: Hugging Face's tokenizers remember up to 10,000 words, and to the tiny models' a prompt is one word
of 7 kB; ever new ones look like a leak for the first 20,000 streams."""
MEMORY = "200MB"
"""Of the server's budget. A tenth of it is for prompts that were read, which would look like a leak if it were more."""
ALLOWED_GROWTH = 128 << 20
"""Bytes: those prompts, and what allocators keep from the peak (80 MB in the first 4,000 streams, then no more)."""


@dataclass
class Census:
    """What a process holds."""

    descriptors: int
    threads: int
    memory: int


def census(pid: int) -> Census:
    proc = Path("/proc") / str(pid)
    if proc.exists():
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        return Census(
            len(list((proc / "fd").iterdir())), int(status["Threads"]), int(status["VmRSS"].split()[0]) * 1024
        )
    return Census(  # macOS
        len(_lines("lsof", "-n", "-P", "-p", str(pid))) - 1,
        len(_lines("ps", "-M", "-p", str(pid))) - 1,
        int(_lines("ps", "-o", "rss=", "-p", str(pid))[0]) * 1024,
    )


def _lines(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@dataclass
class Soak:
    """The clients and what they saw."""

    served: Served
    rude: float
    random: random.Random
    ended: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    tokens: int = 0
    most_waiting: int = 0
    memory: list[int] = field(default_factory=list)

    async def run(self, clients: int, *, streams: int | None, seconds: float | None) -> None:
        """`clients` at a time, until `streams` were begun or `seconds` have passed."""
        numbers = self._numbers(streams, seconds)
        watcher = asyncio.create_task(self._watch())
        await asyncio.gather(*(self._client(numbers) for _ in range(clients)))
        watcher.cancel()

    @staticmethod
    def _numbers(streams: int | None, seconds: float | None) -> Iterator[int]:
        end = time.monotonic() + seconds if seconds is not None else None
        number = 0
        while (streams is None or number < streams) and (end is None or time.monotonic() < end):
            yield number
            number += 1

    async def _client(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            model, words = self.random.choice(list(MODELS.items()))
            asked = self.random.randint(1, LONGEST_ANSWER)
            prompt = PROMPTS[number % len(PROMPTS)]
            fields = {"max_tokens": asked, "temperature": 0, "stream_options": {"include_usage": True}}
            try:
                if self.random.random() < self.rude:
                    moment = self.random.choice(MOMENTS)
                    fields |= {"n": self.random.choice([1, 1, 2]), "stream": moment != "waiting for all of it"}
                    async with Chat(self.served.port, model, prompt, **fields) as chat:
                        await self._leave(chat, moment, asked)
                else:
                    async with Chat(self.served.port, model, prompt, **fields) as chat:
                        await self._stay(chat, words, asked)
            except (Unfinished, OSError) as error:
                self.wrong.append(f"stream {number}: {error!r}")

    async def _stay(self, chat: Chat, words: str, asked: int) -> None:
        await chat.send()
        text, reasons, usage = "", [], None
        async for event in chat.events():
            text += text_of(event)
            reasons += [choice["finish_reason"] for choice in event["choices"] if choice["finish_reason"]]
            usage = event.get("usage") or usage
        self.ended["whole"] += 1
        self.tokens += usage["completion_tokens"] if usage else 0
        if text != (words * asked)[: len(text)] or reasons != ["length"] or usage["completion_tokens"] != asked:
            self.wrong.append(f"asked for {asked} tokens of {words!r}, got {text!r}, {reasons}, {usage}")

    async def _leave(self, chat: Chat, moment: str, asked: int) -> None:
        reset = self.random.random() < 0.5
        self.ended[f"left {moment} ({'RST' if reset else 'FIN'})"] += 1
        await chat.send(self.random.uniform(0.1, 0.9) if moment == "in the request" else 1.0)
        if moment in ("a little later", "waiting for all of it"):
            await asyncio.sleep(self.random.uniform(0, 0.2))
        if moment == "in the stream":
            events = chat.events()
            for _ in range(self.random.randint(1, asked)):
                await anext(events)
            await events.aclose()
        chat.leave(reset=reset)

    async def _watch(self) -> None:
        for number in itertools.count():
            status = await asyncio.to_thread(self.served.get, "/v1/status")
            self.most_waiting = max(self.most_waiting, status["waiting"])
            if number % 100 == 0:
                self.memory.append(census(self.served.process.pid).memory)
            await asyncio.sleep(0.1)

    def settle(self) -> dict[str, int]:
        """The counts of what is under way, once they are zero; after a while, whatever they are."""
        for _ in range(1200):
            status = self.served.get("/v1/status")
            leases = sum(model["leases"] for model in status["models"])
            left = {name: status[name] for name in ("active", "waiting", "responses")} | {"leases": leases}
            if not any(left.values()):
                break
            time.sleep(0.05)
        return left


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--clients", type=int, default=48)
    parser.add_argument("--rude", type=float, default=0.4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.streams is None and options.seconds is None:
        options.streams = 2000
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(HF_HOME=home, HF_HUB_OFFLINE="1", XDG_CACHE_HOME=home)
        os.environ.pop("HF_HUB_CACHE", None)
        for name, says in MODELS.items():
            in_hub_cache(name, lambda folder, says=says: scripted_model(folder, says, endless=True))
        life = int((options.seconds or options.streams / 5) + 300)
        with mlxk_serve("--memory", MEMORY, environment=os.environ, life=life) as served:
            report = soak(served, options)
            report["log"] = served.log.read_text()
    return tell(report, as_json=options.json)


def soak(served: Served, options: argparse.Namespace) -> dict[str, object]:
    first = Soak(served, 0.0, random.Random(options.seed))
    asyncio.run(first.run(options.clients, streams=2 * options.clients, seconds=None))
    first.settle()
    before = census(served.process.pid)
    started = time.monotonic()
    second = Soak(served, options.rude, random.Random(options.seed + 1))
    asyncio.run(second.run(options.clients, streams=options.streams, seconds=options.seconds))
    seconds = time.monotonic() - started
    under_way = second.settle()
    return {
        "streams": sum(second.ended.values()),
        "seconds": round(seconds, 1),
        "tokens_of_whole_answers": second.tokens,
        "ended": dict(sorted(second.ended.items())),
        "most_waiting": second.most_waiting,
        "wrong": first.wrong + second.wrong,
        "before": asdict(before),
        "after": asdict(_settled(served.process.pid, before)),
        "megabytes_on_the_way": [memory >> 20 for memory in second.memory],
        "under_way": under_way,
    }


def _settled(pid: int, before: Census) -> Census:
    """Connections that were cut leave the server at its next look; it gets a few of them."""
    for _ in range(600):
        after = census(pid)
        if after.descriptors <= before.descriptors and after.threads <= before.threads:
            break
        time.sleep(0.1)
    return after


def tell(report: dict[str, object], *, as_json: bool) -> int:
    """Prints it; 1 if something was wrong or stayed behind."""
    before, after = report["before"], report["after"]
    bad = {
        "answers were wrong": bool(report["wrong"]),
        "requests stayed": any(report["under_way"].values()),
        "descriptors stayed": after["descriptors"] > before["descriptors"],
        "threads stayed": after["threads"] > before["threads"],
        "memory grew": after["memory"] - before["memory"] > ALLOWED_GROWTH,
        "the server complained": bool(report["log"]),
    }
    report["bad"] = [name for name, holds in bad.items() if holds]
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        for name, value in report.items():
            print(f"{name:<24} {value}")
    return 1 if report["bad"] else 0


if __name__ == "__main__":
    sys.exit(main())
