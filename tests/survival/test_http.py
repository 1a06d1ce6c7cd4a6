"""Survives … what comes over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import resource
import signal
import socket
import string
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

CHAT = "/v1/chat/completions"
MEGABYTE = 1 << 20


def connect(server):
    return socket.create_connection(("127.0.0.1", server.client.port), timeout=180)


@pytest.mark.parametrize("item", ["[]", "{}", '""', '{"a":[1]}'])
def test_survives_a_large_body_of_nothing(server, kit, item):
    body = _with_nothing(server, "unheard_of", item, 7 * MEGABYTE // len(item))
    with kit.Watch(server):
        before = server.memory
        assert server.client.post(CHAT, body).status == 413
        assert server.memory - before < 100 * MEGABYTE


@pytest.mark.parametrize("field", ["unheard_of", "store", "tools", "response_format", "logit_bias"])
def test_survives_a_hundred_thousand_lists(server, kit, field):
    """Not too many to be read: what the request needs not is skipped."""
    body = _with_nothing(server, field, "[]", 100_000)
    with kit.Watch(server):
        before = server.memory
        assert server.client.post(CHAT, body).status == (200 if field in ("unheard_of", "store") else 400)
        assert server.memory - before < 100 * MEGABYTE


def _with_nothing(server, field, item, count):
    nothing = ",".join([item] * count)
    return (json.dumps(server.client.chat_body())[:-1] + f', "{field}": [{nothing}]}}').encode()


def test_survives_a_body_that_is_too_large(server, kit):
    with kit.Watch(server):
        assert server.client.post(CHAT, b"x" * (9 * MEGABYTE)).status == 413


def test_survives_chunks_of_one_byte(server, kit):
    with kit.Watch(server), connect(server) as sock:
        sock.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        with contextlib.suppress(OSError):  # the server stops reading
            for _ in range(64):
                sock.sendall(b"1\r\nx\r\n" * 16384)
        assert b" 400 " in kit.everything(sock).split(b"\r\n", 1)[0]


def test_survives_megabytes_of_blank_lines(server, kit):
    with kit.Watch(server), connect(server) as sock:
        for _ in range(8):
            sock.sendall(b"\r\n" * (MEGABYTE // 2))
        sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b" 200 OK" in kit.everything(sock).split(b"\r\n", 1)[0]


@pytest.mark.parametrize(
    ("request_line", "header", "status"),
    [
        (b"GET /livez HTTP/1.1", b"Host:" + b" " * 30_000 + b"localhost", b" 200 "),
        (b"GET /livez HTTP/1.1", b"Host: localhost\r\nA:" + b"\t" * 30_000 + b"b", b" 200 "),
        (b"GET /livez HTTP/1.1", b"Host: localhost\r\nA:" + b"\r\n \t" * 7_000 + b"b", b" 431 "),
        (b"GET a://" + b"1" * 30_000 + b" X", b"Host: localhost", b" 400 "),
    ],
)
def test_survives_long_lines_of_a_header(server, kit, request_line, header, status):
    """waitress' expressions would take minutes."""
    with kit.Watch(server), connect(server) as sock:
        sock.sendall(request_line + b"\r\n" + header + b"\r\nConnection: close\r\n\r\n")
        assert status in kit.everything(sock).split(b"\r\n", 1)[0]


