"""What hostile connections do to `/health` of `mlxk serve`; the engine is scripted.

    uv run python benchmarks/connections.py [--case WORD]… [--open 2000] [--clients 1] [--seconds 10]
        [--nice 0]

For each case, `--clients` processes keep `--open` connections in all to a server of its own. Another process asks for
`/health` twenty times a second, and for that of a second server, which is idle: its times are those of the machine.
With `--nice`, the attackers have a lower priority, as if they were on another machine: on few cores, or a busy machine,
they would take the server's time instead of its connections. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from attacker import ATTACKS

from mlxk_testing.fake_engine import fake_model
from mlxk_testing.tiny_models import in_hub_cache

HERE = Path(__file__).parent
SCRIPTED = HERE.parent / "tests" / "serve" / "scripted_mlxk.py"
CHATS = 2500
"""Connections of the case `chats`, which is about requests that wait, whatever `--open` says."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", help=f"a word of the cases' names: {', '.join(ATTACKS)}")
    parser.add_argument("--open", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--nice", type=int, default=0, help="how much lower the priority of the attackers is")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print("| case | connections/s | CPU s | `/health` longest | p99 | failed | idle server longest |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HF_HUB_CACHE"] = scratch
        in_hub_cache("fake", lambda folder: fake_model(folder, kind="fake", context=1 << 20) and None)
        for case in ATTACKS:
            if not options.case or any(word in case for word in options.case):
                most = CHATS if case == "chats" else options.open
                print(measure(case, most, options.clients, options.seconds, options.nice), flush=True)


def measure(case: str, most: int, clients: int, seconds: float, nice: int) -> str:
    """Return the row of one case."""
    with server() as (pid, port), server() as (_, idle_port):
        watchers = [_python("watcher.py", watched, "/health") for watched in (port, idle_port)]
        time.sleep(0.5)  # they start
        cpu = _cpu(pid)
        attackers = [_python("attacker.py", case, port, most // clients, seconds, nice) for _ in range(clients)]
        made = sum(json.loads(attacker.communicate()[0]) for attacker in attackers)
        cpu = _cpu(pid) - cpu
        time.sleep(1)  # a late answer counts, too
        (times, failed), (idle, _) = (json.loads(watcher.communicate(b"")[0]) for watcher in watchers)
    late = times[int(len(times) * 0.99)]
    return (
        f"| {case} | {made / seconds:,.0f} | {cpu:.1f} | {times[-1] * 1000:,.0f} ms | {late * 1000:,.0f} ms "
        f"| {failed} of {len(times)} | {idle[-1] * 1000:,.0f} ms |"
    )


@contextlib.contextmanager
def server() -> Iterator[tuple[int, int]]:
    """Yield the process id and the port of a server."""
    script = json.dumps({"answer": "x" * 200, "step_seconds": 0.02})
    command = [sys.executable, str(SCRIPTED), script, "serve", "--port", "0", "--json", "--log-level", "error"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=lambda: signal.alarm(300))
    document = b""
    assert process.stdout
    while not document.endswith(b"\n}\n"):
        document += process.stdout.readline()
    try:
        yield process.pid, json.loads(document)["data"]["port"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _python(script: str, *args: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(HERE / script), *map(str, args)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
