"""A server with every tiny encoder, and the reference numbers."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mlxk_testing.tiny_models import in_hub_cache, scripted_model
from tests.encoders.damage import FAULTS, INDEX_FAULTS, damage, damage_index, damaged_name, wide, without_limit
from tests.encoders.tiny_encoders import CASES, REFERENCES, write_encoder
from tests.server_process import ServerProcess, own_home


@pytest.fixture(scope="session")
def references() -> Mapping[str, Any]:
    """What transformers and sentence-transformers compute, by model (see `make_references.py`)."""
    found: Mapping[str, Any] = json.loads(REFERENCES.read_text(encoding="utf-8"))
    return found


@pytest.fixture
def encoder(references: Mapping[str, Any]) -> Callable[[Path, str], Path]:
    """`encoder(folder, name)` writes a tiny encoder."""
    return lambda folder, name: write_encoder(folder, name, references[name]["shapes"])


@pytest.fixture(scope="session")
def encoder_server(tmp_path_factory: pytest.TempPathFactory, references: Mapping[str, Any]) -> Iterator[ServerProcess]:
    """One server for all tests of this folder."""
    folder = tmp_path_factory.mktemp("encoders")

    def write(target: Path, name: str) -> Path:
        return write_encoder(target, name, references[name]["shapes"])

    with own_home(folder):
        for name in CASES:
            in_hub_cache(f"tiny/{name}", partial(write_encoder, name=name, shapes=references[name]["shapes"]))
        for fault in FAULTS:
            in_hub_cache(damaged_name(fault), partial(damage, fault=fault, write=write))
        for fault in INDEX_FAULTS:
            in_hub_cache(damaged_name(fault), partial(damage_index, fault=fault, write=write))
        in_hub_cache("tiny/without-limit", partial(without_limit, write=write))
        in_hub_cache("tiny/wide", partial(wide, write=write))
        in_hub_cache("tiny/talker", lambda folder: scripted_model(folder, "The cat sat on the mat."))
        process = ServerProcess(folder)
    try:
        yield process
    finally:
        process.kill()


@pytest.fixture
def post(encoder_server: ServerProcess) -> Callable[[str, Any], tuple[int, Any]]:
    """`post(path, body)` is the status and the JSON of a request."""
    url = urlsplit(encoder_server.base_url)

    def send(path: str, body: Any) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=180)
        try:
            connection.request("POST", path, json.dumps(body))
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    return send
