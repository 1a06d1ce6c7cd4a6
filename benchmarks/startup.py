"""Measure how long `mlxk --help` takes, and a bare click program next to it.

    uv run python benchmarks/startup.py [--runs 10]

Prints the best CPU time of each, which other processes on the machine disturb least, and the modules that take longest
to import. Bytecode is written and used, as in an installation. In a development environment each editable distribution
is one more folder on `sys.path`, which costs 10 to 20 ms that an installation does not have.
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


ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def cpu_seconds(runs: int) -> dict[str, float]:
    """Return the best CPU time of `runs` runs of each program, in turn, after one that writes the bytecode."""
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for round in range(runs + 1):
        for name, args in PROGRAMS.items():
            seconds = _one_run(args)
            if round > 0:
                times[name].append(seconds)
    return {name: min(seconds) for name, seconds in times.items()}


def _one_run(args: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    nowhere = subprocess.DEVNULL
    subprocess.run([sys.executable, *args], stdout=nowhere, stderr=nowhere, env=ENVIRONMENT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def slowest_imports(count: int) -> list[tuple[float, str]]:
    """Return the modules of `mlxk --help` that take longest themselves, in milliseconds."""
    command = [sys.executable, "-X", "importtime", "-m", "mlxk_core", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**ENVIRONMENT, "NO_COLOR": "1"})
    found = re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", done.stderr)
    return sorted(((int(micros) / 1000, name) for micros, name in found), reverse=True)[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    for name, seconds in cpu_seconds(runs).items():
        print(f"{name:26} {seconds * 1000:6.0f} ms")
    for milliseconds, name in slowest_imports(10):
        print(f"  {milliseconds:6.1f} ms  {name}")


if __name__ == "__main__":
    main()
