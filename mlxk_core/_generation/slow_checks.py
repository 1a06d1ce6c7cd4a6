"""Checks of constraints that may take long: on threads of their own, where every client has its turn."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from functools import partial

from mlxk_core._errors import Interrupted
from mlxk_core._isolation.stdout import quiet_thread
from mlxk_core._processes.client_queues import ClientQueues

_THREADS = 64
_OF_CLIENT = 2
"""Checks of one client that run at once: a slow one does not delay the next one of the same client."""
_BEGINNING_SECONDS = 5.0
"""How long a check may be silent before the next one begins: a compiler should say earlier that it takes long."""
_QUICK_SECONDS = 0.01
_IDLE_SECONDS = 10.0
_HALF_LIFE = 60.0
_CLIENTS = 1024


class SlowCheck:
    """One check. `work` is called with a function that raises `Interrupted` after `cancel`; `on_error` gets what it
    raises, unless the check was cancelled."""

    def __init__(
        self,
        work: Callable[[Callable[[], None]], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._work = work
        self._on_error = on_error
        self.cancelled = False
        self.on_cancel: Callable[[], None] = lambda: None
        self.on_long: Callable[[], None] = lambda: None
        """Called when the work first says that it takes long."""
        self.is_long = False

    def cancel(self) -> None:
        """End the check soon. From any thread, and from a signal handler."""
        self.cancelled = True
        self.on_cancel()

    def run(self) -> None:
        """Do the work, unless it was cancelled."""
        if self.cancelled:
            return
        try:
            with quiet_thread():
                self._work(self._waiting)
        except BaseException as error:  # a panic in a Rust extension is not an `Exception`
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Report `error`, unless the check was cancelled."""
        if not self.cancelled:
            self._on_error(error)

    def _waiting(self) -> None:
        if not self.is_long:
            self.is_long = True
            self.on_long()
        if self.cancelled:
            raise Interrupted("The request was cancelled.")


class SlowChecks:
    """Runs checks on daemon threads that are started on demand.

    One begins after the other: the next one begins when that has ended or says that it takes long, so that a check that
    is quick waits for none that is not. The client whose checks took the least time of late is next, with at most two
    at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._queues = ClientQueues[str, SlowCheck]()
        self._running: dict[SlowCheck, tuple[str, float]] = {}
        self._usage = Usage()
        self._threads = 0
        self._idle = 0

    def submit(self, client: str, check: SlowCheck) -> None:
        """Run `check` in the turn of `client`."""
        with self._lock:
            self._queues.append(client, check)
            check.on_cancel = partial(self._drop, client, check)
            check.on_long = self._on_long
            try:
                self._call_thread()
            except RuntimeError as error:
                self._drop(client, check)
                check.fail(error)

    def _drop(self, client: str, check: SlowCheck) -> None:
        """Forget a check that waits: its client may send any number of requests and leave."""
        with self._lock:  # reentrant: a signal handler may interrupt a thread that holds it
            self._queues.discard(client, check)

    def _call_thread(self) -> None:
        """Let a thread see to what is in the queues. Raises `RuntimeError` if no thread can be started."""
        if self._idle:
            self._lock.notify()
        elif self._threads < _THREADS:
            try:
                threading.Thread(target=self._run, name="mlxk-check", daemon=True).start()
                self._threads += 1
            except RuntimeError:
                if not self._threads:
                    raise

    def _run(self) -> None:
        while (check := self._take()) is not None:
            try:
                check.run()
            finally:
                self._leave(check)
            del check  # an idle thread must not hold the last request

    def _take(self) -> SlowCheck | None:
        """Wait for a check whose turn it is; None if there has been none for a while."""
        with self._lock:
            idle_until = time.monotonic() + _IDLE_SECONDS
            while True:
                now = time.monotonic()
                client = self._next_client(now)
                wait = idle_until - now if client is None else self._until_one_may_begin(now)
                if client is not None and wait <= 0:
                    return self._begin(client, now)
                if client is None and wait <= 0:
                    self._threads -= 1
                    return None
                self._idle += 1
                self._lock.wait(wait)
                self._idle -= 1

    def _begin(self, client: str, now: float) -> SlowCheck:
        check = self._queues.take(client)
        self._running[check] = client, now
        if self._queues:
            self._call_thread()
        return check

    def _next_client(self, now: float) -> str | None:
        running, used = Counter[str](), defaultdict[str, float](float)
        for check, (client, began) in self._running.items():
            running[client] += 1
            used[client] += _cost(check, now - began)
        ready = [client for client in self._queues if running[client] < _OF_CLIENT]
        return min(ready, key=lambda client: used[client] + self._usage.of(client), default=None)

    def _until_one_may_begin(self, now: float) -> float:
        """Return the seconds until the check that is beginning counts as a long one, 0 if none is."""
        begun = [began for check, (_, began) in self._running.items() if not check.is_long]
        return max(begun, default=-math.inf) + _BEGINNING_SECONDS - now

    def _on_long(self) -> None:
        with self._lock:
            self._lock.notify()

    def _leave(self, check: SlowCheck) -> None:
        with self._lock:
            client, began = self._running.pop(check)
            self._usage.add(client, _cost(check, time.monotonic() - began))
            self._lock.notify()


def _cost(check: SlowCheck, seconds: float) -> float:
    """Return what a check counts for that has run for `seconds`. A quick one has mostly waited for those before it."""
    return seconds if check.is_long or check.cancelled else min(seconds, _QUICK_SECONDS)


class Usage:
    """The time that the long checks of each client took, of which half is forgotten every minute."""

    def __init__(self) -> None:
        self._seconds: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def of(self, client: str) -> float:
        """Return the seconds of `client`."""
        seconds, at = self._seconds.get(client, (0.0, 0.0))
        return seconds * math.exp2(-(time.monotonic() - at) / _HALF_LIFE)

    def add(self, client: str, seconds: float) -> None:
        """Count `seconds` of `client`."""
        self._seconds[client] = self.of(client) + seconds, time.monotonic()
        self._seconds.move_to_end(client)
        while len(self._seconds) > _CLIENTS:
            self._seconds.popitem(last=False)
