"""Survives … schemas that take seconds to check, dozens at once, from clients that leave."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlxk_testing.tiny_models import in_hub_cache, random_model

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

CHAT = "/v1/chat/completions"
WORKERS = 8


@pytest.fixture
def server(launch):
    in_hub_cache("tiny/random", lambda folder: random_model(folder, ends=True) and None)
    return launch(model="tiny/random")


def hostile(number):
    """A schema whose trial takes all the time there is: its patterns together have more states than memory holds."""
    patterns = [{"pattern": f"[ab]*a[ab]{{{count}}}"} for count in range(1, 31)]
    return {"title": str(number), "allOf": patterns}


def constrained(server, schema, **fields):
    format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return server.client.chat_body(response_format=format, **fields)


def trials(server):
    """The processes of trials."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == server.popen.pid and b"trial_worker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            pass  # it has ended
    return found


def seconds_of_ended(server):
    """The CPU seconds of all child processes that have ended."""
    status = Path(f"/proc/{server.popen.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(status[13]) + int(status[14])) / os.sysconf("SC_CLK_TCK")


def compared(number):
    """A schema whose thousands of alternatives are all compared with each other."""
    return {"title": str(number), "oneOf": [{"const": alternative} for alternative in range(4_000)]}


def test_survives_more_hostile_schemas_than_there_are_workers(server, kit):
    schemas = [kind(number) for number in range(2 * WORKERS) for kind in (hostile, compared)]
    socks = [server.client.begin(CHAT, constrained(server, schema)) for schema in schemas]
    kit.until(lambda: server.client.status()["responses"] >= len(socks) - 2)
    assert server.client.get("/v1/models").status == 200
    assert server.client.chat(max_tokens=3).status == 200
    assert server.client.status()["responses"] > WORKERS, "they were answered first"
    for sock in socks:
        sock.close()
    kit.until(lambda: server.client.status()["responses"] == 0)
    kit.until(lambda: len(trials(server)) <= 2)


def test_one_hostile_schema_is_tried_once(server):
    """It is sent several times at once, and later again."""
    body = constrained(server, hostile(0))
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: server.client.post(CHAT, body), range(6)))
    before = seconds_of_ended(server), trials(server)
    answers += [server.client.post(CHAT, {**body, "stream": stream}) for stream in (False, True)]
    assert {(answer.status, answer.error["code"], answer.error["param"]) for answer in answers} == {
        (400, "invalid_constraint", "response_format.json_schema.schema")
    }
    assert (seconds_of_ended(server), trials(server)) == before
    assert before[0] < 12, "a trial ends after five seconds of CPU"


def test_an_error_quotes_a_pattern_that_looks_like_a_path(server):
    pattern = "^/home/(?<=user)/files$"
    reply = server.client.post(CHAT, constrained(server, {"type": "string", "pattern": pattern}))
    assert (reply.status, reply.error["code"]) == (400, "invalid_constraint")
    assert pattern in reply.error["message"]


def test_schemas_of_tools_in_the_generic_form_are_tried_as_well(server, kit):
    """They are compiled though nothing demands a call: that was done without a trial, for minutes and in gigabytes."""
    schema = {"type": "object", "properties": {"x": {"type": "string", **hostile(100)}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    with kit.Watch(server):
        memory = server.reset_peak()
        reply = server.client.post(CHAT, server.client.chat_body(tools=tools))
        assert server.peak - memory < 200_000_000
    assert (reply.status, reply.error["code"]) == (400, "invalid_constraint")
    assert reply.error["param"] == "tools[0].function.parameters"


@pytest.mark.parametrize("levels", [300, 500, 700, 900])
def test_survives_schemas_of_many_levels(server, kit, levels):
    nested = []
    for _ in range(levels):
        nested = [nested]
    with kit.Watch(server):
        reply = server.client.post(CHAT, constrained(server, {"type": "string", "x": nested}))
    assert (reply.status, reply.error["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("links", [150, 300])
def test_survives_a_long_chain_of_references_with_a_small_stack(launch, links):
    """Threads of a process have the stack that `ulimit -s` says, or a small one where that says nothing."""
    in_hub_cache("tiny/random", lambda folder: random_model(folder, ends=True) and None)
    server = launch(model="tiny/random", stack=1 << 20)
    chain = {
        f"a{i}": {"type": "object", "properties": {"x": {"$ref": f"#/$defs/a{i + 1}"}}, "required": ["x"]}
        for i in range(links)
    }
    schema = {"$ref": "#/$defs/a0", "$defs": {**chain, f"a{links}": {"type": "integer"}}}
    answer = server.client.post(CHAT, constrained(server, schema, max_tokens=2))
    assert answer.status in (200, 400)
    assert server.client.chat(max_tokens=1).status == 200
