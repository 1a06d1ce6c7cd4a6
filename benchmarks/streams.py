"""CPU of `mlxk serve` per streamed token, and how `/health` answers meanwhile; the engine is scripted.

    uv run python benchmarks/streams.py [--streams 64] [--seconds 5] [--step 0.02]

CPU is measured first, `/health` for as long after it: its fifty requests a second cost as much as a fourth of the
tokens. The figure includes the scripted engine's own work (a few microseconds a token). Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from chats import Chat

from mlxk_testing.fake_engine import fake_model
from mlxk_testing.tiny_models import in_hub_cache

SCRIPTED = Path(__file__).parents[1] / "tests" / "serve" / "scripted_mlxk.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--step", type=float, default=0.02)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HF_HUB_CACHE"] = scratch
        in_hub_cache("fake", lambda folder: fake_model(folder, kind="fake", context=1 << 20) and None)
        measure(options.streams, options.seconds, options.step)


def measure(streams: int, seconds: float, step: float) -> None:
    import asyncio

    script = json.dumps({"answer": "x" * 100_000, "step_seconds": step})
    command = [sys.executable, str(SCRIPTED), script, "serve", "--port", "0", "--json", "--log-level", "error"]
    command += ["--concurrency", str(min(streams, 64))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=lambda: signal.alarm(300))
    document = b""
    assert process.stdout
    while not document.endswith(b"\n}\n"):
        document += process.stdout.readline()
    port = json.loads(document)["data"]["port"]
    try:
        asyncio.run(_run(process.pid, port, streams, seconds))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


async def _run(pid: int, port: int, streams: int, seconds: float) -> None:
    import asyncio

    async def read(i: int) -> None:
        async with Chat(port, "fake", f"{i}", max_tokens=90_000) as chat:
            await chat.send()
            async for _ in chat.events():
                pass

    tasks = [asyncio.ensure_future(read(i)) for i in range(streams)]
    await asyncio.sleep(2)
    before, by_thread, began = _cpu(pid), _threads(pid), time.monotonic()
    tokens = await asyncio.to_thread(_tokens, port)
    await asyncio.sleep(seconds)
    spent, made = _cpu(pid) - before, await asyncio.to_thread(_tokens, port) - tokens
    took, after = time.monotonic() - began, _threads(pid)
    health = await asyncio.to_thread(_health, port, time.monotonic() + seconds)
    busiest = sorted((after[id] - by_thread.get(id, 0.0) for id in after), reverse=True)[:3]
    for task in tasks:
        task.cancel()
    print(
        f"{streams} streams: {made / took:.0f} tokens/s, "
        f"{spent / made * 1e6:.1f} us of CPU per token, "
        f"busiest threads {', '.join(f'{used / made * 1e6:.1f}' for used in busiest)} us, "
        f"{len(after)} threads, /health p50 {statistics.median(health) * 1000:.1f} ms, "
        f"p99 {statistics.quantiles(health, n=100)[-1] * 1000:.1f} ms"
    )


def _health(port: int, until: float) -> list[float]:
    times = []
    while time.monotonic() < until:
        began = time.monotonic()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as response:
            response.read()
        times.append(time.monotonic() - began)
        time.sleep(0.02)
    return times


def _tokens(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/status", timeout=60) as response:
        counted: int = json.load(response)["counters"]["generated_tokens"]
        return counted


def _cpu(pid: int) -> float:
    return _seconds(Path(f"/proc/{pid}/stat"))


def _threads(pid: int) -> dict[str, float]:
    """Return CPU seconds by thread: the busiest ones are the writer of all streams and the engine thread."""
    return {folder.name: _seconds(folder / "stat") for folder in Path(f"/proc/{pid}/task").iterdir()}


def _seconds(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
