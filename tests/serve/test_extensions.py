"""Server extensions: what a plugin adds to a running server, and what happens when it fails."""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import falcon
import pytest

from mlxk_core.api import ServerExtensionSpec, hookimpl
from mlxk_core.api.errors import InvalidOption, PluginFailure
from mlxk_core.api.generation import Delta, Finished, GenerationRequest, Message
from mlxk_core.api.host import Host
from mlxk_core.api.server import NDJSON, ApiError, Operation


class Hello:
    def __init__(self, greeted):
        self.greeted = greeted

    def on_get(self, req, resp, name):
        self.greeted.add()
        resp.media = {"hello": name}

    def on_post(self, req, resp, name):
        raise falcon.HTTPUnprocessableEntity(title="Not so.")


class Stamp:
    def process_response(self, req, resp, resource, req_succeeded):
        resp.set_header("x-stamp", "hello")


def good(server):
    greeted = server.metrics.counter("hello_greeted_total", "Greetings given.")
    server.add_route("/hello/{name}", Hello(greeted))
    server.add_middleware(Stamp())


def taken(server):
    server.metrics.counter("half_done_total", "Never seen.")
    server.add_route("/half/done", Hello(None))
    server.add_route("/v1/models/{something}", Hello(None))


def raising(server):
    server.add_middleware(Stamp())
    raise RuntimeError("not today")


def exiting(server):
    raise SystemExit("bye")


class BadMiddleware:
    def process_response(self, req, resp, resource, req_succeeded):
        raise RuntimeError("in the middle")


def bad_middleware(server):
    server.add_middleware(BadMiddleware())


class HopByHop:
    """Sets a header that is the server's alone; waitress refuses the answer for it."""

    def process_response(self, req, resp, resource, req_succeeded):
        if req.method == "POST":
            resp.set_header("connection", "close")


def hop_by_hop(server):
    server.add_middleware(HopByHop())


# --8<-- [start:protocol]
class Lines:
    """A protocol of one JSON document a line."""

    content_type = NDJSON
    heartbeat = b""

    def piece(self, index, event):
        match event:
            case Delta(text=text):
                return json.dumps({"text": text}).encode() + b"\n"
            case Finished(reason=reason):
                return json.dumps({"done": reason}).encode() + b"\n"
        return b""

    def end(self):
        return b""

    def whole(self, completions):
        return json.dumps({"text": completions[0].content}).encode()

    def error(self, error):
        return json.dumps({"failed": error.code}).encode() + b"\n"


class Tell:
    def __init__(self, server):
        self._server = server

    def on_post(self, req, resp):
        body = json.loads(req.bounded_stream.read())
        model = self._server.models.get(body["model"])
        request = GenerationRequest(model=model, prompt=[Message(role="user", content=body["say"])])
        self._server.respond(req, resp, [request], Lines(), stream=body.get("stream", False))


def tell(server):
    errors = lambda error: json.dumps({"failed": error.code, "status": error.status}).encode()  # noqa: E731
    server.add_route("/tell", Tell(server), errors=errors)


# --8<-- [end:protocol]


class Static:
    def on_get(self, req, resp, name="index"):
        resp.text = name


def page(server):
    server.add_route("/page", Static(), authenticated=False)
    server.add_route("/page/{name}", Static(), authenticated=False)


def bad_component(server):
    server.add_route("/half/done", Hello(None))
    server.add_middleware(object())


def extension(function, name=None):
    """A plugin with one server extension."""
    name = name or function.__name__

    @hookimpl
    def mlxk_server_extensions():
        yield ServerExtensionSpec(name=name, summary="For the test.", target=function)

    return SimpleNamespace(mlxk_server_extensions=mlxk_server_extensions)


@pytest.fixture
def extend(host):
    """`extend(function)`: a plugin of the fixture `host` brings that extension."""
    return lambda function: host.register(extension(function), name=function.__name__)


def test_a_plugin_adds_a_route_middleware_and_a_metric(serve, engine, extend):
    extend(good)
    serving = serve()
    client = serving.client
    answer = client.get("/hello/you")
    assert (answer.json, answer.headers["x-stamp"]) == ({"hello": "you"}, "hello")
    assert client.metric("hello_greeted_total") == 1
    assert client.post("/hello/you", {}).error["message"] == "Not so."
    assert client.chat().headers["x-stamp"] == "hello"
    assert serving.server.info["extensions"] == [
        {"name": "good", "routes": ("/hello/{name}",), "middleware": ("Stamp",)}
    ]


