"""The loop of the server, turned by the test: what a moment brings that clients cannot time."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from mlxk_serve.config import Limits
from mlxk_serve.http import bind
from mlxk_serve.http.channel import TOO_MANY, Channel
from mlxk_serve.http.client_ids import ClientIds
from mlxk_serve.http.errors import ErrorEncoders
from mlxk_serve.http.http_server import HttpServer
from mlxk_serve.http.tasks import Detached
from mlxk_serve.http.turns import Turns

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Loop:
    """A server of one application, on one listening socket. Nothing happens but in `turn` and in its workers."""

    def __init__(self, listening, application, threads, files, probes_at_once, limits):
        self.refusals = []
        self.paths = []
        self.http = HttpServer(
            application,
            [listening],
            check_access=lambda method, path, headers: self.paths.append(path),
            errors=ErrorEncoders(),
            on_rejected=lambda id, method, path, error: self.refusals.append(error.status),
            limits=replace(Limits(), threads=threads, **limits),
            turns=Turns(),
            client_ids=ClientIds(["one", "other"]),
            files=files,
            probes_at_once=probes_at_once,
        )
        self.http.listen()
        self._name = listening.getsockname()
        self._family = listening.family

    def connect(self):
        sock = socket.socket(self._family)
        sock.settimeout(180)
        sock.connect(self._name)
        return sock

    def read(self, sock, *, between=lambda: None):
        """All that comes, the loop turning meanwhile."""
        received, sock_over = b"", False
        sock.setblocking(False)
        while not sock_over:
            self.http.turn(0.01)
            between()
            try:
                data = sock.recv(65536)
                received, sock_over = received + data, not data
            except BlockingIOError:
                continue
            except ConnectionResetError:
                break
        return received


@pytest.fixture
def loop():
    loops = []

    def start(application, listening=None, threads=2, files=None, probes_at_once=False, **limits):
        listening = listening or bind.open_tcp(["127.0.0.1"], 0)[0]
        loops.append(Loop(listening, application, threads, files, probes_at_once, limits))
        return loops[-1]

    yield start
    for each in loops:
        each.http.stop_listening()
        each.http.close(60)


def hello(environ, start_response):
    start_response("200 OK", [("content-length", "5")])
    return [b"hello"]


def test_a_new_connection_does_not_inherit_the_state_of_the_one_closed_for_it(loop, kit):
    served = loop(hello, connections=1)
    idle = served.connect()
    kit.until(lambda: served.http.turn(0.01) or served.http.connections)
    newcomer = served.connect()
    idle.sendall(b"G")  # in one poll with the newcomer, whose descriptor may get the number of this one
    time.sleep(0.05)
    served.http.turn(1)
    newcomer.sendall(REQUEST)
    assert served.read(newcomer).endswith(b"hello")
    for sock in (idle, newcomer):
        sock.close()


@pytest.fixture
def slow():
    """An application that answers `/` when the event is set, and everything else at once."""
    finished = threading.Event()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/":
            finished.wait(180)
        return hello(environ, start_response)

    application.finished = finished
    yield application
    finished.set()


def busy_connection(served, kit):
    sock = served.connect()
    before = sum(channel.busy for channel in served.http.connections)
    sock.sendall(REQUEST)
    kit.until(lambda: served.http.turn(0.01) or sum(channel.busy for channel in served.http.connections) > before)
    return sock


def settle(served, count):
    """Let the loop accept `count` connections, and see that there is nothing to read from them."""
    while len(served.http.connections) < count:
        served.http.turn(0.01)
    served.http.turn(0.01)
    served.http.turn(0.01)


def settle_accepted(served, count):
    """Let the loop accept `count` connections in all, and read nothing from the last of them."""
    while len(served.http.connections) < count:
        served.http.turn(0.01)


def test_a_rejected_request_gets_a_request_id_that_is_in_the_log(loop, kit, slow):
    served = loop(slow, connections=1)
    with busy_connection(served, kit) as busy, served.connect() as newcomer:
        newcomer.sendall(REQUEST)
        told = served.read(newcomer)
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nx-request-id: req_" in told.lower()
        assert b"\r\nretry-after: 1\r\n" in told.lower()
        assert served.refusals == [503]
        slow.finished.set()
        assert served.read(busy).endswith(b"hello")


def test_rejected_requests_are_not_kept(loop, kit, slow):
    served = loop(slow, connections=1)
    with busy_connection(served, kit):
        for _ in range(5):
            with served.connect() as newcomer:
                newcomer.sendall(REQUEST)
                assert served.read(newcomer).startswith(b"HTTP/1.1 503 ")
        assert len(traceback.extract_tb(TOO_MANY.__traceback__)) < 5


def test_a_probe_is_answered_while_every_place_carries_a_request(loop, kit, slow):
    served = loop(slow, connections=1)
    with busy_connection(served, kit), served.connect() as probe:
        probe.sendall(REQUEST.replace(b"/", b"/health", 1))
        assert served.read(probe).endswith(b"hello")
    assert served.refusals == []


def test_the_idle_one_is_closed_first_then_the_one_that_waits_longest_for_its_request(loop, kit):
    served = loop(hello, connections=3)
    header = served.connect()
    settle(served, 1)
    header.sendall(b"GET / HTTP/1.1\r\nHost")
    kit.until(lambda: served.http.turn(0.01) or isinstance(served.http.connections[0], Channel))
    silent = served.connect()
    settle(served, 2)
    idle = served.connect()
    idle.sendall(REQUEST.replace(b"Connection: close\r\n", b""))
    settle(served, 3)
    kit.until(lambda: served.http.turn(0.01) or not any(channel.busy for channel in served.http.connections))
    closed = []
    newcomers = []
    for _ in range(3):
        newcomers.append(served.connect())
        settle(served, 3)
        for name, sock in (("header", header), ("silent", silent), ("idle", idle)):
            sock.setblocking(False)
            try:
                while sock.recv(4096):
                    pass
                if name not in closed:
                    closed.append(name)
            except BlockingIOError:
                pass
    assert closed == ["idle", "header", "silent"]
    newcomers[-1].sendall(REQUEST)
    assert served.read(newcomers[-1]).endswith(b"hello")
    for sock in (header, silent, idle, *newcomers):
        sock.close()


def test_those_who_connect_and_leave_cost_no_other_its_place(loop):
    served = loop(hello, connections=1)
    with served.connect() as idle:
        settle(served, 1)
        for leave in (socket.socket.close, lambda sock: sock.shutdown(socket.SHUT_WR)):
            leaving = [served.connect() for _ in range(20)]
            for sock in leaving:
                leave(sock)
            for _ in range(5):
                served.http.turn(0.01)
        assert all(sock.recv(1) == b"" for sock in leaving)
        idle.sendall(REQUEST)
        assert served.read(idle).endswith(b"hello")
    assert served.http.capacity.closed == 0


def test_a_newcomer_closes_no_connection_that_carries_a_request(loop, kit, slow):
    served = loop(slow, connections=2)
    with busy_connection(served, kit) as busy, served.connect() as silent, served.connect() as newcomer:
        settle(served, 2)
        newcomer.sendall(REQUEST.replace(b"/", b"/other", 1))
        assert served.read(newcomer).endswith(b"hello")
        assert served.read(silent) == b""
        slow.finished.set()
        assert served.read(busy).endswith(b"hello")


@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"x" * 300),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 50),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX", b"x"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n", b" "),
        (b"\r\n", b"\r\n"),
    ],
    ids=["header quickly", "chunks", "header", "body", "blank lines"],
)
def test_one_that_never_stops_sending_makes_room_too(loop, kit, begin, drip):
    served = loop(hello, connections=1)

    def send():
        with contextlib.suppress(OSError):
            dripping.sendall(drip)

    with served.connect() as dripping:
        dripping.sendall(begin)
        settle(served, 1)
        kit.until(lambda: send() or served.http.turn(0.01) or served.http.connections[0].spared_since)
        assert served.refusals == []
        with served.connect() as newcomer:
            newcomer.sendall(REQUEST)
            send()
            assert served.read(newcomer, between=send).endswith(b"hello")


def test_no_one_who_keeps_sending_occupies_the_places_of_probes(loop, kit, slow):
    served = loop(slow, connections=1, files=1024, header_time=1e6, body_time=1e6)
    with contextlib.ExitStack() as stack:
        stack.enter_context(busy_connection(served, kit))
        dripping = []
        for begin in (b"GET /health HTTP/1.1\r\nX", b"POST /health HTTP/1.1\r\nContent-Length: 9999\r\n\r\n"):
            for _ in range(served.http.capacity.spare // 2):
                dripping.append(stack.enter_context(served.connect()))
                dripping[-1].sendall(begin)
        probe = stack.enter_context(served.connect())
        probe.sendall(REQUEST.replace(b"/", b"/health", 1))
        probe.setblocking(False)

        def answered():
            for sock in dripping:
                with contextlib.suppress(OSError):
                    sock.sendall(b"x")
            served.http.turn(0.01)
            with contextlib.suppress(BlockingIOError):
                return probe.recv(65536)

        assert kit.until(answered).startswith(b"HTTP/1.1 200 ")


def test_a_request_that_could_not_be_read_in_time_makes_room_and_is_answered(loop, kit, slow):
    served = loop(slow, connections=1, files=16)  # one place, and one above the limit
    with busy_connection(served, kit) as busy, served.connect() as unread, served.connect() as newcomer:
        unread.sendall(REQUEST)
        settle_accepted(served, 2)
        newcomer.sendall(REQUEST.replace(b"/", b"/health", 1))
        time.sleep(0.2)
        assert served.read(newcomer).endswith(b"hello")
        told = served.read(unread)
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b"too_many_connections" in told
        assert served.refusals == []  # it was not parsed
        assert served.http.capacity.closed == 1
        slow.finished.set()
        assert served.read(busy).endswith(b"hello")


def test_a_response_that_is_not_read_makes_room(loop, kit):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"x" * (8 << 20)] if environ["PATH_INFO"] == "/" else [b"hello"]

    served = loop(application, connections=1, unread_time=0)
    with busy_connection(served, kit):
        (channel,) = (channel for channel in served.http.connections if channel.busy)
        kit.until(lambda: served.http.turn(0.01) or (channel.total_outbufs_len and channel.quiet))
        with served.connect() as newcomer:
            newcomer.sendall(REQUEST.replace(b"/", b"/other", 1))
            assert b"hello" in served.read(newcomer)
            assert not channel.connected


def test_the_clients_have_their_turns(loop, kit, slow):
    """The requests of one that sends many are read one after the other, and another's after the next of them."""
    order = []

    def application(environ, start_response):
        order.append(environ.get("HTTP_X_API_KEY"))
        return slow(environ, start_response)

    served = loop(application, threads=1)
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(busy_connection(served, kit))]
        for key in ("one", "one", "one", "other", "other"):
            socks.append(stack.enter_context(served.connect()))
            socks[-1].sendall(REQUEST.replace(b"\r\n", b"\r\nX-Api-Key: " + key.encode() + b"\r\n", 1))
            kit.until(lambda: served.http.turn(0.01) or sum(c.busy for c in served.http.connections) == len(socks))
        slow.finished.set()
        assert {served.read(sock)[-5:] for sock in socks} == {b"hello"}
    assert order == [None, "one", "other", "one", "other", "one"]


