"""`mlxk launch`, with stand-ins for the agents: programs that write down what they are given and ask one question."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mlxk_testing.tiny_models import in_hub_cache, scripted_model
from tests.server_process import ServerProcess, own_home

PATIENCE = 180
AGENT = """#!{python}
import json, os, signal, sys, urllib.request
def ask(url, key):
    body = json.dumps({{"model": "tiny/talker", "messages": [{{"role": "user", "content": "Hi"}}]}}).encode()
    request = urllib.request.Request(url + "/chat/completions", body, {{"authorization": "Bearer " + key}})
    return json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"]
seen = {{"arguments": sys.argv[1:], "variables": dict(os.environ)}}
url = os.environ.get("OPENAI_API_BASE")
if url:
    seen["answer"] = ask(url, os.environ["OPENAI_API_KEY"])
folder = os.environ.get("CRUSH_GLOBAL_CONFIG")
if folder:
    seen["config"] = json.load(open(os.path.join(folder, "crush.json")))
if path := os.environ.get("CLINE_PROVIDER_SETTINGS_PATH"):
    seen["config"] = json.load(open(path))
    seen["mode"] = os.stat(path).st_mode & 0o777
json.dump(seen, open({seen!r}, "w"))
if "AGENT_WAITS" in os.environ:
    open({seen!r} + ".waits", "w").close()
    signal.alarm(600)
    signal.pause()
