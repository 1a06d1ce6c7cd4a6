"""Child processes that answer within a time limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

SLEEPER = """
import sys, time
from mlxk_core.api.processes import announce, encode_message, read_message
announce(sys.stdout.buffer)
while (request := read_message(sys.stdin.buffer)) is not None:
    time.sleep(request["seconds"])
    sys.stdout.buffer.write(encode_message({"slept": request["seconds"]}))
    sys.stdout.buffer.flush()
    time.sleep(request["pause"])
"""
PARENT = """
import sys
from mlxk_core.api.processes import ChildProcess
child = ChildProcess("sleeper", task="a test")
child.request({"seconds": 0, "pause": float(sys.argv[4])}, 60)
print("ready", flush=True)
try:
    text = "x" * int(sys.argv[3])
    request = {"seconds": float(sys.argv[1]), "text": text, "pause": 0}
    print(child.request(request, float(sys.argv[2])), flush=True)
except TimeoutError:
    print("late", flush=True)
child.kill()
"""


def started(folder, seconds, limit, characters=0, pause=0):
    """A process that waits up to `limit` seconds for a child which reads a request of so many `characters` after
    `pause` seconds, and answers after `seconds`."""
    (folder / "sleeper.py").write_text(SLEEPER)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", PARENT, str(seconds), str(limit), str(characters), str(pause)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
    assert process.stdout.readline() == "ready\n"
    return process


def test_time_in_which_the_process_was_stopped_does_not_count(tmp_path):
    process = started(tmp_path, 0.2, 5)
    process.send_signal(signal.SIGSTOP)
    time.sleep(6)
    process.send_signal(signal.SIGCONT)
    assert process.communicate()[0] == "{'slept': 0.2}\n"


def test_a_child_that_takes_longer_is_late(tmp_path):
    assert started(tmp_path, 60, 0.3).communicate()[0] == "late\n"


def test_a_long_request_is_written_in_pieces(tmp_path):
    assert started(tmp_path, 0, 60, 5_000_000).communicate()[0] == "{'slept': 0.0}\n"


def test_a_child_that_does_not_read_its_request_is_late(tmp_path):
    """The request is longer than its pipe."""
    assert started(tmp_path, 0, 0.3, 5_000_000, pause=60).communicate(timeout=30)[0] == "late\n"
