"""Survives … loads and files: a client that leaves, and a clock that jumps."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("pinned", [False, True], ids=["of the cache", "of --model"])
def test_survives_files_that_change_between_two_loads(launch, kit, pinned):
    """Each load reads them again, also what was known of them within the last second."""
    folder = in_hub_cache("tiny/changing", random_model)
    in_hub_cache("tiny/sound", random_model)
    server = launch(*(("--model", "tiny/changing", "--model", "tiny/sound") if pinned else ()), model="tiny/sound")
    client = kit.Client(server.client.port, model="tiny/changing")

    def reloaded():
        client.post("/v1/models/unload", {"model": "tiny/changing"})
        return client.chat("Hi", max_tokens=1)

    with kit.Watch(server):
        short = client.chat("Hi", max_tokens=1).json["usage"]["prompt_tokens"]
        (folder / "chat_template.jinja").write_text("{{ messages[0].content * 20 }}")
        assert client.chat("Hi", max_tokens=1).json["usage"]["prompt_tokens"] == short
        assert reloaded().json["usage"]["prompt_tokens"] > short
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**8}))
        assert (reloaded().status, reloaded().error["code"]) == (500, "broken_model")


def large_tokenizer(folder):
    """A model with a tokenizer that is read for a second, whose weights do not fit its config."""
    random_model(folder, ends=True)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    words |= {f"word{number}": 1000 + number for number in range(300_000)}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 2 * config["intermediate_size"]}))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_survives_loads_that_fail_while_their_tokenizers_are_read(launch, kit):
    """A failed load ends the process that reads its tokenizer: they piled up, and took all memory."""
    in_hub_cache("tiny/sound", random_model)
    in_hub_cache("tiny/failing", large_tokenizer)
    server = launch(model="tiny/sound")
    client = kit.Client(server.client.port, model="tiny/failing")

    def processes():
        children = Path(f"/proc/{server.popen.pid}/task").glob("*/children")
        lines = [Path(f"/proc/{pid}/cmdline") for file in children for pid in file.read_text().split()]
        return sum(line.exists() and b"tokenizer_worker" in line.read_bytes() for line in lines)

    with kit.Watch(server):
        most = 0
        sound = processes()
        for _ in range(12):
            assert client.chat("Hi").error["code"] == "broken_model"
            most = max(most, processes())
        assert sound <= most <= sound + 1
        kit.until(lambda: processes() == sound)
