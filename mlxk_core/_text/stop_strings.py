"""Stop strings in text that arrives in pieces: the first that is complete, and what may still become one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class _Node:
    """A text that a stop string begins with.

    `fallback` is its longest proper end that a stop string begins with too. `complete` is the stop string that it ends
    with, if any. `depth` is its length.
    """

    __slots__ = ("children", "complete", "depth", "fallback")

    def __init__(self, depth: int) -> None:
        self.children: dict[str, _Node] = {}
        self.complete: str | None = None
        self.depth = depth
        self.fallback: _Node | None = None

    def after(self, character: str) -> _Node:
        """Return the longest end of this text and `character` that a stop string begins with."""
        node = self
        while character not in node.children and node.fallback is not None:
            node = node.fallback
        return node.children.get(character, node)


class StopStrings:
    """A set of stop strings, compiled once (Aho-Corasick). A match does not depend on how the text was cut.

    The string that is complete first wins, so that generation stops at the earliest token; of several complete at the
    same character, the longest. (`Markers` waits for the leftmost.) Empty strings are ignored.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        self._root = _Node(0)
        for string in strings:
            if string:
                self._insert(string)
        self._link()
        self.first = frozenset(self._root.children)
        """The characters that a stop string begins with."""

    def __bool__(self) -> bool:
        return bool(self.first)

    def matcher(self) -> StopMatcher:
        """Return a new matcher, for one response."""
        return StopMatcher(self._root, self.first)

    def _insert(self, string: str) -> None:
        node = self._root
        for character in string:
            node = node.children.setdefault(character, _Node(node.depth + 1))
        node.complete = string

    def _link(self) -> None:
        """Set the fallbacks, breadth first: that of a node is shorter than the node."""
        waiting = deque([self._root])
        while waiting:
            node = waiting.popleft()
            for character, child in node.children.items():
                child.fallback = node.fallback.after(character) if node.fallback is not None else self._root
                child.complete = child.complete or child.fallback.complete
                waiting.append(child)


class StopMatcher:
    """Finds a stop string in one response; holds back what may still become one."""

    def __init__(self, root: _Node, first: frozenset[str]) -> None:
        self._root = root
        self._first = first
        self._node = root
        self._held = ""
        self.found: str | None = None
        """The stop string in the text so far."""

    def feed(self, text: str) -> str:
        """Return the text that can be shown now. After a match, nothing more."""
        if self.found is not None:
            return ""
        if self._node is self._root and self._first.isdisjoint(text):
            return text  # the usual case: no stop string begins here
        for position, character in enumerate(text):
            self._node = self._node.after(character)
            if self._node.complete is not None:
                self.found = self._node.complete
                seen = self._held + text[: position + 1]
                self._held = ""
                return seen.removesuffix(self.found)
        seen = self._held + text
        cut = len(seen) - self._node.depth
        self._held = seen[cut:]
        return seen[:cut]

    def flush(self) -> str:
        """Return what was held back, since it is not a stop string. Matching starts over."""
        held, self._held, self._node = self._held, "", self._root
        return held