sys.exit(int(os.environ.get("AGENT_EXITS", "0")))
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """`install(name)`: an agent of that name is on PATH. Returns a function that returns what it saw."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def install(name):
        seen = tmp_path / f"{name}.json"
        (folder / name).write_text(AGENT.format(python=sys.executable, seen=str(seen)))
        (folder / name).chmod(0o755)
        return lambda: json.loads(seen.read_text())

    return install


@pytest.fixture
def talker(hub_cache):
    in_hub_cache("tiny/talker", lambda folder: scripted_model(folder, "Hello there."))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with own_home(folder):
        in_hub_cache("tiny/talker", lambda folder: scripted_model(folder, "Hello there."))
        process = ServerProcess(folder, "--model", "tiny/talker")
    yield process.base_url.removesuffix("/v1")
    process.close()


def answers(url):
    try:
        urllib.request.urlopen(f"{url}/livez", timeout=60)
    except urllib.error.URLError:
        return False
    return True


def test_an_agent_runs_on_the_server_that_is_named(mlxk, install, server):
    seen = install("aider")
    result = mlxk("launch", "aider", "--server", server, "--", "--yes", "-m", "Hi")
    assert result.code == 0, result.stderr
    assert seen()["answer"] == "Hello there."
    assert seen()["arguments"] == ["--model", "openai/tiny/talker", "--no-show-model-warnings", "--yes", "-m", "Hi"]
    assert answers(server)


def test_a_server_of_this_machine_is_reached_without_scheme_and_proxy(mlxk, server):
    result = mlxk(
        "launch",
        "aider",
        "--server",
        server.removeprefix("http://"),
        "--print",
        env={"HTTP_PROXY": "http://127.0.0.1:1"},
    )
    assert result.code == 0 and f"{server}/v1" in result.stdout, result.stderr


@pytest.mark.parametrize("address", ["ftp://x", "127.0.0.1:no", "127.0.0.1:70000", "http://", "http://[::1"])
def test_a_server_that_is_not_a_web_address_is_an_error(mlxk, address):
    result = mlxk("launch", "aider", "--server", address, "--print")
    assert result.code == 2 and f"`{address}` is not a web address" in result.stderr


def test_a_key_that_cannot_be_sent_is_named_and_not_shown(mlxk, server):
    result = mlxk("launch", "aider", "--server", server, "--print", env={"MLXK_API_KEY": "käse"})
    assert result.code == 1 and "MLXK_API_KEY" in result.stderr and "käse" not in result.stderr


def test_a_server_on_another_machine_is_reached_through_the_proxy(mlxk):
    asked = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(401)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Proxy) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            proxy = {"http_proxy": f"http://127.0.0.1:{http.server_port}"}
            result = mlxk("launch", "aider", "--server", "http://models.invalid", "--print", env=proxy)
        finally:
            http.shutdown()
            thread.join()
    assert asked == ["http://models.invalid/v1/models"] and "MLXK_API_KEY" in result.stderr


def test_without_a_server_one_is_started_and_ended(mlxk, install, talker):
    seen = install("aider")
    result = mlxk("launch", "aider", "--model", "tiny/talker", "--server", "http://127.0.0.1:9")
    assert result.code == 1
    result = mlxk("launch", "aider", "--model", "tiny/talker")
    assert result.code == 0, result.stderr
    assert seen()["answer"] == "Hello there."
    assert not answers(seen()["variables"]["OPENAI_API_BASE"].removesuffix("/v1"))


def test_the_exit_code_is_the_agents(mlxk, install, server, monkeypatch):
    install("aider")
    monkeypatch.setenv("AGENT_EXITS", "7")
    assert mlxk("launch", "aider", "--server", server).code == 7


def started_by(pid):
    """The processes that `pid` has started and that run."""
    listed = subprocess.run(["ps", "-A", "-o", "ppid=,pid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(row[1]) for row in rows if int(row[0]) == pid and not row[2].startswith("Z")]


def runs(pid):
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(listed.strip()) and not listed.startswith("Z")  # nothing may collect a process whose parent has ended


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("moment", ["the server starts", "the agent runs"])
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_however_the_command_ends(mlxk, install, talker, monkeypatch, tmp_path, number, moment):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setenv("AGENT_WAITS", "yes")
    install("cline")
    launch = mlxk.start("launch", "cline", "--model", "tiny/talker")
    wait_for((tmp_path / "cline.json.waits").exists if moment == "the agent runs" else lambda: started_by(launch.pid))
    server, *agents = started_by(launch.pid)
    try:
        launch.send_signal(number)
        code = launch.wait(PATIENCE)
        wait_for(lambda: not runs(server))
        if number != signal.SIGKILL:
            assert code == 128 + number
            assert not any(map(runs, agents))
            assert list((tmp_path / "temporary").iterdir()) == []
    finally:
        for pid in [server, *agents]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_an_agent_that_has_just_begun_ends_too(mlxk, install, server, tmp_path):
    install("aider")
    pid = tmp_path / "pid"
    (tmp_path / "bin" / "aider").write_text(f"#!/bin/sh\nkill -TERM $PPID\necho $$ >{pid}\nexec sleep 600 >&- 2>&-\n")
    assert mlxk("launch", "aider", "--server", server).code == 128 + signal.SIGTERM
    written = pid.read_text() if pid.exists() else ""
    if written:  # otherwise it has ended before
        assert not runs(int(written))


def test_nothing_in_the_working_folder_shadows_a_library(mlxk, install, talker, tmp_path):
    install("aider")
    (tmp_path / "project").mkdir()
    for name in ("json", "click", "mlx", "mlxk_core"):
        (tmp_path / "project" / f"{name}.py").write_text("raise SystemExit(99)")
    program = [sys.executable, "-P", "-m", "mlxk_core"]
    command = [*program, "launch", "aider", "--model", "tiny/talker"]
    done = subprocess.run(command, cwd=tmp_path / "project", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_agent_that_a_signal_ends_has_the_exit_code_of_shells(mlxk, install, server, tmp_path):
    install("aider")
    (tmp_path / "bin" / "aider").write_text("#!/bin/sh\nkill -KILL $$\n")
    assert mlxk("launch", "aider", "--server", server).code == 128 + signal.SIGKILL


@pytest.mark.parametrize("program", ["echo without an interpreter", "#!/none/such\n", "\x7fELF of another machine"])
def test_an_agent_that_cannot_be_started_is_an_error_with_the_way_to_get_it(mlxk, install, server, tmp_path, program):
    install("codex")
    (tmp_path / "bin" / "codex").write_text(program)
    result = mlxk("launch", "codex", "--server", server)
    assert result.code == 1
    assert "npm install" in result.stderr and "Plugin" not in result.stderr


@pytest.mark.parametrize(
    "answer",
    [
        b"[" * 200_000,
        b'{"data": ["x", {"id": 1}]}',
        b'{"data": [{"id": "tiny/talker", "context_length": "big"}]}',
        b'{"data": [{"id": "tiny/talker", "context_length": 1e999}]}',
        b'{"data": [{"id": "tiny/talker\\u0000"}]}',
        b'{"data": [{"id": "tiny/talker\\ud800"}]}',
        b" " * (17 << 20) + b'{"data": [{"id": "tiny/talker"}]}',
    ],
    ids=["depth", "entries", "context", "infinity", "nul", "surrogate", "length"],
)
def test_what_is_not_a_list_of_models_is_not_believed(mlxk, answer):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):  # not all of it is read
                self.wfile.write(answer)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            result = mlxk("launch", "opencode", "--server", f"127.0.0.1:{http.server_port}", "--print")
        finally:
            http.shutdown()
            thread.join()
    assert result.code in (1, 2) and result.stdout == ""
    assert "Plugin" not in result.stderr


@pytest.mark.parametrize("agent", ["aider", "claude", "cline", "codex", "crush", "goose", "opencode", "qwen"])
def test_every_agent_is_given_the_server_and_the_model(mlxk, install, server, agent):
    seen = install(agent)
    result = mlxk("launch", agent, "--server", server)
    assert result.code == 0, result.stderr
    given = json.dumps([seen()["arguments"], seen()["variables"], seen().get("config")])
    assert server in given
    assert "tiny/talker" in given


def test_crush_reads_and_writes_nothing_of_the_users_and_expands_no_key(mlxk, install, server, monkeypatch):
    monkeypatch.setenv("MLXK_API_KEY", "a$HOME")
    seen = install("crush")
    assert mlxk("launch", "crush", "--server", server).code == 0
    variables, config = seen()["variables"], seen()["config"]
    [provider] = config["providers"].values()
    assert (variables["MLXK_LAUNCH_KEY"], provider["api_key"]) == ("a$HOME", "$MLXK_LAUNCH_KEY")
    assert variables["CRUSH_GLOBAL_DATA"].startswith(variables["CRUSH_GLOBAL_CONFIG"])
    [model] = provider["models"]
    assert (model["context_window"], model["default_max_tokens"]) == (2048, 1024)


def test_only_the_user_can_read_the_key_in_a_file(mlxk, install, server):
    seen = install("cline")
    assert mlxk("launch", "cline", "--server", server).code == 0
    assert seen()["mode"] == 0o600


def test_goose_uses_one_model_and_knows_its_context(mlxk, install, server):
    seen = install("goose")
    assert mlxk("launch", "goose", "--server", server).code == 0
    variables = seen()["variables"]
    assert variables["GOOSE_CONTEXT_LIMIT"] == "2048"
    assert variables["GOOSE_MODEL"] == variables["GOOSE_FAST_MODEL"] == "tiny/talker"


def test_print_shows_the_command_and_starts_nothing(mlxk, talker):
    result = mlxk("launch", "codex", "--model", "tiny/talker", "--print")
    assert result.code == 0, result.stderr
    assert re.search(r"^codex .*-m tiny/talker$", result.stdout, re.MULTILINE)


def test_an_agent_that_is_not_installed_is_an_error_with_the_way_to_get_it(mlxk, talker, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = mlxk("launch", "codex")
    assert result.code == 2
    assert "npm install" in result.stderr


def test_of_several_models_one_has_to_be_named(mlxk, install, talker):
    in_hub_cache("tiny/other", lambda folder: scripted_model(folder, "Hello."))
    install("aider")
    result = mlxk("launch", "aider")
    assert result.code == 2
    assert "tiny/other" in result.stderr


def test_a_server_that_does_not_start_says_why(mlxk, install, talker, hub_cache):
    install("aider")
    result = mlxk("launch", "aider", "--model", "tiny/missing")
    assert result.code == 1
    assert "tiny/missing" in result.stderr


def test_without_an_agent_they_are_listed_with_how_to_install_them(mlxk, install, monkeypatch, tmp_path):
    install("aider")
    listed = mlxk("launch").stdout
    assert re.search(r"^aider .*  installed$", listed, re.MULTILINE)
    assert "npm install -g cline" in listed


def test_an_unknown_agent_is_an_error_that_lists_the_known_ones(mlxk):
    result = mlxk("launch", "nonesuch")
    assert result.code == 2
    assert "cline" in result.stderr


def test_the_default_model_of_the_settings_is_used(mlxk, install, talker, monkeypatch, tmp_path):
    in_hub_cache("tiny/other", lambda folder: scripted_model(folder, "Hello."))
    (tmp_path / "config.toml").write_text('[defaults]\nmodel = "tiny/other"\n')
    monkeypatch.setenv("MLXK_CONFIG", str(tmp_path / "config.toml"))
    result = mlxk("launch", "codex", "--print")
    assert "-m tiny/other" in result.stdout
