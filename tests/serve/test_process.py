"""`mlxk serve` as a process: how it starts, what it says, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlxk_core._errors import InvalidOption
from mlxk_serve.http import bind
from mlxk_testing import HEAVY, modules_after

SCRIPTED = Path(__file__).with_name("scripted_mlxk.py")


class Process:
    """A server process that has said where it listens."""

    def __init__(self, kit, args, script):
        command = [sys.executable, str(SCRIPTED), json.dumps(script), "serve", *args]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._kit = kit

    def ready(self):
        document = ""
        while not document.endswith("\n}\n"):
            line = self.popen.stdout.readline()
            assert line, self.popen.stderr.read()
            document += line
        self.info = json.loads(document)["data"]
        self.client = self._kit.Client(self.info["port"] or 0)
        return self

    def signal(self, number):
        self.popen.send_signal(number)

    def end(self):
        """The exit code, and what was said on the way. Fails if it does not come."""
        self.stdout, self.stderr = self.popen.communicate(timeout=180)
        return self.popen.returncode


@pytest.fixture
def start(kit):
    """`start("--port", "0", script={…})`: a server with the scripted model `fake`, listening."""
    kit.cached_fake("fake")
    processes = []

    def launch(*args, script=None, ready=True):
        port = () if "--unix" in args else ("--port", "0")
        process = Process(kit, [*port, *(["--json"] if ready else []), *args], script or {})
        processes.append(process)
        return process.ready() if ready else process

    yield launch
    for process in processes:
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.communicate()


LONG = {"answer": "x" * 30, "step_seconds": 0.02}  # far from the seconds that SIGTERM gives it
ENDLESS = {"answer": "x" * 100_000, "step_seconds": 0.02}


def free_again(port):
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))


def test_json_is_one_document_that_says_where_it_listens(start):
    process = start("--queue", "7", "--max-tokens", "9")
    assert process.info["port"] > 0
    assert process.info["base_url"] == f"http://127.0.0.1:{process.info['port']}/v1"
    assert (process.info["queue"], process.info["max_tokens"], process.info["auth"]) == (7, 9, False)
    assert process.client.chat().status == 200
    process.signal(signal.SIGINT)
    assert process.end() == 0
    assert process.stdout == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_the_parent_blocks_end_the_server(start, number):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})  # a child inherits it
    try:
        process = start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    process.signal(number)
    assert process.end() == 0


def test_a_start_without_descriptors_is_the_limit_of_the_system(mlxk):
    found = []
    for files in range(8, 30):
        limit = ["/bin/sh", "-c", f'ulimit -n {files}; exec "$0" "$@"']
        command = [*limit, *mlxk.command("serve", "--port", "0", "--json")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            document = ""
            while not document.endswith("\n}\n") and (line := process.stdout.readline()):
                document += line
            if '"success"' in document:
                process.kill()
                break
            if document:  # else not even Python could start
                found.append(json.loads(document)["error"]["type"])
    assert set(found) == {"system_limit"}


def test_both_loopback_families_are_listened_on(start, kit):
    process = start()
    assert process.info["urls"][0] == f"http://127.0.0.1:{process.info['port']}"
    for url in process.info["urls"]:
        host = url.removeprefix("http://").rpartition(":")[0].strip("[]")
        with socket.create_connection((host, process.info["port"]), timeout=180) as sock:
            sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b" 200 OK" in kit.everything(sock).splitlines()[0]


def test_the_startup_message_has_the_actual_port(start):
    process = start(ready=False)
    line = process.popen.stdout.readline()
    port = int(line.partition("http://127.0.0.1:")[2].partition("/")[0])
    assert socket.create_connection(("127.0.0.1", port), timeout=180)
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    free_again(port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_idle_server_ends_at_once(start, number):
    process = start()
    assert process.client.chat().status == 200
    idle = socket.create_connection(("127.0.0.1", process.info["port"]))
    process.signal(number)
    assert process.end() == 0
    idle.close()
    free_again(process.info["port"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_shutdown_completes_a_running_response_and_accepts_no_new_one(start, number):
    process = start(script=LONG)
    with process.client.chat_stream() as events:
        next(iter(events))
        process.signal(number)
        rest = list(events)
    assert rest[-1] == "[DONE]"
    assert sum(len(e["choices"][0]["delta"].get("content", "")) for e in rest[:-1]) == 30
    assert process.end() == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", process.info["port"]))


def test_a_request_during_shutdown_is_answered_or_rejected(start, kit):
    process = start(script=LONG)
    with process.client.chat_stream() as events:
        next(iter(events))
        others = [process.client.begin_chat(stream=True) for _ in range(5)]
        process.signal(signal.SIGINT)
        assert list(events)[-1] == "[DONE]"
    for other in others:
        received = kit.everything(other)
        assert b"data: [DONE]" in received or b"shutting_down" in received
    assert process.end() == 0


def test_sigterm_cuts_after_a_few_seconds_with_an_error_also_an_engine_that_hangs(start, kit):
    busy, hanging = start(script=ENDLESS), start(script={"hang": True})
    stuck = hanging.client.begin_chat(stream=True)
    kit.until(lambda: hanging.client.status()["active"] == 1)
    with busy.client.chat_stream() as events:
        next(iter(events))
        for process in (busy, hanging):
            process.signal(signal.SIGTERM)
        *_, last = list(events)
    assert last["error"]["code"] == "shutting_down"
    assert b"shutting_down" in kit.everything(stuck)
    for process in (busy, hanging):
        assert process.end() == 0
        free_again(process.info["port"])


def test_a_second_ctrl_c_cuts_with_an_error(start, kit):
    process = start(script=ENDLESS)
    whole = process.client.begin_chat()
    with process.client.chat_stream() as events:
        next(iter(events))
        process.signal(signal.SIGINT)
        kit.until(lambda: _refused(process.info["port"]))
        process.signal(signal.SIGINT)
        *_, last = list(events)
    assert last["error"]["code"] == "shutting_down"
    assert b"503" in kit.everything(whole).splitlines()[0]
    assert process.end() == 130
    assert "interrupted" in process.stderr


PATIENT = """
from dataclasses import replace
from mlxk_core._host.host import Host
from mlxk_serve.config import Limits, ServeConfig
from mlxk_serve.server import Server
from mlxk_serve.signals import SignalHandler
from mlxk_testing.fake_engine import fake_backend

