"""A chat at a terminal while another model loads: the load takes until the test sends SIGUSR1."""

import os
import signal
import sys

import pexpect
import pytest

from mlxk_testing.fake_engine import fake_model

GRACE = 180  # seconds after which a test is stuck; never a measure of speed
CHAT = """
import signal, sys
from mlxk_core.api.commands import run
from mlxk_core.api.host import Host
from mlxk_run import plugin
from mlxk_testing.fake_engine import fake_backend

host = Host(strict=True)
host.register(plugin, name="run")
held, quick = fake_backend("Hello.", kind="held"), fake_backend("Hello.", kind="quick")
held.script.hold_load.set()
signal.signal(signal.SIGUSR1, lambda number, frame: held.script.hold_load.clear())
host.register(held, name="held")
host.register(quick, name="quick")
sys.exit(run(["run", sys.argv[1]], host=host))
"""


@pytest.fixture
def chat(tmp_path):
    """A chat with the model `first` that has begun to load the model `second`."""
    for name, kind in (("first", "quick"), ("second", "held")):
        fake_model(tmp_path / name, kind=kind)
    child = pexpect.spawn(
        sys.executable,
        ["-c", CHAT, str(tmp_path / "first")],
        encoding="utf-8",
        timeout=GRACE,
        dimensions=(24, 200),
        env={**os.environ, "TERM": "xterm"},
    )
    child.expect("You:")
    child.send(f"/model {tmp_path / 'second'}\r")
    child.expect("Loading second")
    yield child
    child.close(force=True)


def leave(chat):
    chat.expect("You:")
    chat.sendeof()
    chat.expect("Goodbye!")
    chat.expect(pexpect.EOF)
    chat.wait()
    assert chat.exitstatus == 0


def test_what_is_typed_meanwhile_is_hidden_and_comes_after_it(chat):
    chat.send("/show typed-ahead\r")
    chat.kill(signal.SIGUSR1)
    chat.expect("Chatting with second")
    assert "typed-ahead" not in chat.before
    chat.expect("unknown setting `typed-ahead`")
    leave(chat)


def test_ctrl_c_stops_the_load_and_keeps_the_model_before(chat):
    chat.sendintr()
    chat.expect(r"\[stopped\]")
    chat.expect("You:")
    chat.send("/show\r")
    chat.expect("model +first")
    chat.expect("You:")
    chat.send("Hi\r")
    chat.expect(r"Hello\.")
    leave(chat)
