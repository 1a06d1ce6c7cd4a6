"""The target of a pull: the repository, revision and variant that a reference or a web address names."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.models import NameReference, full_name, gguf_encoding, parse_reference
from mlxk_hub.names import check_name

_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_WITHOUT_SCHEME = re.compile(r"(?:www\.)?(?:huggingface\.co|hf\.co)/", re.IGNORECASE)
_PAGES = frozenset({"tree", "blob", "resolve", "raw"})  # pages of a revision; what follows is the revision and a path


@dataclass(frozen=True, slots=True)
class Target:
    """What to pull. `repository` is always `org/name`; without a revision it is main."""

    repository: str
    revision: str | None = None
    variant: str | None = None

    @property
    def reference(self) -> str:
        """The complete reference of the target."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repository}{revision}{f':{self.variant}' if self.variant else ''}"


def parse_target(text: str) -> Target:
    """Return the target that `text` names, a reference or the address of a model's page.

    The cache is not consulted, so a name always means the same model. Raises `InvalidOption`, without a request, for
    what cannot be a name on the hub.
    """
    text = text.strip()
    if "://" in text or _WITHOUT_SCHEME.match(text):
        return _from_address(text)
    parsed = parse_reference(text)
    if not isinstance(parsed, NameReference):
        raise InvalidOption("MODEL", f"`{text}` is a path. Expected a model of the hub, `org/name`.")
    if not parsed.name:
        raise InvalidOption("MODEL", "the name is empty.")
    if parsed.revision == "":
        raise InvalidOption("MODEL", f"`{text}` has no revision after the `@`.")
    if parsed.variant == "":
        raise InvalidOption("MODEL", f"`{text}` has no variant after the `:`.")
    return Target(check_name(full_name(parsed.name), "MODEL"), parsed.revision, parsed.variant)


def _from_address(text: str) -> Target:
    """Return the target of `https://huggingface.co/org/name[/tree/REVISION[/...]]` or `hf://org/name`."""
    address = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(address)
    except ValueError:
        raise InvalidOption("MODEL", f"`{text}` is not a web address.") from None
    if parts.scheme == "hf":
        path = f"{parts.netloc}{parts.path}"
    elif parts.netloc.lower() in _HOSTS | {urlsplit(os.environ.get("HF_ENDPOINT", "")).netloc.lower()}:
        path = parts.path
    else:
        raise InvalidOption("MODEL", f"`{text}` is not the page of a model on a Hugging Face Hub.")
    owner, name, page, revision, *file = [*map(unquote, path.strip("/").split("/")), "", "", "", ""]
    if parts.scheme == "hf" or (name and not page):
        # `hf.co/org/name:Q4_K_M` is how other tools write a variant.
        name, _, variant = name.partition(":")
    else:
        variant = ""
    if not name or (page and page not in _PAGES):
        raise InvalidOption("MODEL", f"`{text}` is not the page of a model. Expected https://huggingface.co/ORG/NAME.")
    last = next((part for part in reversed(file) if part), "")
    if last.lower().endswith(".gguf"):
        variant = gguf_encoding(last) or ""
    revision = revision if page and revision not in ("", "main") else ""
    return Target(check_name(f"{owner}/{name}", "MODEL"), revision or None, variant or None)
