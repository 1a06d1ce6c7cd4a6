"""Survives … requests of an unusual form, and clients that send or read in unusual ways."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time

import pytest

from mlxk_testing.tiny_models import in_hub_cache, random_model, scripted_model

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

CHAT = "/v1/chat/completions"
MEGABYTE = 1 << 20
GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
POST = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n".encode()
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def connect(server):
    return socket.create_connection(("127.0.0.1", server.client.port), timeout=180)


def status(server, data):
    """The status of the first response to `data`."""
    with connect(server) as sock:
        with contextlib.suppress(OSError):  # rejected while it is sent
            sock.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            return int(sock.recv(1 << 16).split(b" ", 2)[1])


HEADS = {
    "ten thousand headers": (GET + b"".join(b"x-%d: y\r\n" % i for i in range(10_000)) + b"\r\n", 431),
    "a header of a megabyte": (GET + b"x: " + b"y" * MEGABYTE + b"\r\n\r\n", 431),
    "a path of a megabyte": (b"GET /" + b"a" * MEGABYTE + b" HTTP/1.1\r\n\r\n", 431),
    "a query of thousands of parameters": (
        b"GET /livez?" + b"a=b&" * 2_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        200,
    ),
    "a path that is none": (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "a path of control characters": (b"GET /%00%ff%2e%2e/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "no host": (b"GET /livez HTTP/1.1\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /livez\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "an address that is none": (b"GET http://[::1/livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "a length of five thousand digits": (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
    "a length of twenty digits": (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 413),
    "a chunk of eighty bits": (CHUNKED + b"ffffffffffffffffffff\r\n", 413),
    "a chunk of negative size": (CHUNKED + b"-1\r\n\r\n", 400),
    "a chunk extension of a megabyte": (CHUNKED + b"1;" + b"a" * MEGABYTE + b"\r\n", 400),
    "300,000 trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n" + b"x: y\r\n" * 300_000 + b"\r\n", 400),
    "an unknown expectation": (POST + b"Expect: 200-ok\r\nContent-Length: 5\r\n\r\nabcde", 400),
}


def test_survives_requests_of_an_unusual_form(server, kit):
    with kit.Watch(server):
        assert {name: status(server, data) for name, (data, _) in HEADS.items()} == {
            name: expected for name, (_, expected) in HEADS.items()
        }


def test_survives_bodies_with_trailers_expectations_and_old_versions(server, kit):
    body = json.dumps(server.client.chat_body()).encode()
    length = b"Content-Length: %d\r\n" % len(body)
    with kit.Watch(server):
        assert status(server, CHUNKED + b"%x\r\n%b\r\n0\r\nx-trailer: y\r\n\r\n" % (len(body), body)) == 200
        padded, trailer = body + b" " * 200_000, b"x: y\r\n" * 20_000
        assert status(server, CHUNKED + b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(padded), padded, trailer)) == 400
        assert status(server, POST.replace(b"1.1", b"1.0") + length + b"\r\n" + body) == 200
        with connect(server) as sock:
            sock.sendall(POST + b"Expect: 100-continue\r\nConnection: close\r\n" + length + b"\r\n")
            assert b" 100 " in sock.recv(100)
            sock.sendall(body)
            assert b" 200 OK" in kit.everything(sock).split(b"\r\n", 1)[0]


def test_survives_heads_of_what_takes_work(server, kit):
    """Nothing is computed for them, and no place is taken for good."""
    with kit.Watch(server):
        for _ in range(3):
            assert server.client.request("HEAD", "/tokenizer_info?model=fake").status == 200


def test_survives_bodies_when_the_disk_for_them_is_full(launch, kit):
    server = launch(largest_file=MEGABYTE // 4)
    with kit.Watch(server):
        answer = server.client.post(CHAT, server.client.chat_body("x" * MEGABYTE))
        assert (answer.status, answer.error["code"]) == (503, "body_not_stored")


def test_survives_small_pieces_of_bodies_when_the_disk_for_them_is_full(launch, kit, tmp_path):
    """Some are in the file's own buffer when it is closed."""
    with (tmp_path / "log").open("wb") as log:
        server = launch(log=log.fileno(), largest_file=600_000)
    chunks = (b"%X\r\n%b\r\n" % (1000, b" " * 1000)) * 900 + b"0\r\n\r\n"
    with kit.Watch(server):
        for _ in range(3):
            with connect(server) as sock:
                with contextlib.suppress(OSError):  # the server stops reading
                    sock.sendall(CHUNKED + chunks)
                answer = kit.everything(sock)
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"body_not_stored" in answer
    assert server.end() == 0
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert said.count("cannot be stored") == 1