def test_the_guard_protects_a_plugins_route_too(serve, engine, extend):
    extend(good)
    client = serve(keys=("correct-horse",)).client
    assert client.get("/hello/you").status == 401
    assert client.get("/hello/you", host="evil.com", x_api_key="correct-horse").status == 403
    assert client.get("/hello/you", x_api_key="correct-horse").status == 200


def test_a_route_without_key_is_open_and_no_other_is(serve, engine, extend):
    extend(page)
    client = serve(keys=("correct-horse",)).client
    assert client.get("/page").body == b"index"
    assert client.get("/page/about").body == b"about"
    assert client.get("/page", host="evil.com").status == 403
    assert {client.get(path).status for path in ("/v1/models", "/page/a/b", "/pages", "/page/../v1/models")} == {401}


def test_a_protocol_of_a_plugin_answers_whole_streamed_and_with_its_own_errors(serve, engine, extend, kit):
    extend(tell)
    client = serve().client
    assert client.post("/tell", {"model": "fake", "say": "Hi"}).json == {"text": "Hello, world."}
    streamed = client.post("/tell", {"model": "fake", "say": "Hi", "stream": True})
    lines = [json.loads(line) for line in streamed.body.splitlines()]
    assert streamed.headers["content-type"] == NDJSON
    assert "".join(line.get("text", "") for line in lines) == "Hello, world."
    assert lines[-1] == {"done": "stop"}
    missing = client.post("/tell", {"model": "nobody/nothing", "say": "Hi"})
    assert (missing.status, missing.json) == (404, {"failed": "model_not_found", "status": 404})
    kit.until(lambda: client.metric('mlxk_requests_total{route="/tell",status="200"}') == 2)


def test_a_request_to_a_plugins_route_is_cancelled_when_its_client_leaves(serve, engine, extend, kit):
    extend(tell)
    engine.script.answer = lambda prompt: "x" * 100_000
    engine.script.step_seconds = 0.005
    client = serve().client
    sock = client.begin("/tell", {"model": "fake", "say": "Hi", "stream": True})
    assert sock.recv(1)
    kit.until(lambda: client.status()["counters"]["generated_tokens"] > 3)
    sock.close()
    kit.until(lambda: engine.script.happened("remove"))
    kit.until(lambda: client.metric("mlxk_disconnects_total") == 1)


class Plain:
    """Waits for the answer on the thread of the responder, and knows nothing of disconnects."""

    def __init__(self, server):
        self._server = server

    def on_post(self, req, resp):
        body = json.loads(req.bounded_stream.read())
        model = self._server.models.get(body["model"])
        with self._server.service.submit(GenerationRequest(model=model, prompt=body["say"])) as generation:
            resp.media = {"text": generation.result().content}


def plain(server):
    server.add_route("/plain", Plain(server))


def test_a_responder_without_disconnect_handling_is_cancelled_too(serve, engine, extend, kit):
    extend(plain)
    client = serve().client
    assert client.post("/plain", {"model": "fake", "say": "Hi"}).json == {"text": "Hello, world."}
    engine.script.answer = lambda prompt: "x" * 100_000
    engine.script.step_seconds = 0.005
    sock = client.begin("/plain", {"model": "fake", "say": "Hi"})
    kit.until(lambda: client.status()["counters"]["generated_tokens"] > 20)
    sock.close()
    kit.until(lambda: engine.script.happened("remove"))


def field(server):
    server.add_request_field("shout", shout)


def shout(request, value):
    if value == "fail":
        raise KeyError("nothing")
    if not isinstance(value, bool):
        raise InvalidOption("shout", "must be true or false")
    return replace(request, prompt=[*request.prompt, Message(role="user", content="LOUD")])


