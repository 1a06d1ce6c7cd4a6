"""Identifiers inside a schema: references that are relative to an inner `$id`, as pointers from the root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urldefrag, urljoin

_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"})
"""Keywords whose keys are names, and whose values are schemas."""
_DATA = frozenset({"enum", "const", "default", "examples", "example"})
_BEFORE_2019 = ("draft-03", "draft-04", "draft-06", "draft-07")


def with_pointers(document: Any) -> Any:
    """Return `document` with each reference that its identifiers resolve as a JSON pointer from the root.

    A document without an inner `$id` is returned as it is. What no identifier resolves stays.
    """
    if not isinstance(document, Mapping):
        return document
    old = any(draft in str(document.get("$schema", "")) for draft in _BEFORE_2019)
    index = _Index(ignores_siblings=old)
    index.read(document, "", "")
    return index.rewritten(document, "") if len(index.resources) > 1 else document


@dataclass(slots=True)
class _Index:
    """The resources of a document by URI, and anchors by URI and name; both as pointers."""

    ignores_siblings: bool
    resources: dict[str, str] = field(default_factory=dict)
    anchors: dict[tuple[str, str], str] = field(default_factory=dict)
    pointers: set[str] = field(default_factory=set)

    def base(self, schema: Mapping[str, Any], base: str) -> str:
        """Return the URI that references in `schema` are relative to."""
        name = schema.get("$id", schema.get("id"))
        if not isinstance(name, str) or name.startswith("#") or (self.ignores_siblings and "$ref" in schema):
            return base
        try:
            return urldefrag(urljoin(base, name)).url
        except ValueError:  # not a URI, so nothing is relative to it
            return base

    def read(self, value: Any, pointer: str, base: str, *, named: bool = False) -> None:
        self.pointers.add(pointer)
        if isinstance(value, Mapping):
            if not named:
                base = self._read_schema(value, pointer, base)
            for key, inner in value.items():
                if named or key not in _DATA:
                    self.read(inner, f"{pointer}/{_escaped(key)}", base, named=not named and key in _NAMED)
        elif isinstance(value, list):
            for i, inner in enumerate(value):
                self.read(inner, f"{pointer}/{i}", base)

    def _read_schema(self, schema: Mapping[str, Any], pointer: str, base: str) -> str:
        own = self.base(schema, base)
        if own != base or not pointer:
            self.resources.setdefault(own, pointer)
        names = [schema.get(key) for key in ("$anchor", "$dynamicAnchor")]
        names += [name[1:] for key in ("$id", "id") if isinstance(name := schema.get(key), str) and name[:1] == "#"]
        for name in names:
            if isinstance(name, str):
                self.anchors.setdefault((own, name), pointer)
        return own

    def rewritten(self, value: Any, base: str, *, named: bool = False) -> Any:
        if isinstance(value, list):
            return [self.rewritten(inner, base) for inner in value]
        if not isinstance(value, Mapping):
            return value
        if not named:
            base = self.base(value, base)
        return {
            key: self._pointer(inner, base)
            if key == "$ref" and isinstance(inner, str) and not named
            else inner
            if key in _DATA and not named
            else self.rewritten(inner, base, named=not named and key in _NAMED)
            for key, inner in value.items()
        }

    def _pointer(self, reference: str, base: str) -> str:
        # `urljoin` drops a base whose scheme it does not know, such as `urn:`.
        try:
            uri, fragment = urldefrag(base + reference if reference.startswith("#") else urljoin(base, reference))
        except ValueError:
            return reference
        found = self.resources.get(uri) if fragment[:1] in ("", "/") else self.anchors.get((uri, fragment))
        if found is None:
            return reference
        pointer = found + fragment if fragment[:1] == "/" else found
        return f"#{pointer}" if pointer in self.pointers else reference


def _escaped(word: str) -> str:
    return word.replace("~", "~0").replace("/", "~1").replace("%", "%25")