host = Host(strict=True)
host.register(fake_backend("x" * 100_000, step_seconds=0.02), name="fake")
config = ServeConfig(port=0, hosts=("127.0.0.1",), limits=replace(Limits(), terminate_time=1e6))
SignalHandler().run(lambda: Server(host, config), lambda server: print(server.info["port"], flush=True))
"""
"""A server that would never end because of one SIGTERM alone."""


def test_a_second_sigterm_cuts_at_once(kit):
    kit.cached_fake("fake")
    with subprocess.Popen([sys.executable, "-c", PATIENT], stdout=subprocess.PIPE, text=True) as process:
        try:
            port = int(process.stdout.readline())
            stream = kit.Client(port).begin_chat(stream=True)
            assert b" 200 OK" in stream.recv(100)
            process.send_signal(signal.SIGTERM)
            kit.until(lambda: _refused(port))
            process.send_signal(signal.SIGTERM)
            assert b"shutting_down" in kit.everything(stream)
            assert process.wait(180) == 0
        finally:
            process.kill()


def test_a_third_ctrl_c_exits_at_once(start, kit):
    process = start(script={**ENDLESS, "hang": True})
    sock = process.client.begin_chat(stream=True)
    kit.until(lambda: process.client.status()["responses"] == 1)
    process.signal(signal.SIGINT)
    kit.until(lambda: _refused(process.info["port"]))  # signals that come too close to each other are one
    for _ in range(2):
        process.signal(signal.SIGINT)
        time.sleep(0.02)
    assert process.end() == 130
    sock.close()


def test_an_engine_that_hangs_cannot_outlive_a_second_ctrl_c(start, kit):
    process = start(script={"hang": True})
    sock = process.client.begin_chat(stream=True)
    kit.until(lambda: process.client.status()["active"] == 1)
    process.signal(signal.SIGINT)
    kit.until(lambda: _refused(process.info["port"]))
    process.signal(signal.SIGINT)
    assert process.end() == 130
    assert b"shutting_down" in kit.everything(sock)
    free_again(process.info["port"])


def _refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=180).close()
    except OSError:
        return True
    return False


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with a short name, wherever temporary files lie: a socket's path has 100 bytes at most."""
    monkeypatch.chdir(tmp_path)
    return Path()


