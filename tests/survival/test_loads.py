"""Survives … loads and files: a client that leaves, and a clock that jumps."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

from mlxk_testing.tiny_models import in_hub_cache, random_model

ROOT = Path(__file__).parents[2]


def test_survives_a_client_that_leaves_a_load(launch, kit):
    server = launch(script={"load_seconds": 60})
    sock = server.client.begin_chat("wait")
    kit.until(lambda: server.client.status()["loading"])
    sock.close()
    kit.until(lambda: not server.client.status()["loading"])
    assert server.client.get("/health").status == 200


def test_survives_a_client_that_leaves_while_tokens_are_counted(launch, kit):
    server = launch(script={"load_seconds": 60})
    sock = server.client.begin("/tokenize", {"model": "fake", "prompt": "x"})
    kit.until(lambda: server.client.status()["loading"])
    sock.close()
    kit.until(lambda: not server.client.status()["loading"])


def test_survives_many_that_wait_for_a_load(launch, kit):
    """Routes that load a model take no worker: others are answered."""
    server = launch(script={"load_seconds": 60})
    socks = [server.client.begin("/tokenize", {"model": "fake", "prompt": "x"}) for _ in range(30)]
    kit.until(lambda: server.client.status()["responses"] == 30)
    assert server.client.get("/v1/models").status == 200
    for sock in socks:
        sock.close()
    kit.until(lambda: server.client.status()["responses"] == 0)


def test_survives_being_suspended_while_it_answers(launch, kit):
    """A stopped process makes no progress; that is neither a stall nor a slow client."""
    server = launch(script={"answer": "x" * 2000, "step_seconds": 0.01})
    with server.client.chat_stream("Hi", max_tokens=400) as events:
        stream = iter(events)
        next(stream)
        server.popen.send_signal(signal.SIGSTOP)
        time.sleep(2)
        server.popen.send_signal(signal.SIGCONT)
        assert server.client.get("/health").status == 200
        assert len(list(stream)) > 100


def test_a_changed_clock_is_seen_in_dates_only():
    """Whatever is measured or waited for uses monotonic time: a clock that jumps neither cuts nor keeps anything."""
    measured = []
    for folder in ("mlxk_core", "plugins/serve", "plugins/mlx", "plugins/gguf", "plugins/responses"):
        for file in (ROOT / folder).rglob("*.py"):
            for number, line in enumerate(file.read_text().splitlines(), 1):
                if re.search(r"\btime\.time\(|datetime\.now\(|utcnow\(", line):
                    measured.append((file.relative_to(ROOT).as_posix(), number, line.strip()))
    assert [each for each in measured if not re.search(r"created|date|int\(time\.time\(\)\)|time_ns", each[2])] == []


def test_survives_a_folder_for_compiled_code_that_cannot_be_used(launch, tmp_path, monkeypatch):
    """On a CPU MLX would compile C++ into the temporary folder, with the interpreter locked: nothing is compiled."""
    (tmp_path / "mlx").write_text("a file in the place of the folder")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    in_hub_cache("tiny/random", random_model)
    assert launch(model="tiny/random").client.chat(max_tokens=3).status == 200
