"""HTTP itself: what is too large, too slow, too much or ambiguous, and the shape of every refusal."""

from __future__ import annotations

import contextlib
import json
import random
import re
import resource
import socket

import pytest

CHAT = "/v1/chat/completions"


def refusal(received: bytes) -> tuple[int, dict]:
    """Status and error object of a raw answer, which must be JSON with an id of its own."""
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"application/json" in head
    assert b"x-request-id" in head.lower()
    assert b"waitress" not in received.lower()
    return int(head.split()[1]), json.loads(body)["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "unknown_url"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("DELETE", "/v1/models/fake", 405, "method_not_allowed"),
        ("FETCH", "/v1/models", 400, "bad_request"),
    ],
)
def test_an_unknown_route_or_method_is_an_error_in_json(client, method, path, status, code):
    answer = client.request(method, path)
    assert answer.status == status
    assert answer.headers["x-request-id"]
    if status == 405:
        assert answer.headers["allow"]
    if code:
        assert answer.error["code"] == code


@pytest.mark.parametrize("path", ["/health", "/livez"])
def test_a_head_request_asks_for_no_body(client, path):
    answer = client.request("HEAD", path)
    assert (answer.status, answer.body) == (200, b"")


def test_a_slash_at_the_end_changes_nothing(client):
    assert client.get("/v1/models/").json == client.get("/v1/models").json


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Content-Length: +5",
        b"Content-Length: -1",
        b"X-Fold: a\r\n  b",
        b"Authorization: Bearer a\r\nAuthorization: Bearer b",
        b"Bad Header: x",
    ],
)
def test_an_ambiguous_http_request_is_rejected(client, head):
    received = client.raw(
        b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n0\r\n\r\nabcde"
    )
    status, _ = refusal(received)
    assert status == 400


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"hello\r\n\r\n", b"GET / HTTP/3.7\r\nHost: localhost\r\n\r\n",
             b"GET /health\r\nHost: localhost\r\n\r\n", b"get /health HTTP/1.1\r\nHost: localhost\r\n\r\n"],
)  # fmt: skip
def test_garbage_is_refused_in_json(client, data):
    assert refusal(client.raw(data))[0] == 400


def test_an_unknown_transfer_encoding_is_not_implemented(client):
    head = b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n"
    assert refusal(client.raw(head))[0] == 501


def test_headers_that_are_too_large_are_refused(client):
    head = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 40_000 + b"\r\n\r\n"
    assert refusal(client.raw(head))[0] == 431


