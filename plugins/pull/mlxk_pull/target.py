"""What the user wants to have: the repository, revision and variant that a reference means for pull."""

from __future__ import annotations

from dataclasses import dataclass

from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.models import NameReference, parse_reference
from mlxk_hub.names import check_name

DEFAULT_OWNER = "mlx-community"


@dataclass(frozen=True, slots=True)
class Wanted:
    """`repository` is always `org/name`; no revision means main."""

    repository: str
    revision: str | None = None
    variant: str | None = None

    @property
    def reference(self) -> str:
        """How a user would type exactly this."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repository}{revision}{f':{self.variant}' if self.variant else ''}"


def wanted(text: str) -> Wanted:
    """Takes a reference as the hub's: what is cached here plays no part, so it never means another model.

    Refuses whatever cannot be a name on the hub, before anybody is asked.
    """
    if "://" in text:
        raise InvalidOption("MODEL", f"`{text}` is a web address; a model of the hub is named `org/name`.")
    parsed = parse_reference(text)
    if not isinstance(parsed, NameReference):
        raise InvalidOption("MODEL", f"`{text}` is a path; pull downloads a model of the hub, named `org/name`.")
    if not parsed.name:
        raise InvalidOption("MODEL", "the name is empty.")
    if parsed.revision == "":
        raise InvalidOption("MODEL", f"`{text}` names no revision after the `@`.")
    if parsed.variant == "":
        raise InvalidOption("MODEL", f"`{text}` names no variant after the `:`.")
    name = parsed.name if "/" in parsed.name else f"{DEFAULT_OWNER}/{parsed.name}"
    return Wanted(check_name(name, "MODEL"), parsed.revision, parsed.variant)
