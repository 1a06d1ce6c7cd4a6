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
"""
PARENT = """
import sys
from mlxk_core.api.processes import ChildProcess
child = ChildProcess("sleeper", task="a test")
child.request({"seconds": 0}, 60)
print("ready", flush=True)
try:
    print(child.request({"seconds": float(sys.argv[1])}, float(sys.argv[2])), flush=True)
except TimeoutError:
    print("late", flush=True)
child.kill()
"""


def started(folder, seconds, limit):
    """A process that waits up to `limit` seconds for a child which answers after `seconds`."""
    (folder / "sleeper.py").write_text(SLEEPER)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", PARENT, str(seconds), str(limit)]
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