def test_pipelined_requests_end_when_others_need_the_place(loop, kit, slow):
    served = loop(slow, connections=1)
    with served.connect() as sock:
        sock.sendall(REQUEST.replace(b"Connection: close\r\n", b"") * 49 + REQUEST)
        kit.until(lambda: served.http.turn(0.01) or any(channel.busy for channel in served.http.connections))
        with served.connect() as other:
            settle(served, 2)
            slow.finished.set()
            received = served.read(sock)
            assert received.count(b"hello") < 50
            assert received.endswith(b"hello")
            assert received.lower().count(b"connection: close") == 1
            other.sendall(REQUEST)
            assert served.read(other).endswith(b"hello")


def test_pipelined_requests_whose_responses_are_not_read_hold_no_thread(loop):
    size = 8 << 20

    def large(environ, start_response):
        body = bytes(size) if environ["PATH_INFO"] == "/large" else b"hello"
        start_response("200 OK", [("content-length", str(len(body)))])
        return [body]

    served = loop(large, threads=1)
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(served.connect()) for _ in range(3)]
        for sock in socks:
            sock.sendall(REQUEST.replace(b"/", b"/large", 1).replace(b"Connection: close\r\n", b"") + REQUEST)
        while len(served.paths) < 2 * len(socks):
            served.http.turn(0.01)
        settle(served, len(socks))
        with served.connect() as other:
            other.sendall(REQUEST)
            assert served.read(other).endswith(b"hello")
        for sock in socks:
            received = served.read(sock)
            assert received.count(b"\0") == size
            assert received.endswith(b"hello")


