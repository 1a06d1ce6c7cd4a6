"""A life-cycle listener: one line of JSON for each request, in the file that `MLXK_LEDGER` names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from mlxk_core.api import LifecycleListener, hookimpl
from mlxk_core.api.lifecycle import ModelLoaded, RequestFinished

__version__ = "0.1.0"


# --8<-- [start:listener]
@hookimpl
def mlxk_lifecycle() -> Iterable[LifecycleListener]:
    if os.environ.get("MLXK_LEDGER"):  # without a listener the events cost nothing
        yield LifecycleListener(name="ledger", on_load=on_load, on_finish=on_finish)


def on_load(event: ModelLoaded) -> None:
    _write({"loaded": event.model.name, "backend": event.backend, "seconds": round(event.seconds, 3)})


def on_finish(event: RequestFinished) -> None:
    _write(
        {
            "model": event.request.model.name,
            "client": event.request.client,
            "prompt_tokens": event.usage.prompt_tokens,
            "completion_tokens": event.usage.completion_tokens,
            "ended": event.reason or type(event.error).__name__,
        }
    )


def _write(entry: dict[str, object]) -> None:
    with Path(os.environ["MLXK_LEDGER"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


# --8<-- [end:listener]
