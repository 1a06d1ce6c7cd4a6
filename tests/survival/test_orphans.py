"""Survives … a server that is killed: what its child processes compute ends too."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from mlxk_testing.tiny_models import in_hub_cache, random_model

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% if a < 0 %}x{% endif %}{% endfor %}{% endfor %}"


def seconds(pid):
    """The CPU time of a process, None once it has ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if status[0] == "Z" else (int(status[11]) + int(status[12])) / os.sysconf("SC_CLK_TCK")


def test_survives_nothing_of_an_endless_template_when_the_server_is_killed(launch, kit):
    in_hub_cache("tiny/endless", lambda folder: random_model(folder, chat_template=ENDLESS) and None)
    server = launch(model="tiny/endless")
    thread = threading.Thread(target=_chat, args=(server,))
    thread.start()
    found = []

    def renders():
        for path in Path(f"/proc/{server.popen.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # threads end meanwhile
                for pid in map(int, path.read_text().split()):
                    busy = b"template_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
                    if busy and (seconds(pid) or 0) > 1:
                        found.append(pid)
        return found

    kit.until(renders)
    server.popen.send_signal(signal.SIGKILL)
    server.popen.wait()
    thread.join()
    kit.until(lambda: seconds(found[0]) is None)


def _chat(server):
    try:
        server.client.chat()
    except OSError:
        pass  # the server is gone