@pytest.mark.parametrize("length", [8 << 20, None])
def test_a_thread_that_writes_for_many_does_not_wait_for_one_client(loop, kit, length):
    class Kept:
        writer = None

        def __iter__(self):
            raise Detached(self)

        def attach(self, writer):
            self.writer = writer

    def detached(environ, start_response):
        start_response("200 OK", [])
        return kept

    def write():
        kept.writer.set_head(200, {}, length=length)
        kept.writer.write(bytes(8 << 20))
        kept.writer.finish()

    kept, served = Kept(), loop(detached)
    with served.connect() as sock:
        sock.sendall(REQUEST.replace(b"Connection: close\r\n", b"") * 2 + REQUEST)
        for _ in range(3):
            kit.until(lambda: served.http.turn(0.01) or kept.writer is not None)
            thread = threading.Thread(target=write, daemon=True)
            thread.start()
            thread.join(60)
            assert not thread.is_alive()
            kept.writer = None
            sock.setblocking(False)
            received = 0
            while received < 8 << 20:
                served.http.turn(0.01)
                with contextlib.suppress(BlockingIOError):
                    received += sock.recv(1 << 20).count(b"\0")
            assert received == 8 << 20


def test_probes_are_received_before_the_other_requests_of_new_connections(loop):
    served = loop(hello)
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(served.connect()) for _ in range(9)]
        settle(served, len(socks))
        for i, sock in enumerate(socks):
            sock.sendall(REQUEST.replace(b"/", b"/health", 1) if i == 4 else REQUEST)
        while len(served.paths) < len(socks):
            served.http.turn(0.01)
        assert served.paths[0] == "/health"


