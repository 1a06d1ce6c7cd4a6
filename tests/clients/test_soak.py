"""Many clients on two models, many of whom leave rudely, leave nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_many_clients_that_come_and_go_leave_nothing_behind():
    command = [sys.executable, str(BENCHMARKS / "soak.py"), "--streams", "160", "--clients", "40", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ended"]["whole"] > 40
    assert report["streams"] - report["ended"]["whole"] > 40
