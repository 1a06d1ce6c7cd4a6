"""Stop strings in text that arrives in pieces: the first that is complete, and what may still become one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class StopStrings:
    """A set of stop strings, compiled once (Aho-Corasick). A match does not depend on how the text was cut.

    The string that is complete first wins, so that generation stops at the earliest token; of several complete at the
    same character, the longest. (`Markers` waits for the leftmost.) Empty strings are ignored.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        self._next: list[dict[str, int]] = [{}]
        self._fail = [0]
        self._found: list[str | None] = [None]
        self._depth = [0]
        for string in strings:
            if string:
                self._insert(string)
        self._link()
        self.first = frozenset(self._next[0])
        """The characters that a stop string begins with."""

    def __bool__(self) -> bool:
        return len(self._next) > 1

    def matcher(self) -> StopMatcher:
        """Return a new matcher, for one response."""
        return StopMatcher(self)

    def _insert(self, string: str) -> None:
        node = 0
        for character in string:
            following = self._next[node].get(character)
            if following is None:
                following = len(self._next)
                self._next[node][character] = following
                self._next.append({})
                self._fail.append(0)
                self._found.append(None)
                self._depth.append(self._depth[node] + 1)
            node = following
        self._found[node] = string

    def _link(self) -> None:
        waiting = deque(self._next[0].values())
        while waiting:
            node = waiting.popleft()
            for character, child in self._next[node].items():
                self._fail[child] = self.step(self._fail[node], character)
                self._found[child] = self._found[child] or self._found[self._fail[child]]
                waiting.append(child)

    def step(self, node: int, character: str) -> int:
        while node and character not in self._next[node]:
            node = self._fail[node]
        return self._next[node].get(character, 0)

    def found(self, node: int) -> str | None:
        return self._found[node]

    def depth(self, node: int) -> int:
        return self._depth[node]


class StopMatcher:
    """Finds a stop string in one response; holds back what may still become one."""

    def __init__(self, strings: StopStrings) -> None:
        self._strings = strings
        self._node = 0
        self._held = ""
        self.found: str | None = None
        """The stop string in the text so far."""

    def feed(self, text: str) -> str:
        """Return the text that can be shown now. After a match, nothing more."""
        if self.found is not None:
            return ""
        if not self._node and self._strings.first.isdisjoint(text):
            return text  # the usual case: no stop string begins here
        for position, character in enumerate(text):
            self._node = self._strings.step(self._node, character)
            found = self._strings.found(self._node)
            if found is not None:
                seen = self._held + text[: position + 1]
                self.found = found
                self._held = ""
                return seen[: len(seen) - len(found)]
        seen = self._held + text
        held = self._strings.depth(self._node)
        self._held = seen[len(seen) - held :]
        return seen[: len(seen) - held]

    def flush(self) -> str:
        """Return what was held back, since it is not a stop string. Matching starts over."""
        held, self._held, self._node = self._held, "", 0
        return held
