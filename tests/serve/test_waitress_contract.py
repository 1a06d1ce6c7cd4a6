"""Every internal of waitress that mlxk relies on. waitress is pinned to 3.0.*; look here before that changes."""

from __future__ import annotations

import inspect
from importlib.metadata import requires, version

import pytest
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.receiver import ChunkedReceiver
from waitress.server import BaseWSGIServer, TcpWSGIServer, UnixWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask
from waitress.utilities import BadRequest

RELIED_ON = {
    HTTPChannel: (
        "_flush_exception", "_flush_some", "addr", "adj", "close_when_flushed", "connected", "error_task_class",
        "handle_close", "handle_read", "handle_write", "last_activity", "parser_class", "readable", "received",
        "request", "requests", "requests_lock", "server", "service", "socket", "task_class", "total_outbufs_len",
        "recv", "will_close", "writable", "write_soon",
    ),
    HTTPRequestParser: (
        "adj", "body_bytes_received", "body_rcv", "chunked", "close", "completed", "error", "expect_continue",
        "header_bytes_received", "headers_finished", "parse_header", "received", "version",
    ),
    ChunkedReceiver: ("__len__",),
    WSGITask: (
        "channel", "chunked_response", "close_on_finish", "complete", "content_length", "execute", "finish",
        "get_environment", "request", "response_headers", "service", "set_close_on_finish", "status", "write",
        "wrote_header",
    ),
    ErrorTask: ("execute",),
    ThreadedTaskDispatcher: ("add_task", "set_thread_count", "shutdown", "threads"),
    BaseWSGIServer: (
        "accept", "accept_connections", "accepting", "fix_addr", "handle_accept", "maintenance", "pull_trigger",
        "readable", "set_socket_options", "trigger",
    ),
    TcpWSGIServer: ("set_socket_options",),
    UnixWSGIServer: ("fix_addr",),
    wasyncore.dispatcher: ("_fileno", "close", "recv"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in RELIED_ON.items() for name in names], ids=str
)
def test_waitress_has_the_internals_that_we_use(kind, name):
    sources = "".join(inspect.getsource(base) for base in kind.__mro__ if base is not object)
    assert hasattr(kind, name) or f"self.{name} = " in sources or f"self.{name}: " in sources


def test_the_end_of_a_request_looks_at_the_task_that_served_it():
    source = inspect.getsource(HTTPChannel.service)
    assert "self.task_class(self, request)" in source
    assert source.index("task.service()") < source.index("if task.close_on_finish") < source.index("requests.pop(0)")


def test_a_chunked_response_asks_for_the_connection_to_close_before_its_headers_are_written():
    source = inspect.getsource(WSGITask.build_response_header)
    assert source.index("self.chunked_response = True") < source.rindex("self.set_close_on_finish()")


def test_the_other_names_exist():
    assert issubclass(ClientDisconnected, Exception)
    assert ParsingError("x").args == ("x",)
    assert BadRequest("x").body == "x"
    assert list(inspect.signature(wasyncore.readwrite).parameters) == ["obj", "flags"]
    assert Adjustments(channel_request_lookahead=1).channel_request_lookahead == 1


def test_waitress_is_pinned():
    assert version("waitress").startswith("3.0.")
    assert any("waitress==3.0.*" in requirement.replace(" ", "") for requirement in requires("mlxk-serve") or ())