@pytest.mark.parametrize(
    ("start", "at_once"),
    [
        (b"GET /livez", True),
        (b"HEAD /health", True),
        (b"GET /livez?a=b", True),
        (b"POST /livez", False),
        (b"GET /v1/models", False),
    ],
)
@pytest.mark.parametrize("allowed", [True, False])
def test_probes_need_no_worker_where_the_application_never_waits(loop, start, at_once, allowed):
    threads = []

    def application(environ, start_response):
        threads.append(threading.current_thread())
        return hello(environ, start_response)

    served = loop(application, probes_at_once=allowed)
    kept = REQUEST.replace(b"GET /", start).replace(b"Connection: close\r\n", b"")
    with served.connect() as sock:
        sock.sendall(kept * 3 + REQUEST.replace(b"GET /", start))
        assert served.read(sock).count(b"HTTP/1.1 200 OK") == 4
    assert [thread is threading.current_thread() for thread in threads] == [at_once and allowed] * 4


def test_each_connection_has_one_probe_answered_in_a_turn(loop):
    probes = []

    def application(environ, start_response):
        probes.append(environ["REMOTE_PORT"])
        return hello(environ, start_response)

    served = loop(application, probes_at_once=True)
    one = REQUEST.replace(b"/", b"/livez", 1).replace(b"Connection: close\r\n", b"")
    with served.connect() as first, served.connect() as second:
        settle(served, 2)
        for sock in (first, second):
            sock.sendall(one * 50)
        while len(probes) < 100:
            before = len(probes)
            served.http.turn(1)
            assert len(set(probes[before:])) == len(probes[before:])


def channels(served):
    return [each for each in served.http.connections if isinstance(each, Channel)]


def test_a_probe_behind_a_running_request_waits_for_it(loop, kit, slow):
    served = loop(slow, probes_at_once=True)
    with served.connect() as sock:
        sock.sendall(REQUEST.replace(b"Connection: close\r\n", b"") + REQUEST.replace(b"/", b"/livez", 1))
        kit.until(lambda: served.http.turn(0.01) or any(len(channel.requests) == 2 for channel in channels(served)))
        with served.connect() as other:
            other.sendall(REQUEST.replace(b"/", b"/livez", 1))
            assert served.read(other).endswith(b"hello")
        slow.finished.set()
        assert served.read(sock).count(b"hello") == 2


