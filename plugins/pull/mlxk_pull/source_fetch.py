"""Downloads by model sources of plugins: `mlxk pull SOURCE:NAME`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlxk_core.api.commands import Session
from mlxk_core.api.errors import Interrupted, InvalidOption
from mlxk_core.api.hooks import FetchingSource
from mlxk_core.api.text import human_size
from mlxk_pull.progress import show_progress


@dataclass(frozen=True, slots=True)
class SourceFetch:
    """A model that a source downloads. `name` is what the user typed, `model` its name in the source."""

    name: str
    model: str
    source: str
    fetching: FetchingSource

    def run(self, session: Session, *, progress_json: bool) -> dict[str, Any]:
        """Download the model, and return what `--json` prints."""
        output = session.output
        revision = self.source if progress_json else None
        with show_progress(output, self.name, 0, revision=revision) as progress:
            try:
                found = self.fetching.fetch(self.model, progress.update)
            except KeyboardInterrupt:
                raise Interrupted("Stopped.") from None
        size = found.size
        output.line(f"Downloaded {self.name} ({human_size(size)}).")
        return {
            "model": self.name,
            "source": self.source,
            "status": "downloaded",
            "path": str(found.path),
            "size_bytes": size,
        }


def source_fetch(session: Session, name: str, given: list[str]) -> SourceFetch | None:
    """Return the download of `SOURCE:NAME` if that source can fetch; None for any other name.

    Raises `InvalidOption` for an option of `given`, which only the hub has.
    """
    prefix, separator, model = name.partition(":")
    for spec, source in session.host.model_sources():
        if separator and spec.name == prefix and isinstance(source, FetchingSource):
            if given:
                raise InvalidOption(given[0], f"cannot be used with models of the source {spec.name}")
            return SourceFetch(name, model, spec.name, source)
    return None
