"""What plugins may add to a server: entry points of group `mlxk.serve`."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import falcon
import pytest

from mlxk_core._errors import PluginFailure
from mlxk_core._host.host import Host


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


def door(name):
    return EntryPoint(name=name, value=f"{__name__}:{name}", group="mlxk.serve")


@pytest.fixture
def lenient(host):
    """A host that goes on when a plugin fails, with the scripted engine."""
    return Host()


def test_a_plugin_adds_a_route_middleware_and_a_metric(serve, engine):
    client = serve(doors=[door("good")]).client
    answer = client.get("/hello/you")
    assert (answer.json, answer.headers["x-stamp"]) == ({"hello": "you"}, "hello")
    assert client.metric("hello_greeted_total") == 1
    assert client.post("/hello/you", {}).error["message"] == "Not so."
    assert client.chat().headers["x-stamp"] == "hello"


def test_the_guard_stands_before_a_plugins_route_too(serve, engine):
    client = serve(doors=[door("good")], keys=("correct-horse",)).client
    assert client.get("/hello/you").status == 401
    assert client.get("/hello/you", host="evil.com", x_api_key="correct-horse").status == 403
    assert client.get("/hello/you", x_api_key="correct-horse").status == 200


@pytest.mark.parametrize("name", ["taken", "raising", "exiting", "missing"])
def test_a_plugin_that_fails_adds_nothing_and_is_named(lenient, tmp_path, name, kit):
    from mlxk_serve.config import ServeConfig
    from mlxk_serve.server import Server

    notes = []
    config = ServeConfig(port=0, hosts=("127.0.0.1",), queue=1, concurrency=1)
    with Server(lenient, config, note=notes.append, doors=[door(name), door("good")]) as server:
        assert server.plugins == ["good"]
        assert len(notes) == 1
        assert name in notes[0]
        assert "half_done_total" not in server.parts.registry.names()
        assert "hello_greeted_total" in server.parts.registry.names()


def test_a_taken_route_is_refused_and_its_first_owner_answers(serve, engine):
    with pytest.raises(PluginFailure, match="taken"):
        serve(doors=[door("taken")])


def test_middleware_that_fails_is_one_500_and_no_place_lost(serve, engine, kit, caplog):
    client = serve(doors=[door("bad_middleware")]).client
    with caplog.at_level("INFO"):
        answer = client.chat(stream=True)
        kit.until(lambda: "POST /v1/chat/completions 500" in caplog.messages)
    assert answer.status == 500
    assert "POST /v1/chat/completions 200" not in caplog.messages
    assert "in the middle" not in answer.error["message"]
    engine.script.answer = lambda prompt: "x" * 3
    assert client.get("/health").status == 500


def test_an_answer_that_a_plugin_made_impossible_keeps_no_place(serve, engine, kit):
    client = serve(concurrency=1, queue=0, doors=[door("hop_by_hop")]).client
    for _ in range(3):
        assert client.chat(stream=True).status == 500
        kit.until(lambda: client.status()["answers"] == client.status()["waiting"] == 0)
