"""SIGTERM and SIGHUP in commands that have something to clean up."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import signal
from mlxk_core.api.commands import terminations_raise
with terminations_raise():
    try:
        signal.raise_signal({number})
        print("goes on")
    finally:
        signal.raise_signal(signal.SIGHUP)
        print("cleaned up")
"""


def run(number, *, ignored=False):
    before = [f"import signal; signal.signal({number}, signal.SIG_IGN)"] if ignored else []
    program = "\n".join([*before, PROGRAM.format(number=int(number))])
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_ends_the_command_and_the_second_not_its_end(number):
    done = run(int(number))
    assert (done.returncode, done.stdout) == (128 + number, "cleaned up\n"), done.stderr


def test_an_ignored_signal_stays_ignored():
    done = run(int(signal.SIGHUP), ignored=True)
    assert (done.returncode, done.stdout) == (0, "goes on\ncleaned up\n"), done.stderr
