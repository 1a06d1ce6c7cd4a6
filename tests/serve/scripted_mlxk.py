"""`mlxk` with the scripted engine only, as a process: `python scripted_mlxk.py '{"step_seconds": 1}' serve …`."""

from __future__ import annotations

import json
import sys

from mlxk_core._cli.main import run
from mlxk_core._host.host import Host
from mlxk_testing.fake_engine import fake_backend


def main() -> int:
    script = json.loads(sys.argv[1])
    hang = script.pop("hang", False)
    host = Host(strict=True)
    backend = fake_backend(script.pop("answer", "Hello, world."), **script)
    if hang:
        backend.script.hang.set()
    host.register(backend, name="fake")
    import mlxk_serve.plugin

    host.register(mlxk_serve.plugin, name="serve")
    return run(sys.argv[2:], host=host)


if __name__ == "__main__":
    sys.exit(main())
