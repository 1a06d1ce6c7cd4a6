"""Commands whose process has limits from its start.

`preexec_fn` of `subprocess` would run Python in a copy of this process, in which locks of its other threads may be held
for ever: the test would never end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

_PREPARE = """
import ctypes, json, os, resource, signal, sys
given = json.loads(sys.argv[1])
for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and with it what it executes
    signal.signal(number, signal.SIG_DFL)
for capability in given["without"]:
    assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0  # drop it from the bounding set
if given["closed"] is not None:
    os.close(given["closed"])
signal.alarm(given["seconds"])
for name, value in given["limits"].items():
    resource.setrlimit(getattr(resource, name), (value, value))
os.execvp(sys.argv[2], sys.argv[2:])
"""


def prepared(
    command: Sequence[object],
    *,
    seconds: int = 0,
    limits: Mapping[str, int] = {},
    closed: int | None = None,
    without: Sequence[int] = (),
) -> list[str]:
    """Return a command that becomes `command`, with the same process id.

    It ends after `seconds`, whatever becomes of the test. `limits` are those of `resource`, by name; `closed` is a
    descriptor, `without` are capabilities of Linux that it and its children do not get.
    """
    given = {"seconds": seconds, "limits": limits, "closed": closed, "without": without}
    return [sys.executable, "-I", "-S", "-c", _PREPARE, json.dumps(given), *map(str, command)]
