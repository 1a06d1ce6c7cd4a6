"""Many threads do everything at once to one service: nothing is lost, nothing hangs, nothing is left behind."""

import random
import threading
import time
from collections import Counter

import pytest

from mlxk_core._errors import EngineFailure, QueueFull, ShuttingDown
from mlxk_core._generation.events import Delta, Finished
from mlxk_testing.fake_engine import fake_backend

CLIENTS, REQUESTS = 6, 8
ANSWER = "All work and no play makes a model a dull one."


class Crowd:
    """Threads that ask, read, leave, cancel and forget, each by its own random numbers."""

    def __init__(self, house, models, seed):
        self.house = house
        self.models = models
        self.ends = Counter()
        self.wrong = []
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._live, args=(random.Random(seed * 1000 + number),), daemon=True)
            for number in range(CLIENTS)
        ]

    def start(self):
        for thread in self._threads:
            thread.start()

    def join(self):
        for thread in self._threads:
            thread.join(self.house.GRACE)
        return not any(thread.is_alive() for thread in self._threads)

    def _live(self, dice):
        for _ in range(REQUESTS):
            try:
                generation = self.house.ask(dice.choice(self.models), "x" * dice.randrange(1, 40))
            except QueueFull:
                self._note("refused")
                continue
            except ShuttingDown:
                self._note("turned away")
                return
            try:
                with generation:
                    live = dice.choice([self._read, self._leave, self._cancel, self._cancel_from_beside])
                    self._note(live(generation, dice))
            except ShuttingDown:
                self._note("shut down")
                return
            except EngineFailure:
                self._note("failed")
            except BaseException as error:
                self.wrong.append(error)
                raise

    def _note(self, end):
        with self._lock:
            self.ends[end] += 1

    def _read(self, generation, dice):
        completion = generation.result()
        if completion.content != ANSWER or completion.finish_reason != "stop":
            self.wrong.append(completion)
        return "read"

    def _leave(self, generation, dice):
        for _ in range(dice.randrange(6)):
            generation.next(self.house.GRACE)
        return "left"

    def _cancel(self, generation, dice):
        for _ in range(dice.randrange(6)):
            if isinstance(generation.next(self.house.GRACE), Finished):
                return "read"
        generation.cancel()
        return self._to_the_end(generation)

    def _cancel_from_beside(self, generation, dice):
        threading.Timer(dice.random() * 0.02, generation.cancel).start()
        return self._to_the_end(generation)

    def _to_the_end(self, generation):
        events = list(generation)
        text = "".join(event.text for event in events if isinstance(event, Delta))
        if not isinstance(events[-1], Finished) or text not in ANSWER:
            self.wrong.append(events)
        return events[-1].reason


def trouble(script, dice):
    """Something that goes wrong in an engine, or stops going wrong."""
    kind = dice.choice(["step", "load", "reset", "remove", "close", "memory", "none", "none"])
    if kind == "step":
        script.fail_step = RuntimeError("a step")
    elif kind == "load":
        script.fail_load = RuntimeError("a load")
    elif kind == "none":
        script.faults.clear()
    else:
        script.faults[kind] = RuntimeError(kind)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("end", ["when all is done", "in the middle"])
def test_many_concurrent_requests_release_everything(house, seed, end):
    dice = random.Random(seed)
    backends = [fake_backend(ANSWER, kind=kind, prefill_chunk=7, step_seconds=0.0002) for kind in "ab"]
    ttl = dice.choice([None, 0.01])
    service = house.open(*backends, memory=dice.choice([1500, 5000]), concurrency=3, queue=5, ttl=ttl)
    crowd = Crowd(house, [house.model("alpha", kind="a"), house.model("beta", kind="b")], seed)
    crowd.start()
    until = time.monotonic() + 0.15
    while time.monotonic() < until:
        trouble(dice.choice(backends).script, dice)
        time.sleep(dice.random() * 0.01)
        service.status()
    for backend in backends:
        backend.script.faults.clear()
    if end == "in the middle":
        assert service.close(house.GRACE)
    assert crowd.join(), "somebody waits for ever"
    assert crowd.wrong == []
    house.wait_for(lambda: service.status().waiting + service.status().active == 0)
    assert all(model.leases == 0 for model in service.status().models)
    counters = service.status().counters
    ended = counters.finished + counters.failed + counters.cancelled
    assert ended == sum(crowd.ends.values()) - crowd.ends["refused"] - crowd.ends["turned away"]
