"""The first requests of a server, several at once: types are made ready by the first that needs them."""

from __future__ import annotations

import subprocess
import sys

import pytest

DECODES = """
import sys, threading
from msgspec import Struct
import mlxk_messages.requests, mlxk_ollama.requests, mlxk_responses.requests
from mlxk_protocol.decode import decode

sys.setswitchinterval(1e-6)
body = b'{"model": "x", "messages": [{"role": "user", "content": "a"}], "prompt": "p", "input": "q", "max_tokens": 1}'
for module in (mlxk_messages.requests, mlxk_ollama.requests, mlxk_responses.requests):
    for kind in [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Struct)]:
        barrier = threading.Barrier(8)

        def first():
            barrier.wait()
            try:
                decode(body, kind)
            except Exception:
                pass  # not a body of this kind

        threads = [threading.Thread(target=first) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
"""


@pytest.mark.parametrize("attempt", range(6))
def test_requests_of_a_kind_may_be_the_first_ones_at_once(attempt):
    """msgspec 0.22 ended the process in one of three runs."""
    done = subprocess.run([sys.executable, "-c", DECODES], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
