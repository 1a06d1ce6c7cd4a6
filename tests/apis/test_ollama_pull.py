"""`/api/pull` of a server that allows it, with a hub over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mlxk_testing.tiny_models import random_model
from tests.hub.server import Hub
from tests.server_process import ServerProcess

NAME = "org/tiny"


@pytest.fixture
def repository(hub: Hub, tmp_path: Path):
    folder = random_model(tmp_path / "model")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
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


def test_a_client_that_leaves_stops_the_download(hub, hub_cache, server):
    size = 16 << 20
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    hub.add(
        "org/large",
        {"model.safetensors": len(header).to_bytes(8, "little") + header + os.urandom(size), "config.json": b"{}"},
    )
    hub.stalls("GET /cdn/", after=12 << 20)
    connection = connect(server)
    connection.request("POST", "/api/pull", json.dumps({"model": "org/large"}))
    response = connection.getresponse()
    assert json.loads(response.readline()) == {"status": "pulling manifest"}
    connection.close()
    response.close()
    end = time.monotonic() + 180
    while server.status["responses"]:
        assert time.monotonic() < end
        time.sleep(0.05)
