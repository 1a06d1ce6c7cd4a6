"""A compact JSON value read byte by byte along its schema, to find the items that must be distinct."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from mlxk_structured.json_schema import DISTINCT, Schema
from mlxk_structured.used_items import UsedItems

Node = Mapping[str, Any]

_CALL_KEYS = frozenset({"arguments", "parameters"})
_ZERO = (b"0", b"-0")
_NONE = UsedItems()
_KINDS = {
    "{": ("object",), "[": ("array",), '"': ("string",), "t": ("boolean",), "f": ("boolean",), "n": ("null",),
    **dict.fromkeys("-0123456789", ("number", "integer")),
}  # fmt: skip
"""The types of the values that begin with a character."""


class _Mode(Enum):
    VALUE = auto()  # a value begins, or an empty container ends
    SCALAR = auto()  # in a number, true, false or null: the next byte may end it
    STRING = auto()
    KEY = auto()  # a key begins, or an empty object ends
    KEY_STRING = auto()
    COLON = auto()
    AFTER = auto()


@dataclass(frozen=True, slots=True)
class Frame:
    """An open container. `distinct` says that its items, or the keys of an object, are; `used` are those it has.
    `begin` is where the current one begins."""

    parent: Frame | None
    array: bool
    nodes: tuple[Node, ...]
    distinct: bool
    begin: int
    index: int = 0
    key: str = ""
    used: UsedItems = _NONE

    def excludes(self, node: Node) -> bool:
        """Whether `node` is an object without the key."""
        closed = node.get("additionalProperties") is False and "patternProperties" not in node
        return closed and self.key not in node.get("properties", {})


class Repeated(Exception):
    """An item is equal to one before it, where all have to be distinct."""


@dataclass(frozen=True, slots=True)
class State:
    """Position of a scanner."""

    length: int
    mode: _Mode
    escaped: bool
    frame: Frame | None


class Walk:
    """The schemas that apply at a place of a value, of all that may: a union of branches counts as all of them."""

    def __init__(self, schemas: tuple[Schema, ...]) -> None:
        self._definitions: dict[int, Schema] = {}
        self._flat: dict[int, tuple[Node, ...]] = {}
        self.roots: tuple[Node, ...] = ()
        for schema in schemas:
            self.roots += self._flatten(schema.root, schema)
        self.like_calls = any(_takes_call_keys(node) for node in self.roots if _allows(node, "object"))
        """A value may look like the call that surrounds it."""

    def into(self, frame: Frame) -> tuple[Node, ...]:
        """Return the schemas of the item or the property that `frame` is at."""
        return tuple(inner for node in frame.nodes for part in _parts(node, frame) for inner in self._of(node, part))

    def _of(self, parent: Node, part: Any) -> tuple[Node, ...]:
        found = self._flat.get(id(part))
        return self._flatten(part, self._definitions[id(parent)]) if found is None else found

    def _flatten(self, part: Any, schema: Schema) -> tuple[Node, ...]:
        if not isinstance(part, Mapping):
            return ()
        found: dict[int, Node] = {}
        waiting = [part]
        while waiting:
            node = waiting.pop()
            if not isinstance(node, Mapping) or id(node) in found:
                continue
            found[id(node)] = node
            self._definitions[id(node)] = schema
            for key in ("anyOf", "allOf"):
                waiting.extend(node.get(key, ()))
            if "$ref" in node:
                waiting.append(schema.definitions[node["$ref"].rpartition("/")[2]])
        self._flat[id(part)] = tuple(found.values())
        return self._flat[id(part)]


def _parts(node: Node, frame: Frame) -> Iterator[Any]:
    if frame.array:
        prefix = node.get("prefixItems", ())
        yield prefix[frame.index] if frame.index < len(prefix) else node.get("items")
        return
    properties = node.get("properties", {})
    if frame.key in properties:
        yield properties[frame.key]
    else:
        yield node.get("additionalProperties")
    yield from node.get("patternProperties", {}).values()


class Scanner:
    """Reads one value from its opening bracket on. `done` at its end; `failed` where the text is not compact JSON."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._text = bytearray()
        self._mode = _Mode.VALUE
        self._escaped = False
        self.frame: Frame | None = None
        self.done = False
        self.failed = False

    def state(self) -> State:
        """Return what `restore` goes back to."""
        return State(len(self._text), self._mode, self._escaped, self.frame)

    def restore(self, state: State) -> None:
        """Forget what was read since `state`."""
        del self._text[state.length :]
        self._mode, self._escaped, self.frame = state.mode, state.escaped, state.frame
        self.done = self.failed = False

    @property
    def frames(self) -> Iterator[tuple[Frame, bytes]]:
        """Yield the open containers of distinct items where one is not complete, with what is written of it."""
        frame = self.frame
        while frame is not None:
            inside = frame is not self.frame or self._mode is not _Mode.AFTER
            if frame.distinct and (inside if frame.array else self._mode in (_Mode.KEY, _Mode.KEY_STRING)):
                yield frame, bytes(self._text[frame.begin :])
            frame = frame.parent

    @property
    def expects_container(self) -> bool:
        """Whether a value that the schema describes begins here."""
        if self._mode is not _Mode.VALUE or self.frame is None:
            return False
        return any(_allows(node, kind) for node in self._walk.into(self.frame) for kind in ("object", "array"))

    @property
    def watches(self) -> bool:
        """Whether any open container has items that must be distinct."""
        frame = self.frame
        while frame is not None:
            if frame.distinct:
                return True
            frame = frame.parent
        return False

    def feed(self, byte: int) -> None:
        """Read one byte. Raises `Repeated`."""
        if self._mode is _Mode.SCALAR and byte in b",]}":
            self._ended()
        self._text.append(byte)
        match self._mode:
            case _Mode.STRING | _Mode.KEY_STRING:
                self._string(byte)
            case _Mode.SCALAR:
                self.failed = byte in b' \t\n\r"{[:'
            case _Mode.VALUE:
                self._value(byte)
            case _Mode.KEY:
                if byte == 0x22:
                    self._mode = _Mode.KEY_STRING
                elif byte == 0x7D:
                    self._close(array=False)
                else:
                    self.failed = True
            case _Mode.COLON:
                self._mode, self.failed = _Mode.VALUE, byte != 0x3A
            case _Mode.AFTER:
                self._after(byte)

    def _string(self, byte: int) -> None:
        if byte < 0x20:
            self.failed = True
        elif self._escaped:
            self._escaped = False
        elif byte == 0x5C:
            self._escaped = True
        elif byte == 0x22:
            if self._mode is _Mode.STRING:
                self._ended()
            else:
                self._key_ended()

    def _value(self, byte: int) -> None:
        frame = self.frame
        if byte == 0x5D and frame is not None and frame.array and frame.index == 0:
            self._close(array=True)
            return
        kinds = _KINDS.get(chr(byte), ())
        described = self._walk.roots if frame is None else self._walk.into(frame)
        nodes = tuple(node for node in described if any(_allows(node, kind) for kind in kinds))
        if frame is not None and described and not nodes:
            self.failed = True  # not a value of this schema
        elif byte in b"[{":
            array = byte == 0x5B
            distinct = any(node.get(DISTINCT) for node in nodes)
            self.frame = Frame(frame, array, nodes, distinct, len(self._text))
            self._mode = _Mode.VALUE if array else _Mode.KEY
        elif byte == 0x22:
            self._mode = _Mode.STRING
        elif byte in b"-0123456789tfn":
            self._mode = _Mode.SCALAR
        else:
            self.failed = True

    def _after(self, byte: int) -> None:
        frame = self.frame
        assert frame is not None
        if byte == 0x2C:
            self.frame = replace(frame, index=frame.index + 1, begin=len(self._text))
            self._mode = _Mode.VALUE if frame.array else _Mode.KEY
        elif byte in b"]}":
            self._close(array=byte == 0x5D)
        else:
            self.failed = True

    def _close(self, *, array: bool) -> None:
        frame = self.frame
        assert frame is not None
        if frame.array is not array:
            self.failed = True
            return
        self.frame = frame.parent
        self.done = self.frame is None
        if self.frame is not None:
            self._ended()

    def _ended(self) -> None:
        """A value is complete."""
        self._mode = _Mode.AFTER
        if self.frame is not None and self.frame.array and self.frame.distinct:
            self._use(bytes(self._text[self.frame.begin :]))

    def _key_ended(self) -> None:
        frame = self.frame
        assert frame is not None
        self._mode = _Mode.COLON
        text = bytes(self._text[frame.begin :])
        try:
            key = json.loads(text)
        except ValueError:
            self.failed = True
            return
        self.frame = replace(frame, key=key)
        if frame.nodes and all(map(self.frame.excludes, frame.nodes)):
            self.failed = True  # not a value of this schema
        if frame.distinct:
            self._use(text)

    def _use(self, text: bytes) -> None:
        frame = self.frame
        assert frame is not None
        try:
            value = _hashable(json.loads(text))
        except (ValueError, RecursionError):
            self.failed = True
            return
        if value in frame.used.values:
            raise Repeated
        self.frame = replace(frame, used=frame.used.add(_ZERO if text in _ZERO else (text,), value))


def _allows(node: Node, kind: str) -> bool:
    kinds = node.get("type", kind)
    return kind in (kinds if isinstance(kinds, list) else [kinds])


def _takes_call_keys(node: Node) -> bool:
    """Whether an object of `node` can have a key that calls have, with an object as its value."""
    if node.get("properties", {}).keys() & _CALL_KEYS or node.get("patternProperties"):
        return True
    others = node.get("additionalProperties", True)
    return others is True or (isinstance(others, Mapping) and _allows(others, "object"))


def _hashable(value: Any) -> Any:
    """A value that equals another one exactly where JSON Schema says that they are equal."""
    match value:
        case bool():
            return ("boolean", value)
        case list():
            return ("array", *map(_hashable, value))
        case dict():
            return ("object", frozenset((key, _hashable(inner)) for key, inner in value.items()))
    return value
