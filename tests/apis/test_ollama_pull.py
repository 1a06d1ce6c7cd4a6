"""`/api/pull` of a server that allows it, with a hub over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mlxk_ollama.pull_process import PullProcess
from mlxk_ollama.shared_pulls import MOST_CLIENTS, MOST_PULLS
from mlxk_testing.tiny_models import random_model
from tests.hub.server import Hub
from tests.server_process import ServerProcess

NAME = "org/tiny"
SIZE = 16 << 20


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    folder = random_model(tmp_path / "model")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def repository(hub: Hub, files: dict[str, bytes]):
    return hub.add(NAME, files)


@pytest.fixture
def server(hub: Hub, hub_cache: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path, "--allow-pull")
    yield process
    process.kill()


def connect(server: ServerProcess) -> http.client.HTTPConnection:
    url = urlsplit(server.base_url)
    return http.client.HTTPConnection(url.hostname or "", url.port, timeout=120)


def post(server: ServerProcess, **body):
    connection = connect(server)
    connection.request("POST", "/api/pull", json.dumps(body))
    response = connection.getresponse()
    lines = [json.loads(line) for line in response.read().splitlines()]
    connection.close()
    return response.status, lines


def names(server: ServerProcess) -> set[str]:
    connection = connect(server)
    connection.request("GET", "/api/tags")
    found = {model["name"] for model in json.loads(connection.getresponse().read())["models"]}
    connection.close()
    return found


def test_a_pull_imports_nothing_from_the_working_folder(repository, hub_cache, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "json.py").write_text("raise SystemExit(99)")
    monkeypatch.chdir(tmp_path / "here")
    assert PullProcess(NAME).run(lambda progress: None) is None


def test_a_pull_streams_its_progress_and_the_model_can_be_used(repository, server):
    status, lines = post(server, model=f"{NAME}:latest")
    assert status == 200
    assert lines[0] == {"status": "pulling manifest"}
    assert lines[-1] == {"status": "success"}
    amounts = [line for line in lines if "total" in line]
    assert amounts
    assert all(0 <= line["completed"] <= line["total"] and line["digest"].startswith("sha256:") for line in amounts)
    end = time.monotonic() + 180
    while NAME not in names(server):
        assert time.monotonic() < end
    assert post(server, name=NAME, stream=False) == (200, [{"status": "success"}])


def test_what_cannot_be_pulled_is_an_error_before_anything_is_written(hub, repository, server, hub_cache):
    assert post(server, model="org/missing")[0] == 404
    repository.gated = "manual"
    status, [error] = post(server, model=NAME)
    assert status == 403
    assert "error" in error
    assert post(server, model="--help")[0] == 400
    assert post(server, model="a/b\0c")[0] == 400
    assert post(server, model=NAME, insecure=True)[0] == 400
    assert list(hub_cache.glob("models--*")) == []


@pytest.fixture
def large(hub: Hub, files: dict[str, bytes]):
    """`large("org/a")` adds a model whose download stops in the middle, and returns the event that lets it go on."""

    def add(name: str):
        header = json.dumps({"w": {"dtype": "U8", "shape": [SIZE], "data_offsets": [0, SIZE]}}).encode()
        weights = len(header).to_bytes(8, "little") + header + os.urandom(SIZE)
        hub.add(name, {**files, "model.safetensors": weights})
        return hub.stalls(f"GET /cdn/{name}/", after=12 << 20)

    return add


@dataclass
class Follower:
    """A client in the middle of a streamed pull."""

    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse

    def line(self):
        return json.loads(self.response.readline())

    def rest(self):
        return [json.loads(line) for line in self.response.read().splitlines()]

    def leave(self):
        self.connection.close()
        self.response.close()


@pytest.fixture
def follow(server: ServerProcess):
    """`follow("org/a")`: a client that has the first line of its pull."""
    opened = []

    def start(name: str) -> Follower:
        connection = connect(server)
        connection.request("POST", "/api/pull", json.dumps({"model": name}))
        follower = Follower(connection, connection.getresponse())
        opened.append(follower)
        assert follower.line() == {"status": "pulling manifest"}
        return follower

    yield start
    for follower in opened:
        follower.leave()


def until(condition):
    end = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def pull_processes(server: ServerProcess) -> int:
    listed = subprocess.run(["ps", "-A", "-o", "ppid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return sum(1 for parent, state in rows if int(parent) == server.popen.pid and not state.startswith("Z"))


def parts(hub_cache: Path, name: str) -> list[Path]:
    return list(hub_cache.glob(f"models--{name.replace('/', '--')}/blobs/*.incomplete"))


def test_clients_of_one_model_follow_one_download_until_the_last_has_left(hub, large, follow, server, hub_cache):
    go_on = large("org/large")
    first, second = follow("org/large"), follow("org/large:latest")
    assert first.line()["total"] == second.line()["total"] > SIZE
    assert pull_processes(server) == 1
    first.leave()
    until(lambda: server.status["responses"] == 1)
    clients = [second, *(follow("org/large") for _ in range(MOST_CLIENTS - 1))]
    assert pull_processes(server) == 1
    assert post(server, model="org/large")[0] == 429
    assert "org/large" not in names(server)  # a list needs a thread, too
    go_on.set()
    assert [each.rest()[-1] for each in clients] == [{"status": "success"}] * MOST_CLIENTS
    assert len(hub.asked("GET /cdn/")) == 1
    until(lambda: not pull_processes(server))
    assert not parts(hub_cache, "org/large")


def test_downloads_at_once_are_limited_and_a_stopped_one_is_resumed(hub, large, follow, server, hub_cache):
    models = [f"org/m{number}" for number in range(MOST_PULLS)]
    for name in models:
        large(name)
    followers = [follow(name) for name in models]
    status, [error] = post(server, model="org/other")
    assert (status, "error" in error) == (429, True)
    follow(models[0]).leave()  # one that runs can be joined all the same
    until(lambda: any(part.stat().st_size >= 10 << 20 for part in parts(hub_cache, models[0])))
    for follower in followers:
        follower.leave()
    until(lambda: not pull_processes(server))
    before = len(hub.asked("GET /cdn/"))
    status, lines = post(server, model=models[0])
    assert (status, lines[-1]) == (200, {"status": "success"})
    assert [request.range is not None for request in hub.asked("GET /cdn/")[before:]] == [True]
