"""`/metrics` and `/v1/status`."""

from __future__ import annotations

import re

SAMPLE = re.compile(r'([a-z_]+)(\{[a-z_]+="(?:[^"\\]|\\.)*"(?:,[a-z_]+="(?:[^"\\]|\\.)*")*\})? (\+?[0-9.e+-]+|\+Inf)')


def test_every_line_is_one_that_prometheus_reads(client):
    client.chat()
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    kinds, helps = {}, set()
    for line in answer.body.decode().splitlines():
        if line.startswith("# HELP "):
            helps.add(line.split()[2])
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            kinds[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            base = re.sub("_(bucket|sum|count)$", "", match[1]) if match[1] not in kinds else match[1]
            assert base in kinds, line
    assert set(kinds) == helps
    assert set(kinds.values()) == {"counter", "gauge", "histogram"}
    assert all(name.endswith("_total") for name, kind in kinds.items() if kind == "counter")


def test_counts_follow_what_happens(client, kit):
    usage = client.chat().json["usage"]
    client.streamed()
    client.chat(temperature=9)
    client.get("/nowhere")
    client.get("/health", host="evil.com")
    route = 'route="/v1/chat/completions"'
    # A request is counted after the last byte of its response.
    kit.until(lambda: client.metric(f'mlxk_requests_total{{{route},status="200"}}') == 2)
    kit.until(lambda: client.metric(f'mlxk_requests_total{{{route},status="400"}}') == 1)
    kit.until(lambda: client.metric('mlxk_requests_total{route="unknown",status="404"}') == 1)
    kit.until(lambda: client.metric('mlxk_requests_total{route="rejected",status="403"}') == 1)
    assert client.metric("mlxk_completion_tokens_total") == 2 * usage["completion_tokens"]
    assert client.metric("mlxk_prompt_tokens_total") == 2 * usage["prompt_tokens"]
    assert client.metric("mlxk_time_to_first_token_seconds_count") == 2
    assert client.metric("mlxk_tokens_per_second_count") == 2
    assert client.metric("mlxk_loads_total") == 1
    held = f'mlxk_model_memory_bytes{{backend="fake",model="fake",revision="{_revision(client)}"}}'
    assert client.metric(held) == 1000


def _revision(client):
    return client.status()["models"][0]["revision"]


def test_status_says_what_is_loaded_and_what_may_be(client):
    client.chat()
    status = client.status()
    assert [model["name"] for model in status["models"]] == ["fake"]
    assert (status["concurrency"], status["queue"]) == (8, 16)
    assert status["active"] == status["waiting"] == 0
    assert status["uptime_seconds"] >= 0
    assert "/" not in str(status["models"][0]["name"])
