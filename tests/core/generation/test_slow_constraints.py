"""Constraints that take long to check or to compile: no thread that submits or reads waits for them."""

import gc
import subprocess
import sys
import threading
import weakref

import pytest

from mlxk_core._generation.slow_checks import SlowCheck, SlowChecks
from mlxk_core.api import ConstraintSpec, hookimpl
from mlxk_core.api.errors import InvalidConstraint, PluginFailure
from mlxk_core.api.generation import Constraint, Finished, Started
from mlxk_testing.fake_engine import fake_backend

GRACE = 180


class Anything:
    complete = False

    def mask(self):
        return None

    def accept(self, token, /):
        pass


class Slow:
    """A compiler that waits in the step that a value begins with; other values are quick."""

    def __init__(self):
        self.opened = {name: threading.Event() for name in ("check", "compile")}
        self.begun, self.checked, self.cancelled = [], [], threading.Event()

    @hookimpl
    def mlxk_constraints(self):
        yield ConstraintSpec(kind="slow", target=lambda: self)

    def may_take_long(self, grammar, vocabulary=None, /):
        return grammar.value.startswith("check" if vocabulary is None else "compile")

    def check(self, grammar, /, *, waiting=lambda: None):
        if grammar.value.startswith("check"):
            self._wait(grammar.value, waiting)
        self.checked.append(grammar.value)
        if "bad" in grammar.value:
            raise InvalidConstraint("slow", "it is bad", path="$.a")
        if "broken" in grammar.value:
            raise ZeroDivisionError

    def compile(self, grammar, vocabulary, /, *, waiting=lambda: None):
        if grammar.value.startswith("compile"):
            self._wait(grammar.value, waiting)
        return Anything()

    def _wait(self, value, waiting):
        self.begun.append(value)
        event = self.opened[value.split()[0]]
        for _ in range(GRACE * 10):
            if event.wait(0.1):
                return
            try:
                waiting()
            except BaseException:
                self.cancelled.set()
                raise
        raise AssertionError("it was not opened")


@pytest.fixture
def slow(house):
    slow = Slow()
    house.open(fake_backend("Hello there.", spec={"constraints": True}), slow)
    yield slow
    for event in slow.opened.values():
        event.set()


def ask(house, value, **options):
    constraint = Constraint(kind="slow", value=value, option="schema")
    return house.ask(house.model(), constraint=constraint, **options)


def test_a_check_that_takes_long_is_done_after_submit_and_before_the_response(house, slow):
    generation = ask(house, "check")
    assert slow.checked == []
    slow.opened["check"].set()
    assert house.until(generation, Started)
    assert slow.checked == ["check"]
    assert generation.result().content == "Hello there."


def test_one_that_is_quick_is_an_error_of_submit(house, slow):
    with pytest.raises(InvalidConstraint):
        ask(house, "bad")


def test_the_error_of_a_long_check_is_that_of_a_quick_one(house, slow):
    with pytest.raises(InvalidConstraint) as quick:
        ask(house, "bad")
    slow.opened["check"].set()
    with pytest.raises(InvalidConstraint) as long:
        ask(house, "check bad").result()
    facts = [(error.value.option, error.value.reason, error.value.path) for error in (quick, long)]
    assert facts == [("schema", "it is bad", "$.a")] * 2


def test_a_compiler_that_fails_in_a_long_check_is_named(house, slow):
    slow.opened["check"].set()
    house.host.isolation.strict = False
    with pytest.raises(PluginFailure):
        ask(house, "check broken").result()


@pytest.mark.parametrize("value", ["check", "compile"])
def test_reading_waits_for_nothing_that_takes_long(house, slow, value):
    generation = ask(house, value)
    ready, events = threading.Event(), []
    generation.on_update(ready.set)
    while not any(isinstance(event, Finished) for event in events):
        assert ready.wait(GRACE)
        ready.clear()
        while (new := generation.poll()) is not None:  # the compiler waits for what is set below only
            events += new
            if any(isinstance(event, Finished) for event in events):
                break
        slow.opened[value].set()
    assert any(isinstance(event, Started) for event in events)


@pytest.mark.parametrize("end", ["cancel", "close"])
@pytest.mark.parametrize("value", ["check", "compile"])
def test_a_client_that_leaves_ends_what_takes_long(house, slow, value, end):
    generation = ask(house, value)
    while value not in slow.begun:
        generation.next(0.1)
    getattr(generation, end)()
    assert slow.cancelled.wait(GRACE)
    assert ask(house, "quick").result().content == "Hello there."


def test_a_client_with_many_long_checks_does_not_delay_another_one(house, slow):
    flood = [ask(house, f"check {i}", client="flood") for i in range(20)]
    other = ask(house, "check other", client="other")
    house.wait_for(lambda: "check other" in slow.begun)
    assert len(slow.begun) <= 3
    for generation in flood:
        generation.close()
    slow.opened["check"].set()
    assert other.result().content == "Hello there."


def test_checks_that_were_cancelled_before_their_turn_are_not_done(house, slow):
    for generation in [ask(house, f"check {i}") for i in range(20)]:
        generation.close()
    slow.opened["check"].set()
    ask(house, "check last").result()
    assert len(slow.begun) <= 3


def test_a_check_that_was_cancelled_before_its_turn_is_forgotten():
    """Its client may send any number of requests and leave, while two of its checks run."""
    checks, opened = SlowChecks(), threading.Event()
    first = SlowCheck(lambda waiting: opened.wait(GRACE) and None, lambda error: None)
    checks.submit("client", first)
    last = SlowCheck(lambda waiting: None, lambda error: None)
    checks.submit("client", last)
    last.cancel()
    forgotten = weakref.ref(last)
    del last
    gc.collect()
    assert forgotten() is None
    opened.set()


WITHOUT_THREADS = """
import resource, threading
from pathlib import Path
from mlxk_core._generation.slow_checks import SlowCheck, SlowChecks

checks, failed, over = SlowChecks(), [], threading.Event()
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (taken + (4 << 20), limits[1]))  # a thread takes 8 MB
for _ in range(70):  # more than there may be threads
    checks.submit("client", SlowCheck(lambda waiting: print("it ran"), failed.append))
resource.setrlimit(resource.RLIMIT_AS, limits)
checks.submit("client", SlowCheck(lambda waiting: over.set(), failed.append))
assert over.wait(180)
assert [type(error) for error in failed] == [RuntimeError] * 70
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_checks_fail_while_there_are_no_threads_and_not_for_ever():
    done = subprocess.run([sys.executable, "-c", WITHOUT_THREADS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