def test_a_body_that_is_too_large_is_refused_and_the_client_can_read_why(serve, engine):
    client = serve(limits={"linger_time": 60}).client
    size = 33 << 20
    announced = client.raw(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode())
    assert refusal(announced)[0] == 413
    # A client that sends all of it first would lose the answer to a reset if the server closed at once.
    answer = client.post(CHAT, b"x" * size)
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")

    def chunks():
        for _ in range(33):
            yield b"x" * (1 << 20)

    connection = client.connect()
    connection.request("POST", CHAT, chunks(), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert connection.getresponse().status == 413
    connection.close()


def test_a_chunked_body_is_read(client):
    body = json.dumps(client.chat_body()).encode()
    connection = client.connect()
    connection.request(
        "POST", CHAT, iter([body[:10], body[10:]]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
    )
    assert connection.getresponse().status == 200
    connection.close()


def test_a_body_is_asked_for_when_the_client_waits_for_that(client, kit):
    body = json.dumps(client.chat_body()).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", client.port), timeout=180) as sock:
        sock.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert b" 200 OK" in kit.everything(sock).splitlines()[0]


def test_the_log_has_the_request_id_of_a_rejected_request(client, caplog):
    with caplog.at_level("INFO"):
        received = client.raw(b"GET /health HTTP/1.1\r\nHost: evil.com\r\n\r\n")
    id = received.partition(b"X-Request-Id: ")[2].split()[0].decode()
    assert id in [record.facts["request_id"] for record in caplog.records if hasattr(record, "facts")]


def test_http_1_0_is_spoken_streams_included(client):
    body = json.dumps({**client.chat_body(), "stream": True})
    received = client.raw(
        f"POST {CHAT} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    assert received.startswith(b"HTTP/1.0 200")
    assert received.endswith(b"data: [DONE]\n\n")


def test_a_stream_ends_with_its_last_chunk_and_the_connection_takes_the_next_request(client):
    body = json.dumps({**client.chat_body(), "stream": True})
    request = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    last = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    received = client.raw((request + request + last).encode())
    assert received.count(b"data: [DONE]\n\n\r\n0\r\n\r\n") == 2
    assert received.endswith(b'{"status":"ok"}')


def test_a_client_that_sends_too_slowly_is_disconnected(serve, engine, kit):
    client = serve(limits={"header_time": 1.0, "body_time": 1.0}).client
    slow = [socket.create_connection(("127.0.0.1", client.port), timeout=180) for _ in range(20)]
    for sock in slow:
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    body = client.raw(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    assert body == b""
    assert client.get("/health").status == 200
    for sock in slow:
        assert kit.everything(sock) == b""  # closed or reset
        sock.close()


def test_an_empty_line_after_a_body_does_not_end_the_response(serve, engine, kit):
    engine.script.hang.set()
    client = serve(limits={"header_time": 1.0, "idle_time": 1.0}).client
    waiting = client.begin_chat()
    waiting.sendall(b"\r\n")
    kit.until(lambda: client.status()["active"] == 1)
    other = socket.create_connection(("127.0.0.1", client.port), timeout=180)
    other.sendall(b"\r\n")
    assert other.recv(1) == b""  # it has no answer to wait for
    engine.script.hang.clear()
    assert b"Hello, world." in kit.everything(waiting)
    for sock in (waiting, other):
        sock.close()


def test_an_idle_connection_is_closed_after_a_while(serve, engine):
    client = serve(limits={"idle_time": 0.2}).client
    with socket.create_connection(("127.0.0.1", client.port), timeout=180) as sock:
        assert sock.recv(1) == b""


def test_more_connections_than_allowed_cost_the_longest_idle_ones(serve, engine):
    client = serve(limits={"connections": 10}).client
    idle = [socket.create_connection(("127.0.0.1", client.port), timeout=180) for _ in range(30)]
    assert client.get("/health").status == 200
    assert client.chat().text == "Hello, world."
    for sock in idle:
        sock.close()


@pytest.fixture
def many_files():
    """Leave to open two thousand: some systems begin with 256, which is enough for one side of a hundred clients."""
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < 2048:
        if hard != resource.RLIM_INFINITY and hard < 2048:
            pytest.skip("this user may not open as many files")
        resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_many_idle_connections_do_not_end_the_server(many_files, client):
    # select() would, at descriptor 1024.
    sockets = [socket.create_connection(("127.0.0.1", client.port), timeout=180) for _ in range(450)]
    assert client.get("/health").status == 200
    assert client.chat().status == 200
    for sock in sockets:
        sock.close()


def test_a_stalled_reader_is_disconnected_and_delays_no_other_client(serve, engine, kit):
    # 240 kB however its pieces are put together: more than all buffers on the way hold.
    engine.script.answer = lambda prompt: "\U0001f40c" * 60_000 if "much" in prompt else "Quick."
    kit.cached_fake("wide", context=200_000)
    client = serve(limits={"stalled_time": 0.5, "unsent": 16 << 10}).client
    client.model = "wide"
    stalled = client.begin_chat("Say much.", stream=True, max_tokens=60_000)
    kit.until(lambda: engine.script.happened("add"))
    assert client.chat().text == "Quick."
    kit.until(lambda: client.metric("mlxk_disconnects_total") == 1)
    kit.until(lambda: client.status()["responses"] == 0)
    stalled.close()


def test_a_heartbeat_is_sent_before_the_first_token_and_while_idle(serve, engine, kit):
    engine.script.hang.set()
    client = serve(limits={"heartbeat": 0.1}).client
    with client.chat_stream() as events:
        assert events.status == 200
        stream = iter(events)
        assert next(stream)["choices"][0]["delta"]["role"] == "assistant"  # at once, with nothing generated yet
        kit.until(lambda: client.status()["active"] == 1)
        events.skip_blank()
        events.wait_for_comment()
        events.wait_for_comment()
        engine.script.hang.clear()
        assert list(events)[-1] == "[DONE]"


def test_an_error_before_the_prompt_is_accepted_has_a_status_of_its_own(serve, engine):
    engine.script.fail_load = RuntimeError("no luck")
    answer = serve().client.chat(stream=True)
    assert answer.status == 503
    assert answer.error["type"] == "server_error"


def test_an_error_after_the_prompt_is_accepted_is_an_event_without_done(serve, engine, kit):
    engine.script.hang.set()
    client = serve(limits={"heartbeat": 0.05}).client
    with client.chat_stream() as events:
        assert events.status == 200
        engine.script.fail_step = RuntimeError("a secret of /somebody/else")
        engine.script.hang.clear()
        first, last = events
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert last["error"]["type"] == "server_error"
    assert "/somebody" not in last["error"]["message"]


def test_pipelined_requests_are_answered_in_order(client):
    one = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    received = client.raw(one + one + last)
    assert [int(part.split()[0]) for part in received.split(b"HTTP/1.1 ")[1:]] == [200, 200, 404]


@pytest.mark.parametrize("seed", range(5))
def test_pipelined_requests_in_any_pieces_are_answered_in_order(client, kit, seed):
    """Bodies with a length, in chunks, and after `Expect`, cut where no client would cut them."""
    chance = random.Random(seed)
    data = b"".join(_request(client, chance, number) for number in range(12))
    data += b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: last\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", client.port), timeout=180) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data:
            length = chance.choice([1, 7, 100, 1000, 4096, 4097, 16384, 60000])
            sock.sendall(data[:length])
            data = data[length:]
        received = kit.everything(sock)
    assert set(re.findall(rb"HTTP/1.1 (\d+)", received)) <= {b"100", b"200"}
    expected = [*(f"r{number}".encode() for number in range(12)), b"last"]
    assert re.findall(rb"x-request-id: (\w+)", received.lower()) == expected


def _request(client, chance, number):
    id = f"X-Request-Id: r{number}\r\n".encode()
    kind = chance.choice(["get", "length", "chunks"])
    if kind == "get":
        return b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + id + b"\r\n"
    body = json.dumps(client.chat_body(max_tokens=3)).encode() + b" " * chance.choice([0, 5000, 20000])
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode() + id
    if chance.random() < 0.3:
        head += b"Expect: 100-continue\r\n"
    if kind == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    size = chance.choice([300, 1000, 9000])
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    sent = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + sent + b"0\r\n\r\n"


def test_large_bodies_share_a_number_of_bytes_and_small_ones_need_none(serve, engine, kit):
    client = serve(limits={"bodies": 1 << 20, "free_body": 1 << 10}).client
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    large = client.chat_body("x" * (600 << 10))

    with contextlib.ExitStack() as stack:

        def rejected_beside_another():
            """The response to a large body while another is held; None if that one was rejected instead."""
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", client.port), timeout=180))
            sock.sendall(head + b"Content-Length: 2000000\r\n\r\n" + b" " * (600 << 10))
            first, second = client.post(CHAT, large), client.post(CHAT, large)
            if first.status == second.status == 503:
                return second
            stack.close()
            return None

        rejected = kit.until(rejected_beside_another)
        assert rejected.error["code"] == "too_many_bodies"
        assert rejected.headers["retry-after"]
        chunks = b"".join(b"10000\r\n" + b" " * (64 << 10) + b"\r\n" for _ in range(10))
        with socket.create_connection(("127.0.0.1", client.port), timeout=180) as chunked:
            chunked.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
            assert chunked.recv(100).startswith(b"HTTP/1.1 503")
        assert client.chat().status == 200
    kit.until(lambda: client.post(CHAT, large).status != 503)


@pytest.mark.parametrize(
    ("words", "files", "status"), [(400_000, 1 << 20, 499), (400_000, 16 << 20, 200), (150_000, 1 << 16, 499)]
)
def test_large_responses_of_slow_readers_share_a_number_of_bytes_in_files(serve, engine, kit, words, files, status):
    client = serve(limits={"unsent_bodies": 1 << 16, "unsent_files": files}).client
    with contextlib.closing(client.begin("/detokenize", {"model": "fake", "tokens": [1] * words})) as sock:
        kit.until(lambda: client.metric(f'mlxk_requests_total{{route="/detokenize",status="{status}"}}') == 1)
        head, _, body = kit.everything(sock).partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    assert length > 5 * words
    assert (len(body) == length) == (status == 200)
    assert client.chat().status == 200
