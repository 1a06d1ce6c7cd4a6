"""Clients that leave: wherever their request is, its place is free within a step."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from pathlib import Path

import pytest

RESET = b"\1\0\0\0\0\0\0\0"


def leave(sock: socket.socket, how: str) -> None:
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def gone(client, kit) -> None:
    """Waits until nothing is under way any more."""

    def idle():
        status = client.status()
        return status["responses"] == status["active"] == status["waiting"] == 0

    kit.until(idle)


@pytest.fixture(params=["politely", "reset"])
def how(request):
    return request.param


@pytest.mark.parametrize("stream", [True, False])
def test_a_disconnect_cancels_a_running_response(client, engine, kit, how, stream):
    engine.script.answer = lambda prompt: "x" * 4000
    engine.script.step_seconds = 0.02
    sock = client.begin_chat(stream=stream)
    kit.until(lambda: client.status()["counters"]["generated_tokens"] > 3)
    leave(sock, how)
    gone(client, kit)
    assert len(engine.script.happened("remove")) == 1
    kit.until(lambda: client.metric("mlxk_disconnects_total") == 1)  # told when its place is free already
    assert client.status()["counters"]["generated_tokens"] < 2000


def test_a_disconnect_is_noticed_while_another_request_waits_on_the_connection(client, engine, kit, how):
    engine.script.answer = lambda prompt: "x" * 4000
    engine.script.step_seconds = 0.02
    sock = client.begin("/v1/chat/completions", client.chat_body(), connection="keep-alive")
    sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    kit.until(lambda: client.status()["counters"]["generated_tokens"] > 3)
    leave(sock, how)
    gone(client, kit)
    assert len(engine.script.happened("remove")) == 1


@pytest.mark.parametrize("stream", [True, False])
def test_a_disconnect_while_the_prompt_is_read_cancels_the_request(client, engine, kit, how, stream):
    engine.script.prefill_chunk = 1
    engine.script.step_seconds = 0.02
    sock = client.begin_chat("x" * 1000, stream=stream)
    kit.until(lambda: client.status()["counters"]["steps"] > 2)
    leave(sock, how)
    gone(client, kit)
    assert client.status()["counters"]["generated_tokens"] == 0
    kit.until(lambda: client.metric("mlxk_disconnects_total") == 1)  # told when its place is free already


@pytest.mark.parametrize("stream", [True, False])
def test_a_disconnect_frees_the_place_in_the_queue(serve, engine, kit, how, stream):
    engine.script.answer = lambda prompt: "x" * 4000
    engine.script.step_seconds = 0.02
    client = serve(concurrency=1).client
    first = client.begin_chat("first", stream=True)
    kit.until(lambda: client.status()["active"] == 1)
    second = client.begin_chat("second", stream=stream)
    kit.until(lambda: client.status()["waiting"] == 1)
    leave(second, how)
    kit.until(lambda: client.status()["waiting"] == 0)
    assert client.status()["active"] == 1
    assert len(engine.script.happened("add")) == 1
    leave(first, how)
    gone(client, kit)


def test_leaving_while_the_model_is_loaded_ends_the_load(client, engine, kit, how):
    engine.script.hold_load.set()
    sock = client.begin_chat()
    kit.until(lambda: client.status()["loading"] == "fake")
    leave(sock, how)
    kit.until(lambda: client.status()["loading"] is None)
    assert engine.script.happened("load") == []
    engine.script.hold_load.clear()
    assert client.chat().text == "Hello, world."


def test_leaving_takes_all_choices_along(client, engine, kit, how):
    engine.script.answer = lambda prompt: "x" * 4000
    engine.script.step_seconds = 0.02
    sock = client.begin_chat(stream=True, n=4)
    kit.until(lambda: client.status()["active"] == 4)
    leave(sock, how)
    gone(client, kit)
    assert len(engine.script.happened("remove")) == 4


def test_the_others_go_on(client, engine, kit, how):
    engine.script.answer = lambda prompt: "x" * 60 if "stay" in prompt else "y" * 4000
    engine.script.step_seconds = 0.005
    leaver = client.begin_chat("leave", stream=True)
    with client.chat_stream("stay") as events:
        next(iter(events))
        leave(leaver, how)
        rest = list(events)
    assert rest[-1] == "[DONE]"
    assert sum(len(e["choices"][0]["delta"].get("content", "")) for e in rest[:-1]) == 60


def test_many_aborted_streams_release_everything(serve, engine, kit):
    engine.script.answer = lambda prompt: "word " * 6
    client = serve(concurrency=16).client
    client.chat()
    gone(client, kit)
    before = _descriptors(), threading.active_count()
    dice = random.Random(7)
    plans = [(dice.random(), dice.randrange(1, 2000)) for _ in range(240)]
    failures: list[object] = []

    def visit(mine) -> None:
        for rudeness, some in mine:
            sock = client.begin_chat(stream=rudeness < 0.8, n=1 if some % 9 else 2)
            with contextlib.closing(sock):
                if rudeness < 0.4:
                    with contextlib.suppress(OSError):
                        sock.recv(1 + some)
                    leave(sock, "reset" if some % 2 else "politely")
                elif not _whole(kit.everything(sock) if rudeness < 0.8 else _read_one(sock)):
                    failures.append((rudeness, some))

    visitors = [threading.Thread(target=visit, args=(plans[i::8],)) for i in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    gone(client, kit)
    assert failures == []
    kit.until(lambda: _descriptors() <= before[0] and threading.active_count() <= before[1])
    assert client.status()["counters"]["engine_failures"] == 0
    assert client.chat().text.startswith("word")


def _whole(received: bytes) -> bool:
    return b"[DONE]" in received or b'"finish_reason":"stop"' in received


def _read_one(sock: socket.socket) -> bytes:
    received = b""
    while b"usage" not in received:
        data = sock.recv(65536)
        if not data:
            break
        received += data
    return received


def _descriptors() -> int:
    listed = Path("/proc/self/fd") if Path("/proc/self/fd").exists() else Path("/dev/fd")
    return sum(1 for _ in listed.iterdir())