def test_a_probe_behind_a_response_that_is_not_read_does_not_stop_the_loop(loop, kit):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"x" * (8 << 20)] if environ["PATH_INFO"] == "/" else [b"hello"]

    served = loop(application, probes_at_once=True)
    with served.connect() as sock:
        sock.sendall(REQUEST.replace(b"Connection: close\r\n", b""))
        kit.until(lambda: served.http.turn(0.01) or channels(served))
        (channel,) = channels(served)
        kit.until(lambda: served.http.turn(0.01) or (channel.total_outbufs_len and not channel.requests))
        channel.received(REQUEST.replace(b"/", b"/livez", 1))  # the poll may have reported it before the response
        assert b"hello" in served.read(sock)


NO_TIME = {"accept_time": 0, "behind_time": 1e6}
"""Limits of a server that stays behind once two clients connect at the same time."""


def fall_behind(served):
    with served.connect(), served.connect():
        settle(served, 2)
    while served.http.connections:
        served.http.turn(0.01)


def test_without_time_to_accept_all_requests_without_a_place_are_not_even_parsed(loop, kit, slow):
    served = loop(slow, connections=1, **NO_TIME)
    fall_behind(served)
    with busy_connection(served, kit), contextlib.ExitStack() as stack:
        newcomers = [stack.enter_context(served.connect()) for _ in range(5)]
        for sock in newcomers:
            sock.sendall(REQUEST)
        probe = stack.enter_context(served.connect())
        probe.sendall(REQUEST.replace(b"/", b"/health", 1))
        assert served.read(probe).endswith(b"hello")
        for sock in newcomers:
            told = served.read(sock)
            assert told.startswith(b"HTTP/1.1 503 ")
            assert b"too_many_connections" in told
        assert served.paths == ["/", "/health"]
        assert served.http.capacity.closed == 5


def test_without_time_to_accept_all_the_same_probes_get_the_same_response(loop, kit):
    probes = []

    def application(environ, start_response):
        probes.append(environ["PATH_INFO"])
        return hello(environ, start_response)

    def probe(header=b""):
        """Return how many probes the application had to answer for this one."""
        before = len(probes)
        with served.connect() as sock:
            sock.sendall(REQUEST.replace(b"/", b"/livez", 1).replace(b"\r\n\r\n", header + b"\r\n\r\n"))
            received = served.read(sock)
            assert received.startswith(b"HTTP/1.1 200 OK\r\n")
            assert received.endswith(b"\r\n\r\nhello")
        return len(probes) - before

    served = loop(application, probes_at_once=True, **NO_TIME)
    fall_behind(served)
    assert probe() == 1
    kit.until(lambda: probe() == 0)
    for i in range(3):
        assert probe(f"\r\nX-Request-Id: {i}".encode()) == 1
    served = loop(application, probes_at_once=True, accept_time=1e6)
    for _ in range(3):
        assert probe() == 1


def test_without_time_to_accept_all_a_probe_that_came_before_goes_before_other_ones(loop, kit, slow):
    def probe(header=b""):
        with served.connect() as sock:
            sock.sendall(REQUEST.replace(b"/", b"/livez", 1).replace(b"\r\n\r\n", header + b"\r\n\r\n"))
            return served.read(sock).split(b" ")[1]

    served = loop(slow, connections=2, probes_at_once=True, probe_time=0, **NO_TIME)
    fall_behind(served)
    assert [probe() for _ in range(2)] == [b"200", b"200"]
    with busy_connection(served, kit), busy_connection(served, kit):
        assert probe(b"\r\nX-Other: 1") == b"503"
        assert probe() == b"200"
        served = loop(slow, connections=2, probes_at_once=True, **NO_TIME)
        fall_behind(served)
        with busy_connection(served, kit), busy_connection(served, kit):
            assert probe(b"\r\nX-Other: 1") == b"200"
        slow.finished.set()


def test_few_descriptors_mean_few_connections(loop):
    assert loop(hello, files=256).http.capacity.limit == 256 - 64 - 16
    assert loop(hello, files=65536).http.capacity.limit == Limits().connections


