"""The section `[responses]` of the settings file."""

from __future__ import annotations

from dataclasses import dataclass

from mlxk_core.api.settings import setting


@dataclass(frozen=True, kw_only=True)
class ResponsesSettings:
    """Storage settings of responses in `mlxk serve`."""

    file: str | None = setting("SQLite file for stored responses; without it they are kept in memory.", form="file")
    max_responses: int = setting("Stored responses at most; the oldest are dropped.", default=1_000, least=1)
    max_bytes: int = setting("Bytes of stored responses at most.", default=64 * 2**20, least=2**16)
    max_age: float = setting("Drop stored responses after this time.", default=24 * 3600.0, above=0, form="duration")
