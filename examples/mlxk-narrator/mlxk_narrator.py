"""A stop policy: a model that was trained on plays goes on as a narrator, and should stop there."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core.api import Model, StopPolicy, hookimpl

__version__ = "0.1.0"


# --8<-- [start:policy]
@hookimpl
def mlxk_stop_policies(model: Model) -> Iterable[StopPolicy]:
    if model.config.get("model_type") == "playwright":
        yield StopPolicy(
            stop_tokens=frozenset({"<|curtain|>"}),  # ends the answer
            keep_tokens=frozenset({"<|aside|>"}),  # the model's files call it a stop token, and it is not
            stop_strings=("\nNarrator:",),  # in chats only
        )


# --8<-- [end:policy]
