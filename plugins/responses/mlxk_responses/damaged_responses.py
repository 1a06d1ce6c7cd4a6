"""Errors for stored responses that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from mlxk_core.api.errors import Kind, MlxkError

NOT_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Errors of msgspec for bytes that are not the JSON of a type."""


class StoreUnavailable(MlxkError):
    """The file of stored responses, or one of them, cannot be read."""

    kind = Kind("store_unavailable", 1, 503)


def damaged_response() -> StoreUnavailable:
    """Return the error for a stored response that mlxk has not written so."""
    return StoreUnavailable(
        "The stored response is damaged or too large to be read. Send the whole conversation instead."
    )


@contextmanager
def raise_damaged() -> Iterator[None]:
    """Raise `StoreUnavailable` for what is read inside and is not JSON of its type."""
    try:
        yield
    except NOT_JSON as error:
        raise damaged_response() from error