def test_survives_stop_strings_of_megabytes(server, kit):
    with kit.Watch(server):
        assert server.client.chat(stop=["x" * (MEGABYTE // 4)] * 16).error["param"].startswith("stop")


def test_survives_the_longest_stop_strings_of_many_requests(launch, kit):
    server = launch(script={"hang": True})
    stop = ["".join(random.choices(string.ascii_letters, k=4096)) for _ in range(16)]
    before = server.memory
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(contextlib.closing(server.client.begin_chat(stop=stop)))
        kit.until(lambda: server.client.status()["responses"] == 60)
        assert server.memory - before < 100 * MEGABYTE
        assert server.client.get("/health").status == 200


@pytest.mark.parametrize("n", [1, 4])
def test_survives_a_prompt_of_megabytes(server, kit, n):
    with kit.Watch(server):
        before = server.memory
        answer = server.client.chat("word " * (4 * MEGABYTE // 5), n=n)
        assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
        kit.until(lambda: server.memory - before < 200 * MEGABYTE)


def test_survives_nesting_without_end(server, kit):
    with kit.Watch(server):
        for item in (b"[", b'{"a":', b'{"messages":[', b'{"a":"'):
            for count, code in ((7000, "invalid_json"), (MEGABYTE, "body_too_large")):
                answer = server.client.post(CHAT, item * count)
                assert (answer.status, answer.error["code"]) == (400 if count == 7000 else 413, code)


def test_survives_running_out_of_file_descriptors(launch, kit):
    server = launch(files=64)
    idle = []
    with kit.Watch(server):
        pass
    for _ in range(120):
        sock = socket.socket()
        sock.settimeout(5)
        with contextlib.suppress(OSError):
            sock.connect(("127.0.0.1", server.client.port))
        idle.append(sock)
    busy = _cpu_seconds(server)
    time.sleep(2)
    assert _cpu_seconds(server) - busy < 1.0
    for sock in idle:
        sock.close()
    kit.until(lambda: server.client.get("/health").status == 200)
    with kit.Watch(server):
        pass


def test_says_once_that_descriptors_ran_out(launch, kit, tmp_path):
    with (tmp_path / "log").open("wb") as log:
        server = launch(log=log.fileno())

    def lines():
        return (tmp_path / "log").read_text().count("cannot accept connections")

    def run_out():
        with _no_descriptors(server), connect(server) as sock:
            sock.sendall(LIVE)
            time.sleep(1)
        assert server.client.get("/health").status == 200
        return lines()

    kit.until(lambda: run_out() > 0)
    said = lines()
    kit.until(lambda: run_out() == said)


@contextlib.contextmanager
def _no_descriptors(server):
    used = {int(file.name) for file in Path(f"/proc/{server.popen.pid}/fd").iterdir()}
    lowest = next(number for number in range(len(used) + 1) if number not in used)
    limits = resource.prlimit(server.popen.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.popen.pid, resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(server.popen.pid, resource.RLIMIT_NOFILE, limits)


def test_survives_a_look_at_models_without_descriptors(launch, kit):
    kit.cached_fake("org/name")
    server = launch()
    with contextlib.closing(server.client.connect()) as connection:

        def listed():
            connection.request("GET", "/v1/models")
            response = connection.getresponse()
            return response.status, json.loads(response.read())

        connection.request("GET", "/livez")
        connection.getresponse().read()
        with _no_descriptors(server):
            status, body = listed()
        assert (status, body["error"]["code"]) == (503, "system_limit")
        status, body = listed()
        assert (status, [model["id"] for model in body["data"]]) == (200, ["fake", "org/name"])


def test_survives_first_requests_without_free_threads(launch, kit):
    client = (server := launch()).client
    with kit.no_threads(server):
        for _ in range(3):
            answer = client.chat()
            assert (answer.status, answer.error["code"]) == (503, "system_limit")
    assert client.chat().text == "Hello, world."
    with kit.no_threads(server):
        assert client.post("/tokenize", {"model": "fake", "prompt": "Hi"}).status == 200
        assert client.chat().text == "Hello, world."


def test_the_memory_of_a_large_request_is_given_back_later_without_free_threads(launch, kit):
    server = launch(script={"answer": "word " * 40, "step_seconds": 0.1})
    body = {**server.client.chat_body(stream=True), "user": "x" * (2 << 20)}
    connection = http.client.HTTPConnection("127.0.0.1", server.client.port, timeout=180)
    with contextlib.closing(connection):
        connection.request("POST", CHAT, json.dumps(body))
        response = connection.getresponse()
        assert response.read(1)
        with kit.no_threads(server):
            assert response.read().endswith(b"data: [DONE]\n\n")
            connection.request("GET", "/livez")
            assert connection.getresponse().status == 200


LIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF_A_BODY = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{{".encode()


@pytest.mark.parametrize("sent", [b"", LIVE[:20], LIVE, HALF_A_BODY], ids=["nothing", "header", "request", "body"])
def test_survives_more_connections_than_there_are_places(launch, kit, sent):
    client = (server := launch(files=512)).client
    limit = client.metric("mlxk_connections_limit")
    with kit.Watch(server):
        with contextlib.ExitStack() as stack:
            _fill(server, stack, sent)
            kit.until(lambda: client.get("/v1/models").status == 200)
            if sent != LIVE:  # of probes that come quickly the server keeps no connection
                kit.until(lambda: client.metric("mlxk_connections_closed_for_room_total") > 0)
            kit.until(lambda: 0 < client.metric("mlxk_connections") <= limit)
        kit.until(lambda: client.get("/v1/models").status == 200)
    kit.until(lambda: 0 < client.metric("mlxk_connections") <= 1)


def test_survives_more_pipelines_than_there_are_places(launch, kit):
    client = (server := launch(files=512)).client
    with kit.Watch(server):
        with contextlib.ExitStack() as stack:
            _fill(server, stack, LIVE * 20)
        kit.until(lambda: client.get("/v1/models").status == 200)
    kit.until(lambda: 0 < client.metric("mlxk_connections") <= 1)


def _fill(server, stack, sent):
    for _ in range(int(server.client.metric("mlxk_connections_limit")) + 100):
        sock = stack.enter_context(connect(server))
        with contextlib.suppress(OSError):  # closed for another one
            sock.sendall(sent)


def test_survives_a_log_that_is_not_read(launch, kit):
    reads, writes = os.pipe()
    try:
        server = launch("--log-level", "debug", log=writes)
        with kit.Watch(server):
            for _ in range(60):
                server.client.get("/" + "x" * 20_000)
        assert server.client.metric("mlxk_log_lines_dropped_total") >= 0
        assert server.end() == 0
    finally:
        os.close(reads)
        os.close(writes)


def test_log_lines_that_wait_are_bounded_by_their_bytes(launch, kit):
    reads, writes = os.pipe()
    try:
        server = launch(log=writes)
        request = b"GET /" + b"\x01" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n"
        with kit.Watch(server):
            before = server.memory
            for _ in range(8):
                with socket.create_connection(("127.0.0.1", server.client.port), timeout=180) as sock:
                    sock.sendall((request + b"\r\n") * 99 + request + b"Connection: close\r\n\r\n")
                    assert kit.everything(sock).count(b"HTTP/1.1 404 ") == 100
            assert server.memory - before < 60_000_000
        assert server.client.metric("mlxk_log_lines_dropped_total") > 100
        assert server.end() == 0
    finally:
        os.close(reads)
        os.close(writes)


def test_survives_a_full_log_disk(launch, kit):
    with Path("/dev/full").open("wb") as full:
        server = launch(log=full.fileno())
        with kit.Watch(server):
            for _ in range(20):
                server.client.get("/nowhere")
        kit.until(lambda: server.client.metric("mlxk_log_lines_dropped_total") > 10)
        assert server.end() == 0


def test_survives_a_client_that_floods(launch, kit, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("first-key\nsecond-key\n")
    script = {"answer": "x" * 10_000, "step_seconds": 0.1}  # no row ends by itself
    server = launch("--queue", "20", "--api-key-file", str(keys), script=script)
    first, second = (type(server.client)(server.client.port, {"x-api-key": key}) for key in ("first-key", "second-key"))
    flood = [first.begin_chat(f"{i}", stream=True, max_tokens=4000) for i in range(60)]
    kit.until(lambda: (status := first.status())["active"] == 32 and status["waiting"] == 20)
    assert first.chat().status == 429
    for _ in range(3):
        assert second.chat(max_tokens=3).status == 200
    assert first.metric("mlxk_requests_running") == first.metric("mlxk_requests_running_limit") == 32
    assert first.metric("mlxk_requests_running_reserve") == 8
    for sock in flood:
        sock.close()


def test_survives_two_hundred_streams_and_answers_them_all_at_once(launch, kit):
    server = launch(script={"answer": "x" * 10_000, "step_seconds": 0.2})
    socks = [server.client.begin_chat(f"{i}", stream=True) for i in range(200)]
    for sock in socks:
        assert b" 200 OK" in sock.recv(100)
    kit.until(lambda: (status := server.client.status())["active"] == 32 and status["waiting"] == 168)
    assert server.threads < 64
    for _ in range(20):
        assert server.client.get("/health").status == 200
    for sock in socks:
        sock.close()
    kit.until(lambda: server.client.status()["responses"] == 0)


def test_survives_damaged_models_in_the_cache(server, kit):
    for i in range(30):
        folder = kit.cached_fake(f"damaged/{i}").path
        (folder / "config.json").unlink()
        (folder / "config.json").write_text("{")
    with kit.Watch(server):
        for _ in range(5):
            listed = [item["id"] for item in server.client.get("/v1/models").json["data"]]
            assert listed == ["fake"]
        assert server.client.chat(model="damaged/3").status in (400, 500)


def test_survives_two_servers_in_turn_on_one_unix_socket(launch, tmp_path):
    path = tmp_path / "s"
    first = launch("--unix", str(path))
    path.unlink()  # or a second server would be refused
    second = launch("--unix", str(path))
    assert first.end() == 0
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
    assert second.end() == 0
    assert not path.exists()


def test_survives_being_suspended(server, kit):
    server.popen.send_signal(signal.SIGSTOP)
    time.sleep(1)
    server.popen.send_signal(signal.SIGCONT)
    with kit.Watch(server):
        pass


def test_leaves_no_descriptor_and_no_thread_behind(server, kit):
    with kit.Watch(server):
        before = server.descriptors
        for i in range(60):
            sock = server.client.begin_chat(f"{i}", stream=True)
            if i % 3:
                sock.recv(10)
            sock.close()
    kit.until(lambda: server.descriptors <= before + 1)


def _cpu_seconds(server) -> float:
    fields = Path(f"/proc/{server.popen.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
