"""Threads that the system does not let start."""

from __future__ import annotations

import threading

import pytest

from mlxk_serve.http.thread_pool import ThreadPool

NO_THREAD = RuntimeError("can't start new thread")


@pytest.fixture
def limit(monkeypatch):
    """`limit(True)`: no thread can be started."""
    start = threading.Thread.start

    def set_limit(reached):
        def refuse(thread):
            raise NO_THREAD

        monkeypatch.setattr(threading.Thread, "start", refuse if reached else start)

    return set_limit


def test_a_lack_of_threads_takes_no_thread_away(limit):
    pool, done = ThreadPool("test", 2), threading.Semaphore(0)
    limit(True)
    for _ in range(5):
        pool.submit(done.release)
    limit(False)
    for _ in range(5):
        assert done.acquire(timeout=180)
    both = threading.Barrier(3)
    for _ in range(2):
        pool.submit(lambda: both.wait(180) and None)
    both.wait(180)
    pool.stop()


def test_the_threads_there_are_do_the_work_when_no_other_can_be_started(limit):
    pool, go, done = ThreadPool("test", 2), threading.Event(), threading.Event()
    pool.submit(lambda: go.wait(180) and None)
    limit(True)
    pool.submit(done.set)
    limit(False)
    assert not done.is_set()
    go.set()
    assert done.wait(180)
    pool.stop()


def test_a_client_with_much_work_leaves_threads_to_others():
    pool, go, order = ThreadPool("test", 4), threading.Event(), []
    began, done = threading.Semaphore(0), threading.Semaphore(0)

    def work(name):
        def run():
            began.release()
            assert go.wait(180)
            order.append(name)
            done.release()

        return run

    for _ in range(20):
        pool.submit(work("many"), "many")
    assert began.acquire(timeout=180)
    assert began.acquire(timeout=180)
    other = threading.Event()
    pool.submit(other.set, "other")
    assert other.wait(180)
    assert not order
    assert not began.acquire(blocking=False)  # two of four threads
    go.set()
    for _ in range(20):
        assert done.acquire(timeout=180)
    pool.stop()


def test_two_clients_with_much_work_leave_threads_to_others():
    pool, go, began = ThreadPool("test", 8), threading.Event(), threading.Semaphore(0)

    def work():
        began.release()
        go.wait(180)

    for client, threads in (("one", 4), ("two", 2)):
        for _ in range(20):
            pool.submit(work, client)
        for _ in range(threads):
            assert began.acquire(timeout=180)
    for client in ("three", "four"):
        other = threading.Event()
        pool.submit(other.set, client)
        assert other.wait(180)
    assert not began.acquire(blocking=False)
    go.set()
    for _ in range(34):
        assert began.acquire(timeout=180)
    pool.stop()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/tokenize", "/v1/models"])
def test_requests_without_free_threads_are_answered(serve, engine, limit, path):
    client = serve().client
    client.get("/health")  # the threads of the server itself

    def ask():
        if path == "/v1/models":
            return client.get(path)
        return client.chat() if path.startswith("/v1") else client.post(path, {"model": "fake", "prompt": "Hi"})

    limit(True)
    try:
        answers = [ask() for _ in range(20)]
    finally:
        limit(False)
    if path == "/v1/models":
        assert {answer.status for answer in answers} == {200}
    else:  # the model cannot be loaded
        assert {answer.status for answer in answers} == {503}
        assert {answer.error["code"] for answer in answers} == {"system_limit"}
    assert ask().status == 200
