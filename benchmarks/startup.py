"""Measure how long `mlxk --help` takes, and a bare click program next to it.

    uv run python benchmarks/startup.py [--runs 10]

Prints the best CPU time of each, which other processes on the machine disturb least, and the modules that take longest
to import.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
from collections.abc import Sequence

BARE_CLICK = "import click\n@click.group()\ndef program(): pass\nprogram(['--help'])"
PROGRAMS = {
    "python -c pass": ["-c", "pass"],
    "bare click program": ["-c", BARE_CLICK],
    "mlxk --version": ["-m", "mlxk_core", "--version"],
    "mlxk --no-plugins --help": ["-m", "mlxk_core", "--no-plugins", "--help"],
    "mlxk --help": ["-m", "mlxk_core", "--help"],
}


def cpu_seconds(args: Sequence[str], runs: int) -> float:
    """Return the best CPU time of `runs` runs of this Python with `args`."""
    return min(_one_run(args) for _ in range(runs))


def _one_run(args: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def slowest_imports(count: int) -> list[tuple[float, str]]:
    """Return the modules of `mlxk --help` that take longest themselves, in milliseconds."""
    command = [sys.executable, "-X", "importtime", "-m", "mlxk_core", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "NO_COLOR": "1"})
    found = re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", done.stderr)
    return sorted(((int(micros) / 1000, name) for micros, name in found), reverse=True)[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    for name, args in PROGRAMS.items():
        print(f"{name:26} {cpu_seconds(args, runs) * 1000:6.0f} ms")
    for milliseconds, name in slowest_imports(10):
        print(f"  {milliseconds:6.1f} ms  {name}")


if __name__ == "__main__":
    main()
