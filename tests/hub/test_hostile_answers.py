"""Answers that no hub should give: an error, in bounded memory."""

from __future__ import annotations

import json
import zlib

import pytest

from mlxk_core._errors import HubUnavailable
from mlxk_hub.client import HubClient
from tests.hub.server import git_sha1

NAME, COMMIT = "org/tiny", "a" * 40
MIB = 1 << 20


@pytest.fixture
def reason(hub):
    """`reason(lambda client: client.commit(NAME))`: why the call fails."""
    hub.add(NAME, {"config.json": b"{}"})
    client = HubClient()
    client.endpoint = hub.url

    def call(function):
        with pytest.raises(HubUnavailable) as caught:
            function(client)
        return caught.value.details["reason"]

    return call


def entry(path: str) -> dict[str, object]:
    return {"type": "file", "path": path, "size": 1, "oid": git_sha1(path.encode())}


@pytest.mark.parametrize("commit", ["../../../outside", "a" * 39 + "/", "a" * 5000, "", None])
def test_a_commit_that_cannot_be_one(hub, reason, commit):
    hub.answers_with("/revision/", json.dumps({"id": NAME, "sha": commit}).encode(), "application/json")
    assert reason(lambda client: client.commit(NAME)) == "no_hub"


def test_an_answer_that_never_ends(hub, reason):
    hub.never_ends("/tree/", b" " * MIB, content_type="application/json")
    assert reason(lambda client: client.files(NAME, COMMIT)) == "no_hub"


def test_an_answer_that_decompresses_to_too_much(hub, reason):
    packer = zlib.compressobj(wbits=31)
    hub.answers_with("/revision/", packer.compress(bytes(64 * MIB)) + packer.flush(), content_encoding="gzip")
    assert reason(lambda client: client.commit(NAME)) == "no_hub"


def test_an_error_that_never_ends(hub, reason):
    hub.never_ends("/revision/", bytes(MIB), status=500)
    assert reason(lambda client: client.commit(NAME)) == "server_error"


@pytest.mark.parametrize(
    "body", [b"\0" * 7, b"\xff\xfe\0", '{"error": "Ä'.encode()[:-1]], ids=["nuls", "utf-16", "cut"]
)
def test_an_error_that_is_no_text(hub, reason, body):
    hub.answers_with("/revision/", body, status=500, retry_after="0")
    assert reason(lambda client: client.commit(NAME)) == "server_error"


def test_an_answer_that_is_too_deep(hub, reason):
    hub.answers_with("/revision/", b"[" * (2 * MIB))
    assert reason(lambda client: client.commit(NAME)) == "no_hub"


def test_headers_of_any_bytes_change_nothing(hub):
    client = HubClient()
    client.endpoint = hub.url
    hub.add(NAME, {"config.json": b"{}"})
    body = json.dumps({"id": NAME, "sha": COMMIT}).encode()
    hub.answers_with("/revision/", body, "application/json", x_motd="caf\xe9")
    assert client.commit(NAME) == (NAME, COMMIT)


@pytest.mark.parametrize(
    "header",
    [
        {"retry_after": "\xb2"},
        {"retry_after": "Mon, 01 Jan 2024 00:00:00 +99999999999999999"},
        {"RateLimit": '"api";r=0;t=\xb2'},
    ],
    ids=["after", "zone", "limit"],
)
def test_a_time_to_wait_that_is_no_number(hub, reason, header):
    hub.answers_with("/revision/", b"", status=429, **header)
    assert reason(lambda client: client.commit(NAME)) == "rate_limit"


@pytest.mark.parametrize("fault", [{"size": True}, {"path": "\ud800.json"}], ids=["size", "name"])
def test_a_file_that_cannot_be_one(hub, reason, fault):
    hub.answers_with("/tree/", json.dumps([entry("a") | fault]).encode())
    assert reason(lambda client: client.files(NAME, COMMIT)) == "no_hub"


def test_a_list_of_files_that_refers_to_itself(hub, reason):
    hub.answers_with("/tree/", json.dumps([entry("a")]).encode(), link=f'<{hub.url}/tree/>; rel="next"')
    assert reason(lambda client: client.files(NAME, COMMIT)) == "too_many_files"


def test_too_many_files(hub, reason):
    hub.answers_with("/tree/", json.dumps([entry("a")] * 100_001).encode())
    assert reason(lambda client: client.files(NAME, COMMIT)) == "too_many_files"