def test_survives_large_responses_when_the_disk_for_them_is_full(launch, kit):
    server = launch(largest_file=MEGABYTE // 4)
    # The request is small enough for memory, the response is not what fits into the sockets' buffers.
    body = json.dumps({"model": "fake", "prompt": "a b " * 100_000, "return_token_strs": True}).encode()
    with kit.Watch(server), socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.client.port))
        head = b"POST /tokenize HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n"
        sock.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        kit.until(lambda: server.client.status()["responses"] == 1)
        time.sleep(1)  # more is written than the sockets' buffers take
        answer = kit.everything(sock)
    head, _, content = answer.partition(b"\r\n\r\n")
    assert len(content) > 2 * MEGABYTE, len(content)
    assert len(json.loads(content)["tokens"]) == 400_000


def test_survives_a_full_disk_for_stored_responses(launch, kit, tmp_path, monkeypatch):
    in_hub_cache("tiny/talker", lambda folder: scripted_model(folder, "Hello."))
    (tmp_path / "config.toml").write_text('[responses]\nfile = "responses.db"\n')
    monkeypatch.setenv("MLXK_CONFIG", str(tmp_path / "config.toml"))
    with (tmp_path / "log").open("wb") as log:
        server = launch(model="tiny/talker", log=log.fileno(), largest_file=MEGABYTE // 8)
    request = {"model": "tiny/talker", "input": "Hi", "metadata": {str(number): "x" * 512 for number in range(16)}}
    with kit.Watch(server):
        ids = [server.client.post("/v1/responses", request).json["id"] for _ in range(20)]
        kit.until(lambda: "responses.file" in (tmp_path / "log").read_text())
        assert [server.client.get(f"/v1/responses/{id}").status for id in ids] == [200] * 20
        for id in (ids[0], ids[-1]):
            assert server.client.post("/v1/responses", {**request, "previous_response_id": id}).status == 200
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_survives_unread_streams_of_a_large_background_response(launch, kit):
    in_hub_cache("tiny/talker", lambda folder: scripted_model(folder, "Hello."))
    server = launch(model="tiny/talker")
    tool = {"type": "function", "name": "f", "description": "x" * (3 * MEGABYTE // 2), "parameters": {}}
    request = {"input": "Hi", "background": True, "tools": [tool], "tool_choice": "none"}
    made = server.client.post("/v1/responses", {"model": "tiny/talker", **request})
    many = {"model": "tiny/talker", **request, "tools": [tool, {**tool, "name": "g"}]}  # each event has all of them
    assert server.client.post("/v1/responses", many).status == 400
    path = f"/v1/responses/{made.json['id']}"
    kit.until(lambda: server.client.get(path).json["status"] == "completed")
    head = f"GET {path}?stream=true HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    before = server.memory
    with kit.Watch(server), contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connect(server)).sendall(head)
        kit.until(lambda: server.client.status()["responses"] == 40)
        assert server.memory - before < 50 * MEGABYTE
        with connect(server) as reader:
            reader.sendall(head.replace(b"Host", b"Connection: close\r\nHost"))
            assert kit.everything(reader).count(b"event: response.completed") == 1


def test_survives_responses_of_long_tokens(launch, kit):
    says = ["😀" * 16_000]
    in_hub_cache("tiny/talker", lambda folder: scripted_model(folder, "Hello."))
    in_hub_cache("tiny/long", lambda folder: scripted_model(folder, says, endless=True, context=16_384))
    server = launch(model="tiny/talker")
    question = {"model": "tiny/long", "stream": True, "temperature": 0}
    messages = [{"role": "user", "content": "Hi"}]
    before = server.memory
    with kit.Watch(server):
        cut = server.client.post("/v1/responses", {**question, "input": "Hi", "max_output_tokens": 4000}).body
        assert cut.splitlines()[-3] == b"event: response.incomplete"
        ended = server.client.post(CHAT, {**question, "messages": messages, "max_tokens": 4000}).body
        assert ended.count(b'"finish_reason":"length"') == 1
        assert ended.count(b"\n\n") < 100
    assert server.memory - before < 150 * MEGABYTE


def long_background(tokens):
    """A request of 7 MB, all but the last turn of which are dropped from the prompt."""
    old = [{"role": "user", "content": "word " * (7 * MEGABYTE // 5)}, {"role": "assistant", "content": "x"}]
    return {
        "model": "tiny/endless",
        "input": [*old, {"role": "user", "content": "go"}],
        "background": True,
        "truncation": "auto",
        "max_output_tokens": tokens,
    }


@pytest.fixture
def endless(launch):
    in_hub_cache("tiny/endless", lambda folder: scripted_model(folder, "tick ", endless=True, context=8192))
    return launch(model="tiny/endless")


def test_survives_background_responses_to_large_requests(endless, kit):
    """Those that run hold their requests, so one client has half of the bytes of stored responses for them."""
    with kit.Watch(endless):
        before, ids = endless.memory, []
        for _ in range(40):
            reply = endless.client.post("/v1/responses", long_background(8000))
            if reply.status != 200:
                break
            ids.append(reply.json["id"])
        assert (reply.status, reply.error["code"], 0 < len(ids) < 8) == (429, "queue_full", True)
        assert endless.memory - before < 250 * MEGABYTE
        for id in ids:
            endless.client.post(f"/v1/responses/{id}/cancel", {})
        assert endless.client.post("/v1/responses", long_background(2)).status == 200


def test_requests_that_continue_a_stored_response_share_it(launch, kit, tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text('[responses]\nfile = "responses.db"\n')
    monkeypatch.setenv("MLXK_CONFIG", str(tmp_path / "config.toml"))
    in_hub_cache("tiny/endless", lambda folder: scripted_model(folder, "tick ", endless=True, context=8192))
    server = launch("--concurrency", "1", model="tiny/endless")
    first = {**long_background(2), "background": False}
    id = server.client.post("/v1/responses", first).json["id"]
    body = {"model": "tiny/endless", "input": "go", "previous_response_id": id, "truncation": "auto"}
    with kit.Watch(server), contextlib.ExitStack() as stack:
        stack.enter_context(server.client.begin("/v1/responses", {**body, "max_output_tokens": 8000, "stream": True}))
        before = server.reset_peak()
        for _ in range(60):
            stack.enter_context(server.client.begin("/v1/responses", body))
        kit.until(lambda: server.client.status()["responses"] > 60)
        assert server.peak - before < 250 * MEGABYTE


def test_background_responses_that_have_ended_hold_no_request(endless, kit):
    with kit.Watch(endless):
        before = endless.memory
        for _ in range(40):
            made = endless.client.post("/v1/responses", long_background(2))
            kit.until(lambda id=made.json["id"]: endless.client.get(f"/v1/responses/{id}").json["usage"])
        kit.until(lambda: endless.memory - before < 250 * MEGABYTE)


def test_survives_pipelined_requests(server, kit):
    body = json.dumps(server.client.chat_body()).encode()
    request = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    last = request.replace(b"Host:", b"Connection: close\r\nHost:")
    with kit.Watch(server):
        with connect(server) as sock:
            sock.sendall(request * 40 + last)
            assert kit.everything(sock).count(b"HTTP/1.1 200") == 41
        with connect(server) as sock, contextlib.suppress(OSError):
            sock.settimeout(1)
            sock.sendall((GET + b"\r\n") * 50_000)  # and no response is read


def test_survives_two_hundred_clients_that_read_a_byte_now_and_then(launch, kit):
    server = launch("--queue", "400", script={"answer": "x" * 600, "step_seconds": 0.001})
    body = json.dumps(server.client.chat_body(stream=True, max_tokens=600)).encode()
    socks = []
    with kit.Watch(server):
        for _ in range(200):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", server.client.port))
            sock.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            socks.append(sock)
        for _ in range(3):
            assert all(sock.recv(1) for sock in socks)
        assert server.threads < 64
        other = server.client.chat(max_tokens=3)
        assert other.status == 200
        for sock in socks:
            sock.close()


def test_survives_eight_hundred_connections_that_send_a_byte_now_and_then(server, kit):
    before = server.descriptors
    with kit.Watch(server):
        socks = [connect(server) for _ in range(800)]
        for byte in (b"G", b"E", b"T"):
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.sendall(byte)
        assert server.client.chat().status == 200
        for sock in socks:
            sock.close()
    kit.until(lambda: server.descriptors <= before + 1)


def test_survives_loads_and_unloads_in_the_midst_of_streams(server, kit):
    answers = []

    def stream():
        for _ in range(10):
            answers.append(server.client.chat(stream=False, temperature=0).text)

    def load(action):
        for _ in range(30):
            answers.append(server.client.post(f"/v1/models/{action}", {"model": "fake"}).status)

    with kit.Watch(server):
        threads = [threading.Thread(target=stream) for _ in range(4)]
        threads += [threading.Thread(target=load, args=(action,)) for action in ("load", "unload")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {answer for answer in answers if isinstance(answer, str)} == {"Hello, world."}
    assert {answer for answer in answers if isinstance(answer, int)} <= {200, 409, 503}
    assert len(answers) == 4 * 10 + 2 * 30  # no thread ended early


ENDLESS = {
    "at once": 'start: /b+/ "bc"',
    "after a token": 'start: ("a" | "c") /b+/ /b+/',  # on the thread of the engine
    "in spite of its own options": '%llguidance {"no_forcing": false}\nstart: ("a" | "c") /b+/ /b+/',
}


@pytest.mark.parametrize("name", ENDLESS)
def test_survives_a_grammar_that_only_one_byte_can_follow_for_ever(launch, kit, name):
    server = launch_real(launch)
    with kit.Watch(server):
        answer = server.client.chat(structured_outputs={"grammar": ENDLESS[name]}, max_tokens=8)
        assert answer.status == 200
        assert set(answer.text.removeprefix("a").removeprefix("c")) == {"b"}


def test_survives_such_a_grammar_beside_tools(launch, kit):
    server = launch_real(launch)
    with kit.Watch(server):
        tools = [{"type": "function", "function": {"name": "get"}}]
        fields = {"structured_outputs": {"grammar": ENDLESS["after a token"]}, "tools": tools, "max_tokens": 8}
        assert server.client.chat(**fields).status == 200


def extreme_numbers():
    """Numbers that float32 and float16 do not have, of either sign."""
    for magnitude in ("5e-324", "1e-320", "1e-46", "1e-39", "1e-8", "1e-4", "1", "1e5", "3e38", "4e38", "1e308"):
        yield from (float(magnitude), -float(magnitude))


NUMBERS = (
    "temperature", "top_p", "min_p", "repetition_penalty", "repeat_penalty", "presence_penalty", "frequency_penalty",
    "logit_bias",
)  # fmt: skip


def test_survives_numbers_that_float32_does_not_have(launch, kit):
    server = launch_real(launch)
    refused = []
    with kit.Watch(server):
        for name in NUMBERS:
            for number in extreme_numbers():
                value = {"0": number, "5": -number} if name == "logit_bias" else number
                answer = server.client.chat(**{"temperature": 1.5, name: value}, max_tokens=3, seed=1, logprobs=True)
                if answer.status != 200:
                    assert (answer.status, answer.error["param"].partition(".")[0]) == (400, name), number
                    refused.append((name, number))
    assert ("repetition_penalty", 1e-320) in refused and ("top_p", 5e-324) not in refused


def launch_real(launch):
    in_hub_cache("tiny/random", lambda folder: random_model(folder, ends=True) and None)
    return launch(model="tiny/random")