def test_pipelined_requests_are_parsed_one_at_a_time(loop, kit, slow):
    served = loop(slow)
    with served.connect() as sock:
        sock.sendall(REQUEST.replace(b"Connection: close\r\n", b"") * 50)
        kit.until(lambda: served.http.turn(0.01) or any(channel.busy for channel in served.http.connections))
        for _ in range(5):
            served.http.turn(0.01)
        (channel,) = served.http.connections
        assert len(channel.requests) <= 2
        slow.finished.set()
        sock.setblocking(False)
        received = b""
        while received.count(b"hello") < 50:
            served.http.turn(0.01)
            with contextlib.suppress(BlockingIOError):
                received += sock.recv(65536)


def test_a_body_that_comes_with_the_header_needs_no_continue(loop):
    served = loop(hello)
    with served.connect() as sock:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\n"
        sock.sendall(head + b"Content-Length: 2\r\n\r\n{}")
        assert served.read(sock).endswith(b"hello")
    with served.connect() as sock:
        sock.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 500 + b"0\r\n\r\n")
        assert served.read(sock).endswith(b"hello")


@pytest.mark.parametrize("length", [b"", b"Content-Length: 0\r\n"])
def test_a_request_without_a_body_needs_no_continue(loop, length):
    served = loop(hello)
    with served.connect() as sock:
        expecting = REQUEST.replace(b"Connection: close\r\n", b"Expect: 100-continue\r\n" + length)
        sock.sendall(expecting + REQUEST.replace(b"/", b"/next", 1))
        received = served.read(sock)
        assert received.count(b"HTTP/1.1 200 OK") == received.count(b"hello") == 2
        assert served.paths == ["/", "/next"]


class LeftAlready(socket.socket):
    """A client's socket as macOS gives it when the client is gone: it takes no options."""

    def setsockopt(self, *args):
        raise OSError(errno.EINVAL, "Invalid argument")


class Accepting(socket.socket):
    """A listening socket whose first client gets a socket of another kind."""

    first = None

    def accept(self):
        accepted, address = super().accept()
        if self.first:
            accepted, self.first = self.first(fileno=accepted.detach()), None
        return accepted, address


def accepting(first, listening):
    made = Accepting(fileno=listening.detach())
    made.first = first
    return made


def test_a_disconnect_before_accept_does_not_stop_the_listener(loop, tmp_path):
    path = Path(os.path.relpath(tmp_path)) / "s"
    served = loop(hello, accepting(LeftAlready, bind.UnixFile(path).open()))
    served.connect().close()
    served.http.turn(1)
    newcomer = served.connect()
    newcomer.sendall(REQUEST)
    assert served.read(newcomer).endswith(b"hello")
    newcomer.close()


class Sluggish(socket.socket):
    """A socket on which sending takes a moment, as when the worker that does it is not let on."""

    sending = threading.Event()

    def send(self, data):
        self.sending.set()
        time.sleep(0.1)
        return super().send(data)


def test_a_reader_has_all_of_its_time_though_the_answer_was_long_in_coming(loop, kit):
    listening = bind.open_tcp(["127.0.0.1"], 0)[0]
    finished = threading.Event()

    def late(environ, start_response):
        finished.wait(180)
        return hello(environ, start_response)

    served = loop(late, accepting(Sluggish, listening), stalled_time=0.5)
    patient = served.connect()
    patient.sendall(REQUEST)
    asked = time.monotonic()
    kit.until(lambda: served.http.turn(0.01) or time.monotonic() - asked > 0.6)
    finished.set()
    assert Sluggish.sending.wait(180)
    for channel in served.http.connections:
        channel.enforce_deadlines(time.monotonic())
    assert served.read(patient).endswith(b"hello")
    patient.close()


@pytest.mark.parametrize("error", [SystemExit("bye"), GeneratorExit()])
def test_a_base_exception_in_the_application_is_a_500_and_the_worker_survives(loop, error):
    def leaving(environ, start_response):
        raise error

    served = loop(leaving)
    for _ in range(3):  # more than there are workers
        client = served.connect()
        client.sendall(REQUEST)
        assert served.read(client).startswith(b"HTTP/1.1 500 ")
        client.close()
    assert served.refusals == [500] * 3
