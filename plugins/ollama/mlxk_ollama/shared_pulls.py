"""Pulls that clients share: those of one model follow one download, which ends when the last of them has left."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from mlxk_core.api.errors import Interrupted
from mlxk_core.api.server import ApiError, Cancellation
from mlxk_ollama.pull_process import Progress, PullFailed, PullProcess

MOST_PULLS = 4
"""Downloads at once. Each one is a process, and has several connections to the hub."""
MOST_CLIENTS = 32
"""Clients that follow downloads. Each one occupies a thread of the server, for as long as the download takes."""


class SharedPulls:
    """The pulls of one server. A client that follows one gets its latest progress again after `heartbeat` seconds."""

    def __init__(self, heartbeat: float) -> None:
        self._heartbeat = heartbeat
        self._lock = threading.Lock()
        self._pulls: dict[str, _Pull] = {}
        self._running = 0
        self._clients = 0

    def follow(self, name: str, cancellation: Cancellation) -> Iterator[Progress]:
        """Start a pull of `name`, or join the one that runs, and yield its progress until it ends.

        Raises `ApiError` if there are too many, `PullFailed`, and `Interrupted` once the client has left.
        """
        follower = _Follower(self, self._join(name))
        try:
            cancellation.on_cancel(follower.leave)
            yield from follower.pull.progress(follower, self._heartbeat)
        finally:
            follower.leave()

    def _join(self, name: str) -> _Pull:
        with self._lock:
            if self._clients >= MOST_CLIENTS:
                raise _too_many(f"{MOST_CLIENTS} clients")
            pull = self._pulls.get(name)
            if pull is None:
                if self._running >= MOST_PULLS:
                    raise _too_many(f"{MOST_PULLS} downloads")
                pull = _Pull(name)
                threading.Thread(target=self._run, args=(pull,), name="mlxk-pull", daemon=True).start()
                self._pulls[name] = pull
                self._running += 1
            pull.followers += 1
            self._clients += 1
            return pull

    def leave(self, pull: _Pull) -> None:
        """Note that one client has stopped to follow `pull`, and interrupt it if that was the last one."""
        with self._lock:
            self._clients -= 1
            pull.followers -= 1
            last = not pull.followers
            if last:
                self._forget(pull)
        if last:
            pull.process.interrupt()

    def _run(self, pull: _Pull) -> None:
        error: PullFailed | None = PullFailed("The pull failed.")
        try:
            error = pull.process.run(pull.advance)
        finally:
            with self._lock:
                self._running -= 1
                self._forget(pull)
            pull.end(error)

    def _forget(self, pull: _Pull) -> None:
        """Let the next client of this model start a pull. One that was interrupted counts until its process ends."""
        if self._pulls.get(pull.name) is pull:
            del self._pulls[pull.name]


class _Follower:
    """A client that follows a pull."""

    def __init__(self, pulls: SharedPulls, pull: _Pull) -> None:
        self._pulls = pulls
        self._lock = threading.Lock()
        self.pull = pull
        self.left = False

    def leave(self) -> None:
        """Stop following; once, whoever calls it."""
        with self._lock:
            if self.left:
                return
            self.left = True
        self._pulls.leave(self.pull)
        self.pull.wake()


class _Pull:
    """One pull, as its followers see it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process = PullProcess(name)
        self.followers = 0
        self._changed = threading.Condition()
        self._progress: Progress | None = None
        self._error: PullFailed | None = None
        self._over = False

    def advance(self, progress: Progress) -> None:
        with self._changed:
            self._progress = progress
            self._changed.notify_all()

    def end(self, error: PullFailed | None) -> None:
        with self._changed:
            self._error, self._over = error, True
            self._changed.notify_all()

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def progress(self, follower: _Follower, heartbeat: float) -> Iterator[Progress]:
        """Yield the latest progress whenever it has changed; a slow client misses what was in between."""
        seen: Progress | None = None
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: follower.left or self._over or self._progress is not seen,  # noqa: B023 - called here
                    heartbeat,
                )
                latest, over, error = self._progress, self._over, self._error
            if follower.left:
                raise Interrupted("The client disconnected.")
            if latest is not None and not (over and latest is seen):
                seen = latest
                yield latest
            if over:
                if error is not None:
                    raise PullFailed(str(error), kind=error.kind)  # of its own: clients raise it on several threads
                return


def _too_many(what: str) -> ApiError:
    return ApiError(
        429, f"Too many pulls: the server allows {what} at once. Try again later.", code="too_many_pulls",
        headers={"retry-after": "30"},
    )  # fmt: skip