def test_a_field_of_a_plugin_changes_the_request(serve, engine, extend):
    extend(field)
    engine.script.answer = lambda prompt: "LOUD" if "LOUD" in prompt else "quiet"
    client = serve().client

    def ask(**more):
        return client.post("/v1/chat/completions", {**client.chat_body("Hi"), **more})

    assert ask().json["choices"][0]["message"]["content"] == "quiet"
    assert ask(shout=None).json["choices"][0]["message"]["content"] == "quiet"
    assert [choice["message"]["content"] for choice in ask(shout=True, n=2).json["choices"]] == ["LOUD", "LOUD"]
    assert (ask(shout=1).status, ask(shout=1).json["error"]["param"]) == (400, "shout")
    failed = ask(shout="fail")
    assert (failed.status, failed.json["error"]["code"]) == (500, "plugin_failure")
    damaged = json.dumps({**client.chat_body("Hi"), "shout": "?"}).encode().replace(b'"?"', b'"\xff"')
    refused = client.post("/v1/chat/completions", damaged)
    assert (refused.status, refused.json["error"]["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("name", ["temperature", "best_of"])
def test_a_field_of_openai_cannot_be_claimed(tmp_path, name):
    from mlxk_serve.config import ServeConfig
    from mlxk_serve.server import Server

    def claims(server):
        server.add_route("/half/done", Hello(None))
        server.add_request_field(name, shout)

    host = Host()
    host.register(extension(claims), name="bad")
    with Server(host, ServeConfig(port=0, hosts=("127.0.0.1",), queue=1, concurrency=1), note=print) as server:
        assert server.extensions == []
    assert name in host.plugins()[0].reason


@pytest.mark.parametrize("function", [taken, raising, exiting, bad_component], ids=lambda f: f.__name__)
def test_an_extension_that_fails_adds_nothing_and_its_plugin_is_named(tmp_path, function, kit):
    from mlxk_serve.config import ServeConfig
    from mlxk_serve.server import Server

    notes, host = [], Host()
    host.register(extension(function), name="bad")
    host.register(extension(good), name="fine")
    config = ServeConfig(port=0, hosts=("127.0.0.1",), queue=1, concurrency=1)
    with Server(host, config, note=notes.append) as server:
        assert [extension.name for extension in server.extensions] == ["good"]
        assert len(notes) == 1
        assert "bad" in notes[0]
        assert "half_done_total" not in server.metrics.names()
        assert "hello_greeted_total" in server.metrics.names()
    assert host.plugins()[0].status == "failed"


def test_a_target_that_is_missing_is_its_plugins_failure(host, serve):
    host.register(extension("nowhere_at_all:extend", name="missing"), name="hollow")
    with pytest.raises(PluginFailure, match="hollow"):
        serve()


def test_a_taken_route_is_refused_and_its_first_owner_answers(serve, engine, extend):
    extend(taken)
    with pytest.raises(PluginFailure, match="taken"):
        serve()


def test_middleware_that_waits_on_a_probe_delays_no_other_request(serve, extend):
    entered, release = threading.Event(), threading.Event()

    class Waiting:
        def process_request(self, req, resp):
            if req.path == "/livez":
                entered.set()
                release.wait(180)

    def waiting(server):
        server.add_middleware(Waiting())

    extend(waiting)
    client = serve().client
    probing = threading.Thread(target=client.get, args=("/livez",), daemon=True)
    probing.start()
    try:
        assert entered.wait(180)
        assert client.get("/v1/models").status == client.get("/health").status == 200
        assert not release.is_set()
    finally:
        release.set()
        probing.join(180)


def test_middleware_that_fails_is_one_500_and_no_place_lost(serve, engine, kit, caplog, extend):
    extend(bad_middleware)
    client = serve().client
    with caplog.at_level("INFO"):
        answer = client.chat(stream=True)
        kit.until(lambda: "POST /v1/chat/completions 500" in caplog.messages)
    assert answer.status == 500
    assert "POST /v1/chat/completions 200" not in caplog.messages
    assert "in the middle" not in answer.error["message"]
    engine.script.answer = lambda prompt: "x" * 3
    assert client.get("/health").status == 500


def test_an_answer_that_a_plugin_made_impossible_keeps_no_place(serve, engine, kit, extend):
    extend(hop_by_hop)
    client = serve(concurrency=1, queue=0).client
    for _ in range(3):
        assert client.chat(stream=True).status == 500
        kit.until(lambda: client.status()["responses"] == client.status()["waiting"] == 0)


class Works:
    """Runs work on a thread of its own: `?pieces=3`, `?stream=1`, `?fail=1`."""

    def __init__(self, server):
        self._server = server
        self.cancelled = threading.Event()

    def on_get(self, req, resp):
        pieces, fail = req.get_param_as_int("pieces", default=2), req.get_param_as_int("fail")

        def work(cancellation):
            cancellation.on_cancel(self.cancelled.set)
            for i in range(pieces):
                if fail == i:
                    raise ApiError(422, "Not so.", code="not_so", param="fail")
                yield f"{i}\n".encode()
                if pieces > 100:
                    time.sleep(0.01)

        stream = req.get_param_as_bool("stream", default=False)
        self._server.run(req, resp, work, content_type=NDJSON, stream=stream)


def works(server):
    works.resource = Works(server)
    server.add_route("/works", works.resource)


@pytest.mark.parametrize("stream", ["0", "1"])
def test_other_work_is_written_as_a_whole_or_piece_by_piece(serve, engine, kit, extend, stream):
    extend(works)
    client = serve().client
    answer = client.get(f"/works?stream={stream}")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"0\n1\n", NDJSON)
    assert ("content-length" in answer.headers) == (stream == "0")
    failed = client.get(f"/works?stream={stream}&fail=0")
    assert (failed.status, failed.error["code"], failed.error["param"]) == (422, "not_so", "fail")
    kit.until(lambda: client.metric('mlxk_requests_total{route="/works",status="200"}') == 1)
    kit.until(lambda: client.status()["responses"] == 0)


def test_other_work_is_cancelled_when_its_client_disconnects(serve, engine, kit, extend):
    extend(works)
    client = serve().client
    with socket.create_connection(("127.0.0.1", client.port), timeout=180) as sock:
        sock.sendall(b"GET /works?stream=1&pieces=100000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(10)
    assert works.resource.cancelled.wait(180)
    kit.until(lambda: client.status()["responses"] == 0)


class Replaced:
    """Begins a response and sends another one: `?by=data`, `?by=stream`, `?by=again`."""

    def __init__(self, server):
        self._server = server

    def on_get(self, req, resp):
        by = req.get_param("by")
        model = self._server.models.get("fake")
        for _ in range(2 if by == "again" else 1):
            request = GenerationRequest(model=model, prompt=[Message(role="user", content="Hi")])
            self._server.respond(req, resp, [request], Lines(), stream=True)
        if by == "data":
            resp.stream, resp.data = None, b"ours"
        elif by == "stream":
            resp.stream = iter([b"ours"])


def replaced(server):
    server.add_route("/replaced", Replaced(server))


@pytest.mark.parametrize("by", ["data", "stream", "again"])
def test_a_response_that_an_extension_replaces_gives_its_place_back(serve, engine, extend, kit, by):
    extend(replaced)
    client = serve().client
    answer = client.get(f"/replaced?by={by}")
    assert answer.status == 200
    assert (answer.body == b"ours") == (by != "again")
    kit.until(lambda: client.status()["responses"] == client.status()["active"] == 0)


class Interrupting:
    """Raises where no one interrupts: in a callback, and in the encoder of its errors."""

    def __init__(self, server):
        self._server = server

    def on_get(self, req, resp):
        self._server.on_disconnect(req, interrupt)
        raise ApiError(422, "Not so.")

    def on_post(self, req, resp):
        def work(cancellation):
            cancellation.on_cancel(interrupt)
            while True:
                yield b"x"
                time.sleep(0.005)

        self._server.on_disconnect(req, interrupt)
        self._server.run(req, resp, work, content_type=NDJSON, stream=False)


def interrupt(*_):
    raise KeyboardInterrupt


def interrupting(server):
    server.add_route("/interrupting", Interrupting(server), errors=interrupt)


def test_a_plugin_that_raises_an_interrupt_fails_alone(serve, engine, extend, kit):
    extend(interrupting)
    client = serve().client
    assert client.get("/interrupting").status == 422
    sock = client.begin("/interrupting", {})
    kit.until(lambda: client.status()["responses"] == 1)
    sock.close()
    kit.until(lambda: client.status()["responses"] == 0)  # also work whose pieces are sent as a whole
    assert client.chat().status == 200


class Last:
    """Work that ends, or is cut short, when its client has left."""

    def __init__(self, server):
        self._server = server

    def on_get(self, req, resp):
        left, whole = threading.Event(), req.get_param_as_bool("whole")

        def work(cancellation):
            cancellation.on_cancel(left.set)
            yield b"all there is\n"
            left.wait(180)
            if not whole:
                cancellation.check()

        self._server.run(req, resp, work, content_type=NDJSON, stream=True)


@pytest.mark.parametrize(("whole", "status", "disconnects"), [("1", 200, 0), ("0", 499, 1)])
def test_a_client_that_leaves_after_the_last_piece_has_not_disconnected(
    serve, engine, kit, extend, whole, status, disconnects
):
    def last(server):
        server.add_route("/last", Last(server))

    extend(last)
    client = serve().client
    with socket.create_connection(("127.0.0.1", client.port), timeout=180) as sock:
        sock.sendall(f"GET /last?whole={whole} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        received = b""
        while b"all there is" not in received:
            received += sock.recv(1000)
    kit.until(lambda: client.metric(f'mlxk_requests_total{{route="/last",status="{status}"}}') == 1)
    assert client.metric("mlxk_disconnects_total") == disconnects


class Failing:
    """A stream that fails after its first piece, and writes that itself unless told otherwise."""

    def __init__(self, server):
        self._server = server

    def on_get(self, req, resp, kind):
        def work(cancellation):
            yield b"begun\n"
            raise ApiError(400, "It failed.")

        def stream_error(error):
            return f"failed: {error.message}\n".encode() if kind == "written" else 1 / 0

        given = {"stream_error": stream_error} if kind != "cut" else {}
        self._server.run(req, resp, work, content_type=NDJSON, stream=True, **given)


@pytest.mark.parametrize("kind", ["written", "cut", "broken"])
def test_a_stream_of_work_that_fails_ends_with_its_error_or_is_cut(serve, extend, kind):
    def failing(server):
        server.add_route("/failing/{kind}", Failing(server))

    extend(failing)
    client = serve().client
    with socket.create_connection(("127.0.0.1", client.port), timeout=180) as sock:
        sock.sendall(f"GET /failing/{kind} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        received = b""
        while piece := sock.recv(1000):
            received += piece
    assert b"begun\n" in received
    assert (b"failed: It failed.\n" in received, received.endswith(b"0\r\n\r\n")) == (kind == "written",) * 2
    assert client.metric("mlxk_disconnects_total") == 0


class Waiting:
    def __init__(self, server):
        self._server = server
        self.over = threading.Event()

    def on_get(self, req, resp):
        def work(cancellation):
            yield b"begun\n"
            self.over.wait(180)
            yield b"over\n"

        self._server.run(req, resp, work, content_type=NDJSON, stream=True, waits=True)


def test_work_that_waits_delays_no_other_work(serve, engine, kit, extend):
    resources = []

    def waiting(server):
        resources.append(Waiting(server))
        server.add_route("/waiting", resources[0])

    extend(waiting)
    client = serve(queue=200).client  # of whose threads one client has half
    with ExitStack() as stack:
        socks = [
            stack.enter_context(socket.create_connection(("127.0.0.1", client.port), timeout=180)) for _ in range(70)
        ]
        for sock in socks:
            sock.sendall(b"GET /waiting HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        try:
            assert client.get("/v1/models").status == 200
            assert all(sock.recv(15) == b"HTTP/1.1 200 OK" for sock in socks)
        finally:
            resources[0].over.set()
        assert all(b"over" in kit.everything(sock) for sock in socks)


def test_a_client_is_known_by_its_key_or_its_address(serve, engine, extend):
    class Who:
        def __init__(self, server):
            self._server = server

        def on_get(self, req, resp):
            client = self._server.client(req)
            resp.media = {"id": client.id, "key": client.key, "address": client.address}

    def who(server):
        server.add_route("/who", Who(server))

    extend(who)
    open = serve().client.get("/who").json
    assert open == {"id": "loopback", "key": None, "address": "127.0.0.1"}
    client = serve(keys=("correct-horse", "battery-staple")).client
    ids = {client.get("/who", x_api_key=key).json["id"] for key in ("correct-horse", "battery-staple")}
    assert len(ids) == 2
    assert "correct-horse" not in ids


class Faulty:
    """A resource, an encoder and work with a fault each: `GET /faulty/KIND`."""

    content_type = NDJSON
    heartbeat = b""

    def __init__(self, server):
        self._server = server

    def on_get(self, req, resp, kind):
        if kind == "raises":
            {}["nothing"]  # raises
        elif kind == "exits":
            raise SystemExit(3)  # exits
        elif kind == "media":
            resp.media = {"value": object()}
        elif kind == "stream":
            resp.stream = self._pieces()
        elif kind in ("work", "late-work", "wrong-work"):
            self._server.run(req, resp, partial(self._work, kind), content_type=NDJSON, stream=True)
        elif kind == "redirects":
            raise falcon.HTTPFound("/elsewhere")
        elif kind == "hop":
            resp.set_header("Connection", "close")
        elif kind == "two-lines":
            resp.set_header("x-text", "one\r\ntwo: three")
        elif kind == "length":
            resp.set_header("content-length", "many")
        elif kind == "status":
            resp.status = "fine thanks"
        elif kind == "error-header":
            raise falcon.HTTPNotFound(headers={"x-text": "\u4f60\u597d"})
        else:
            self._kind = kind
            request = GenerationRequest(model=self._server.models.get("fake"), prompt="Hi")
            encoder = object() if kind == "encoder" else self
            self._server.respond(req, resp, [request], encoder, stream=kind != "whole")

    def _pieces(self):
        yield b"{}\n"
        raise ValueError("secret")  # stream

    def _work(self, kind, cancellation):
        if kind == "late-work":
            yield b"{}\n"
        if kind == "wrong-work":
            yield "{}\n"
        raise ValueError("secret")  # work

    def piece(self, index, event):
        if self._kind == "piece":
            raise ValueError("secret")  # piece
        return "text" if self._kind == "text" else b"{}\n"

    def end(self):
        if self._kind in ("end", "error"):
            raise ValueError("secret")  # end
        return b""

    def whole(self, completions):
        return {}

    def error(self, error):
        if self._kind == "error":
            raise ValueError("secret")  # error
        return b"failed\n"


def faulty(server):
    server.add_route("/faulty/{kind}", Faulty(server))


def own_line(mark):
    lines = Path(__file__).read_text().splitlines()
    return next(n for n, line in enumerate(lines, start=1) if line.endswith(f"  # {mark}"))


def read_from(client, engine, kind):
    """The answer of `/faulty/KIND`. Where the end of a stream fails, nothing is generated before the stream began."""
    if kind in ("end", "error"):
        engine.script.hang.set()
    connection = client.connect()
    try:
        connection.request("GET", f"/faulty/{kind}")
        response = connection.getresponse()
        engine.script.hang.clear()
        return SimpleNamespace(status=response.status, body=response.read())
    finally:
        engine.script.hang.clear()
        connection.close()


@pytest.mark.parametrize("on_thread", [False, True], ids=["responder", "writer"])
def test_an_error_in_a_route_names_its_plugin_file_and_line(serve, engine, extend, caplog, kit, on_thread):
    faults = (
        [
            # kind, mark of its line, what is named, status (None: cut off)
            ("work", "work", "the work of a response", 500),
            ("late-work", "work", "the work of a response", None),
            ("wrong-work", None, "not bytes", 500),
            ("piece", "piece", "piece of encoder Faulty", 500),
            ("text", None, "piece() returns str, not bytes", 500),
            ("end", "end", "end of encoder Faulty", 200),
            ("error", "error", "error of encoder Faulty", None),
            ("whole", None, "whole() returns dict, not bytes", 500),
        ]
        if on_thread
        else [
            ("raises", "raises", "raised KeyError", 500),
            ("exits", "exits", "raised SystemExit", 500),
            ("media", None, "raised TypeError", 500),
            ("encoder", None, "encoder object has no method piece", 500),
            ("stream", "stream", "raised ValueError", None),
            ("hop", None, "header connection is the server's", 500),
            ("two-lines", None, "a header has one line", 500),
            ("length", None, "not a number", 500),
            ("status", None, "not a status of HTTP", 500),
            ("error-header", None, "a header has one line", 500),
        ]
    )
    extend(faulty)
    client = serve().client
    for kind, place, what, status in faults:
        caplog.clear()
        if status is None:
            with pytest.raises((OSError, http.client.HTTPException)):
                read_from(client, engine, kind)
        else:
            answer = read_from(client, engine, kind)
            assert (answer.status, b"secret" in answer.body) == (status, False), kind
        kit.until(lambda: any(what in message for message in caplog.messages))  # noqa: B023
        [logged] = [record for record in caplog.records if what in record.getMessage()]
        assert "Plugin faulty" in logged.getMessage(), kind
        line = own_line(place) if place else ""
        assert f"{Path(__file__).name}:{line}" in logged.getMessage(), kind
        assert logged.exc_info, "the traceback is in the log"
        kit.until(lambda: client.status()["responses"] == 0)
    assert client.chat().status == 200


class Exhausted:
    """What a route raises when the system has no thread or descriptor left."""

    def on_get(self, req, resp):
        if req.get_param("what") == "thread":
            raise RuntimeError("can't start new thread")
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def exhausted(server):
    server.add_route("/exhausted", Exhausted())


@pytest.mark.parametrize("what", ["thread", "descriptor"])
def test_a_limit_of_the_system_is_not_the_fault_of_a_plugin(serve, engine, extend, what):
    extend(exhausted)
    answer = serve().client.get(f"/exhausted?what={what}")
    assert (answer.status, answer.error["code"]) == (503, "system_limit")


def test_a_response_that_a_route_raises_is_no_failure(serve, engine, extend, caplog):
    extend(faulty)
    answer = serve().client.get("/faulty/redirects")
    assert (answer.status, answer.headers["location"]) == (302, "/elsewhere")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_an_error_in_middleware_names_its_plugin_file_and_line(serve, engine, extend, caplog):
    extend(bad_middleware)
    assert serve().client.get("/v1/models").error["code"] == "plugin_failure"
    [logged] = [message for message in caplog.messages if "middleware BadMiddleware" in message]
    assert "Plugin bad_middleware" in logged
    assert f"{Path(__file__).name}:" in logged


def test_a_header_of_middleware_that_is_the_servers_names_its_plugin(serve, engine, extend, caplog):
    extend(hop_by_hop)
    client = serve().client
    assert client.chat().error["code"] == "plugin_failure"
    [logged] = [message for message in caplog.messages if "header connection is the server's" in message]
    assert "Plugin hop_by_hop" in logged
    assert f"{Path(__file__).name}:" in logged
    assert client.get("/v1/models").status == 200


class Choosy:
    """A route whose fields have the names of our parameters, and that raises what its clients ask for."""

    def on_get(self, req, resp, function, what):
        if what == "number":
            raise ApiError(429, ValueError(function), param=3, headers={"retry-after": 5})
        if what == "status":
            raise ApiError(1000, "Never sent.")
        resp.media = {"function": function}


def choosy(server):
    server.add_route("/choosy/{function}/{what}", Choosy())


def test_a_route_may_name_its_fields_and_its_errors_freely(serve, engine, extend, caplog):
    extend(choosy)
    client = serve().client
    assert client.get("/choosy/f/plain").json == {"function": "f"}
    answer = client.get("/choosy/f/number")
    assert (answer.status, answer.headers["retry-after"]) == (429, "5")
    assert (answer.error["message"], answer.error["param"]) == ("f", "3")
    assert client.get("/choosy/f/status").error["code"] == "plugin_failure"
    assert any("Plugin choosy" in message for message in caplog.messages)


def wrong_errors(server):
    server.add_route("/wrong", Hello(None), errors=lambda error: "text")
    server.metrics.gauge("wrong_gauge", "Never read.", lambda: [({}, 1 / 0)])


def test_an_error_encoder_and_a_gauge_that_fail_are_named(serve, engine, extend, caplog):
    extend(wrong_errors)
    client = serve().client
    assert client.post("/wrong", {}).error["code"] == "plugin_failure"  # a missing argument, as OpenAI's object
    assert client.get("/metrics").status == client.get("/metrics").status == 200
    for what in ("error encoder of route /wrong", "gauge wrong_gauge"):
        [logged] = [message for message in caplog.messages if what in message]
        assert "Plugin wrong_errors" in logged
        assert f"{Path(__file__).name}:" in logged


def undescribable(server):
    server.add_route("/half/done", Hello(None), operations=[Operation(method="get", summary="", response=object())])


def test_an_operation_without_schema_fails_its_extension_not_the_document(host, serve, engine):
    host.register(extension(undescribable), name="bad")
    with pytest.raises(PluginFailure, match="bad"):
        serve()


def test_mlxk_plugins_knows_the_routes_and_fields_of_the_server(serve, engine):
    from mlxk_core._host.hints import known
    from mlxk_serve.openai.body_decoding import known_fields

    table = known("server")
    assert set(table["fields"]) == known_fields()
    routes = {path.partition("{")[0] for path in serve().client.get("/openapi.json").json["paths"]}
    assert {path.partition("{")[0] for path in table["routes"]} == routes