def test_a_unix_socket_is_ours_alone_and_goes_with_the_server(start, here, kit):
    path = here / "s"
    process = start("--unix", str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in kit.everything(sock)
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert not path.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_server_stopped_during_startup_leaves_no_files(start, here, number, code):
    path = here / "s"
    process = start("--unix", str(path), "--model", "fake", script={"load_seconds": 600}, ready=False)
    while "loading" not in process.popen.stderr.readline():
        assert process.popen.poll() is None
    process.signal(number)
    assert process.end() == code
    assert "Traceback" not in process.stderr
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_stopped_as_soon_as_its_socket_is_there_leaves_none(start, here, number):
    path = here / "s"
    process = start("--unix", str(path), ready=False)
    while not path.exists():
        assert process.popen.poll() is None
    process.signal(number)
    process.end()
    assert not path.exists()


def test_a_server_that_still_starts_keeps_its_place(here):
    path = here / "s"
    (tcp,) = bind.open_tcp(["127.0.0.1"], 0)
    with tcp, bind.UnixFile(path).open():
        port = tcp.getsockname()[1]
        with pytest.raises(InvalidOption, match=f"{port} is in use"):
            bind.open_tcp(["127.0.0.1"], port)
        with pytest.raises(InvalidOption, match="another server"):
            bind.UnixFile(path).open()
        assert path.exists()


def test_a_unix_socket_that_a_dead_server_left_is_replaced(start, here):
    path = here / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    process = start("--unix", str(path))
    process.signal(signal.SIGTERM)
    assert process.end() == 0


def usage_error(cli_result):
    assert cli_result.code == 2
    assert cli_result.stdout == ""
    lines = cli_result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("mlxk serve: error: ")
    return lines[0]


@pytest.fixture
def serve_cli(cli, host):
    import mlxk_serve.plugin

    host.register(mlxk_serve.plugin, name="serve")
    return lambda *args: cli("serve", *args)


def test_a_port_in_use_is_one_line(serve_cli):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        assert str(port) in usage_error(serve_cli("--port", str(port)))
        assert str(port) in usage_error(serve_cli("--port", str(port), "--host", "127.0.0.1"))


@pytest.mark.parametrize(
    "args",
    [
        ["--host", "no.such.host.invalid"],
        ["--host", "203.0.113.7", "--no-auth"],
        ["--host", "0.0.0.0"],
        ["--host", "::"],
        ["--host", "127.0.0.1", "--host", "0.0.0.0"],
        ["--api-key-file", "no/such/file"],
        ["--unix", "s", "--port", "8000"],
        ["--unix", "s", "--host", "127.0.0.1"],
        ["--unix", "no/such/folder/s"],
        ["--allow-origin", "example"],
        ["--memory", "lots"],
        ["--ttl", "soon"],
        ["--port", "70000"],
        ["--log-level", "loud"],
        ["--reload", "--json"],
    ],
)
def test_options_that_cannot_be_are_one_line(serve_cli, args):
    result = serve_cli(*args)
    if "--json" in args:
        assert (result.code, result.json["status"]) == (2, "error")
    else:
        usage_error(result)


def test_an_invalid_address_is_reported_before_a_missing_key(serve_cli):
    assert "not an address" in usage_error(serve_cli("--host", "256.1.1.1"))
    assert "requires an API key" in usage_error(serve_cli("--host", "0.0.0.0"))


def test_a_key_file_must_hold_a_key_and_be_readable(serve_cli, tmp_path, monkeypatch):
    keys = tmp_path / "keys"
    keys.write_text("# nothing yet\n\n")
    assert "contains no key" in usage_error(serve_cli("--api-key-file", str(keys)))
    keys.write_text("short\n")
    assert "at least 8" in usage_error(serve_cli("--api-key-file", str(keys)))
    keys.write_bytes(b"\xff\xfe\xff")
    usage_error(serve_cli("--api-key-file", str(keys)))
    usage_error(serve_cli("--api-key-file", "/dev/zero"))
    keys.write_text("long-enough-key\n")
    assert "--no-auth" in usage_error(serve_cli("--api-key-file", str(keys), "--no-auth"))


def test_a_model_that_cannot_be_loaded_stops_the_server_at_startup(serve_cli, engine):
    unknown = serve_cli("--port", "0", "--model", "nobody/nothing")
    assert (unknown.code, unknown.stdout) == (1, "")
    assert "nobody/nothing" in unknown.stderr
    engine.script.memory = 10**15
    too_large = serve_cli("--port", "0", "--model", "fake")
    assert (too_large.code, too_large.stdout) == (1, "")
    assert "Traceback" not in too_large.stderr


def test_beyond_loopback_it_serves_with_a_key_from_a_file_or_the_environment(start, tmp_path, monkeypatch):
    keys = tmp_path / "keys"
    keys.write_text("# team\nfile-key-1234\n")
    monkeypatch.setenv("MLXK_API_KEY", "variable-key-1234")
    process = start("--host", "0.0.0.0", "--api-key-file", str(keys))
    assert process.info["auth"]
    assert process.client.get("/v1/models").status == 401
    for key in ("file-key-1234", "variable-key-1234"):
        assert process.client.get("/v1/models", authorization=f"Bearer {key}").status == 200
    assert process.client.get("/health", host="192.168.1.7:8000").status == 200
    assert process.client.get("/health", host="evil.com").status == 403
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert "key-1234" not in process.stderr


def test_no_auth_is_possible_and_warned_of(start):
    process = start("--host", "0.0.0.0", "--no-auth", ready=False)
    assert "http://0.0.0.0:" in process.popen.stdout.readline()
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert "authentication is off" in process.stderr


def test_the_log_is_one_json_object_a_line_with_ids_and_no_bodies(start):
    process = start("--log-json", script={"answer": "a secret answer"})
    process.client.chat("a secret question")
    process.client.post(
        "/v1/chat/completions",
        {"model": "nope", "messages": [{"role": "user", "content": "secret"}]},
        x_request_id="my-own-id",
        authorization="Bearer sk-secret-token-123456",
    )
    process.client.get("/health", host="evil.com")
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    lines = [json.loads(line) for line in process.stderr.splitlines()]
    # A line is written after the last byte of its response: the next one may be there before it.
    answers = {line["message"]: line for line in lines if "request_id" in line}
    chat, missing, _ = (
        answers.pop(message)
        for message in ("POST /v1/chat/completions 200", "POST /v1/chat/completions 404", "GET /health 403")
    )
    assert not answers
    assert chat["model"] == "fake"
    assert chat["completion_tokens"] == len("a secret answer") + 1
    assert missing["request_id"] == "my-own-id"
    assert missing["error"] == "model_not_found"
    assert all({"time", "level", "logger", "message", "ms"} <= set(line) for line in lines if "request_id" in line)
    assert "secret" not in process.stderr


def test_the_log_can_be_quieter(start):
    process = start("--log-level", "error")
    process.client.chat()
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert process.stderr == ""


FAULTY = """
from mlxk_core.api import ServerExtensionSpec, hookimpl

@hookimpl
def mlxk_server_extensions():
    yield ServerExtensionSpec(name="faulty", summary="", target=extend)

def extend(server):
    raise ValueError("not today")  # here
"""


@pytest.mark.parametrize("level", ["info", "debug"])
def test_the_log_has_the_frames_of_an_isolated_failure_at_debug_only(kit, tmp_path, monkeypatch, level):
    kit.cached_fake("fake")
    (tmp_path / "zoo_faulty.py").write_text(FAULTY)
    info = tmp_path / "zoo_faulty-2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-faulty\nVersion: 2.1\n")
    (info / "entry_points.txt").write_text("[mlxk]\nfaulty = zoo_faulty\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = [sys.executable, "-m", "mlxk_core", "serve", "--port", "0", "--json", "--log-level", level]
    with (tmp_path / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout.readline(), "the server starts all the same"
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=180)
        finally:
            process.kill()
    said = (tmp_path / "log.txt").read_text()
    assert "faulty (zoo-faulty 2.1)" in said
    assert "zoo_faulty.py:9" in said
    assert ('raise ValueError("not today")  # here' in said) == (level == "debug")


def test_help_is_light():
    loaded = modules_after("from mlxk_core._cli.main import run; run(['serve', '--help'])")
    assert "mlxk_serve.serve" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"falcon", "waitress", "msgspec", *HEAVY}
