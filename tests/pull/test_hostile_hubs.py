"""Hubs that send what no hub should: the pull ends with an error, and writes nothing that it should not."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.hub.server import etag

NAME = "org/tiny"
MIB = 1 << 20


@pytest.fixture
def repository(hub, model_files):
    return hub.add(NAME, model_files)


def test_a_commit_that_is_a_path_is_not_followed(hub, repository, mlxk, listing):
    before = listing()
    answer = {"id": NAME, "sha": "../../../../outside"}
    hub.answers_with(f"/{NAME}/revision/", json.dumps(answer).encode(), "application/json")
    result = mlxk("pull", NAME, "--json")
    assert (result.code, result.json["error"]["details"]["reason"]) == (1, "no_hub")
    assert listing() == before


def test_an_etag_that_is_a_path_is_not_followed(hub, repository, mlxk, listing):
    commit = repository.branches["main"]
    hub.answers_with("/resolve/.*/config.json", b"{}", etag='"../../../outside"', x_repo_commit=commit)
    result = mlxk("pull", NAME, "--json")
    assert (result.code, result.json["error"]["details"]["reason"]) == (1, "no_hub")
    assert not [name for name in listing() if "outside" in name]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_never_ends_does_not_fill_the_disk(hub, repository, mlxk, hub_cache, name):
    pattern = "GET /cdn/" if name == "model.safetensors" else f"GET .*/{name}"
    digest, commit = etag(name, repository.files()[name]), repository.branches["main"]
    hub.never_ends(pattern, bytes(MIB), etag=f'"{digest}"', x_repo_commit=commit)
    # Without a bound the file grows until `ulimit -f`, and the error is another one.
    limited = ["sh", "-c", 'ulimit -f 262144; exec "$@"', "sh", *mlxk.command("pull", NAME, "--json")]
    result = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=180)
    assert (result.returncode, json.loads(result.stdout)["error"]["details"]["reason"]) == (1, "wrong_length")
    assert not list(hub_cache.glob("models--*/blobs/*.incomplete"))
