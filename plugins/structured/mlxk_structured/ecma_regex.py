"""ECMA-262 regular expressions, rewritten for an engine without backtracking.

JSON Schema patterns search anywhere in a string; the result always matches a whole string, so that it can stand in a
grammar. Character classes are narrowed where ECMA-262 and Python disagree (`\\s`, `\\W`), so that a match is a match in
both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

MAX_LENGTH = 4096
_MAX_DEPTH = 32
_MAX_REPEAT = 1000
_MAX_ALTERNATIVES = 64
_MAX_EXCLUDED = 400
_MAX_LOOKAHEAD = 8

_SPACE = r"\t\n\x0b\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_PYTHON_SPACE = r"\x1c-\x1f\u0085\ufeff"
_CLASSES = {
    "d": "0-9",
    "w": "A-Za-z0-9_",
    "s": _SPACE,
    "D": r"\P{Nd}",
    "W": r"[^\p{Alphabetic}\p{M}\p{N}\p{Pc}\p{Join_Control}]",
    "S": f"[^{_SPACE}{_PYTHON_SPACE}]",
}
_CONTROLS = {"t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "0": "\0"}
_DOT = r"[^\n\r\u2028\u2029]"
ANY = "(?s:.)*"


class UnsupportedPattern(ValueError):
    """The pattern is not valid, or uses what an engine without backtracking cannot do."""


@dataclass(frozen=True, slots=True)
class _Set:
    """A character of a class, written inside `[...]` and on its own."""

    inside: str
    negated: bool = False

    def __str__(self) -> str:
        return f"[{'^' if self.negated else ''}{self.inside}]"

    def complement(self) -> _Set:
        return _Set(self.inside, not self.negated)


@dataclass(frozen=True, slots=True)
class _Cat:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Alt:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    part: _Node
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class _Anchor:
    end: bool


@dataclass(frozen=True, slots=True)
class _Lookahead:
    part: _Node
    negative: bool


_Node = _Set | _Cat | _Alt | _Repeat | _Anchor | _Lookahead
_EMPTY = _Cat(())


@lru_cache(maxsize=512)
def whole_match(pattern: str) -> tuple[str, ...]:
    """Return regular expressions that a whole string must all match for `pattern` to be found in it.

    Raises `UnsupportedPattern`.
    """
    results = []
    required: list[str] = []
    for items in _alternatives(_parse(pattern)):
        begins = ends = False
        while items and isinstance(items[0], _Anchor) and not items[0].end:
            begins, items = True, items[1:]
        while items and isinstance(items[-1], _Anchor) and items[-1].end:
            ends, items = True, items[:-1]
        looks = [item for item in items if isinstance(item, _Lookahead)]
        if looks:
            head = items[: len(looks)]
            if not begins or any(not isinstance(item, _Lookahead) for item in head):
                raise UnsupportedPattern("a lookahead is supported right after a leading ^ only")
            items = items[len(looks) :]
            required += [_lookahead(look) for look in looks]
        body = "".join(map(_write, items))
        results.append(f"{'' if begins else ANY}{body}{'' if ends else ANY}")
    if required and len(results) > 1:
        raise UnsupportedPattern("a lookahead is not supported in one of several alternatives")
    return (_alternation(results), *required)


@lru_cache(maxsize=512)
def as_whole(pattern: str) -> tuple[str, ...]:
    """Return the regular expressions of a `pattern` that is meant to match a whole string."""
    return whole_match(f"^(?:{pattern})$")


def _alternation(patterns: Sequence[str]) -> str:
    return patterns[0] if len(patterns) == 1 else "|".join(f"(?:{pattern})" for pattern in patterns)


def _alternatives(node: _Node) -> list[tuple[_Node, ...]]:
    """The pattern as alternatives whose anchors and lookaheads are at their ends."""
    pending = [_flat(node)]
    done: list[tuple[_Node, ...]] = []
    while pending:
        items = pending.pop(0)
        if len(pending) + len(done) > _MAX_ALTERNATIVES:
            raise UnsupportedPattern("too many alternatives with anchors of their own")
        if len(items) == 1 and isinstance(items[0], _Alt):
            pending = [_flat(part) for part in items[0].parts] + pending
            continue
        at = next((i for i, item in enumerate(items) if _zero_width_inside(item)), None)
        if at is None:
            done.append(items)
            continue
        inner = items[at]
        if not isinstance(inner, _Alt):
            raise UnsupportedPattern("an anchor or a lookahead inside a repetition")
        if at not in (0, len(items) - 1):
            raise UnsupportedPattern("an anchor in the middle of a pattern")
        pending = [(*items[:at], *_flat(part), *items[at + 1 :]) for part in inner.parts] + pending
    for items in done:
        core = list(items)
        while core and isinstance(core[0], (_Anchor, _Lookahead)):
            if isinstance(core[0], _Anchor) and core[0].end:
                break
            del core[0]
        while core and isinstance(core[-1], _Anchor) and core[-1].end:
            del core[-1]
        if any(isinstance(item, (_Anchor, _Lookahead)) for item in core):
            raise UnsupportedPattern("an anchor or a lookahead in the middle of a pattern")
    return done


def _flat(node: _Node) -> tuple[_Node, ...]:
    if not isinstance(node, _Cat):
        return (node,)
    return tuple(item for part in node.parts for item in _flat(part))


def _zero_width_inside(node: _Node) -> bool:
    match node:
        case _Alt():
            return any(
                isinstance(item, (_Anchor, _Lookahead)) or _zero_width_inside(item)
                for part in node.parts
                for item in _flat(part)
            )
        case _Repeat():
            return any(isinstance(item, (_Anchor, _Lookahead)) or _zero_width_inside(item) for item in _flat(node.part))
    return False


def _lookahead(look: _Lookahead) -> str:
    if not look.negative:
        return _alternation([_anchored("".join(map(_write, items)), items) for items in _look_alternatives(look.part)])
    items = _flat(look.part)
    anywhere = bool(items) and items[0] == _Repeat(_Set(_DOT[2:-1], True), 0, None)
    sets = [item for item in (items[1:] if anywhere else items) if isinstance(item, _Set)]
    if len(sets) != len(items) - anywhere or not 0 < len(sets) <= _MAX_LOOKAHEAD:
        raise UnsupportedPattern("this negative lookahead")
    if not anywhere:
        rest = f"(?:{sets[-1].complement()}{ANY})?"
        for each in reversed(sets[:-1]):
            rest = f"(?:{each.complement()}{ANY}|{each}{rest})?"
        return rest
    if len(sets) == 1:
        return f"{sets[0].complement()}*"
    if len(sets) == 2 and sets[0] == sets[1]:
        return f"(?:{sets[0].complement()}|{sets[0]}{sets[0].complement()})*{sets[0]}?"
    raise UnsupportedPattern("this negative lookahead")


def _look_alternatives(node: _Node) -> Iterator[tuple[_Node, ...]]:
    if isinstance(node, _Alt):
        for part in node.parts:
            yield from _look_alternatives(part)
        return
    items = _flat(node)
    core = items[:-1] if items and isinstance(items[-1], _Anchor) and items[-1].end else items
    if any(isinstance(item, (_Anchor, _Lookahead)) or _zero_width_inside(item) for item in core):
        raise UnsupportedPattern("an anchor or a lookahead inside a lookahead")
    yield items


def _anchored(body: str, items: Sequence[_Node]) -> str:
    return body if items and isinstance(items[-1], _Anchor) else body + ANY


def _write(node: _Node) -> str:
    match node:
        case _Set():
            return str(node)
        case _Cat():
            return "".join(map(_write, node.parts))
        case _Alt():
            return "(?:" + "|".join(map(_write, node.parts)) + ")"
        case _Repeat():
            inner = _write(node.part)
            if not isinstance(node.part, _Set):
                inner = f"(?:{inner})"
            if node.most is None:
                return inner + {0: "*", 1: "+"}.get(node.least, f"{{{node.least},}}")
            return inner + ("?" if (node.least, node.most) == (0, 1) else f"{{{node.least},{node.most}}}")
        case _Anchor():
            return ""
    raise UnsupportedPattern("a lookahead here")


def _parse(pattern: str) -> _Node:
    if len(pattern) > MAX_LENGTH:
        raise UnsupportedPattern(f"it has {len(pattern)} characters; at most {MAX_LENGTH} are supported")
    parser = _Parser(pattern)
    node = parser.alternation(0)
    if parser.at < len(pattern):
        raise UnsupportedPattern(f"an unmatched ) at character {parser.at}")
    return node


class _Parser:
    """A recursive descent over one pattern."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self, word: str) -> bool:
        return self.text.startswith(word, self.at)

    def take(self, word: str) -> bool:
        found = self.peek(word)
        self.at += len(word) if found else 0
        return found

    def next(self) -> str:
        if self.at >= len(self.text):
            raise UnsupportedPattern("it ends too early")
        self.at += 1
        return self.text[self.at - 1]

    def alternation(self, depth: int) -> _Node:
        if depth > _MAX_DEPTH:
            raise UnsupportedPattern("groups are nested too deep")
        parts = [self.sequence(depth)]
        while self.take("|"):
            parts.append(self.sequence(depth))
        return parts[0] if len(parts) == 1 else _Alt(tuple(parts))

    def sequence(self, depth: int) -> _Node:
        parts: list[_Node] = []
        while self.at < len(self.text) and not self.peek("|") and not self.peek(")"):
            parts.append(self.quantified(self.atom(depth)))
        return parts[0] if len(parts) == 1 else _Cat(tuple(parts))

    def quantified(self, node: _Node) -> _Node:
        bounds = self.bounds()
        if bounds is None:
            return node
        if isinstance(node, (_Anchor, _Lookahead)):
            raise UnsupportedPattern("a repeated anchor or lookahead")
        self.take("?") or self.take("+")  # lazy and possessive match the same strings
        if self.bounds() is not None:
            raise UnsupportedPattern("a repetition of a repetition")
        return _Repeat(node, *bounds)

    def bounds(self) -> tuple[int, int | None] | None:
        if self.take("*"):
            return 0, None
        if self.take("+"):
            return 1, None
        if self.take("?"):
            return 0, 1
        if not self.peek("{"):
            return None
        end = self.text.find("}", self.at)
        least, comma, most = self.text[self.at + 1 : end].partition(",") if end > 0 else ("", "", "")
        if not (least.isascii() and least.isdigit()) or not (most == "" or (most.isascii() and most.isdigit())):
            return None  # a brace that means itself
        self.at = end + 1
        low, high = int(least), (int(most) if most else None) if comma else int(least)
        if low > _MAX_REPEAT or (high or 0) > _MAX_REPEAT:
            raise UnsupportedPattern(f"a repetition of more than {_MAX_REPEAT}")
        if high is not None and high < low:
            raise UnsupportedPattern("a repetition whose bounds are reversed")
        return low, high

    def atom(self, depth: int) -> _Node:
        character = self.next()
        match character:
            case "(":
                return self.group(depth)
            case "[":
                return self.bracket()
            case ".":
                return _Set(_DOT[2:-1], True)
            case "^" | "$":
                return _Anchor(character == "$")
            case "\\":
                return self.escape()
            case "*" | "+" | "?":
                raise UnsupportedPattern(f"nothing to repeat at character {self.at - 1}")
        return _one(character)

    def group(self, depth: int) -> _Node:
        negative = False
        look = False
        if self.take("?"):
            if self.take("=") or self.take("!"):
                look, negative = True, self.text[self.at - 1] == "!"
            elif self.take("<=") or self.take("<!"):
                raise UnsupportedPattern("a lookbehind")
            elif self.take("<") or self.take("P<"):
                end = self.text.find(">", self.at)
                if end < 0:
                    raise UnsupportedPattern("unterminated group name")
                self.at = end + 1
            elif not self.take(":"):
                raise UnsupportedPattern(f"the group (?{self.text[self.at : self.at + 2]}")
        inner = self.alternation(depth + 1)
        if not self.take(")"):
            raise UnsupportedPattern("unterminated group")
        return _Lookahead(inner, negative) if look else inner

    def escape(self) -> _Node:
        character = self.next()
        if character in _CLASSES:
            return _Set(_CLASSES[character])
        if character in "pP":
            return _Set(self.property(character))
        if character in "bB":
            raise UnsupportedPattern("a word boundary")
        if character in "AzZ":
            return _Anchor(character != "A")
        if character in "123456789k":
            raise UnsupportedPattern("a back-reference")
        return _one(self.code(character))

    def code(self, character: str) -> str:
        """Return the character that an escape represents."""
        if character in _CONTROLS:
            return _CONTROLS[character]
        if character == "x":
            return self.hexadecimal(2)
        if character == "u":
            if self.take("{"):
                end = self.text.find("}", self.at)
                return self.hexadecimal(max(0, end - self.at), closing=1)
            high = self.hexadecimal(4)
            if "\ud800" <= high <= "\udbff" and self.take("\\u"):
                low = self.hexadecimal(4)
                return (high + low).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return high
        if character == "c":
            return chr(ord(self.next()) % 32)
        if character.isalnum():
            raise UnsupportedPattern(f"the escape \\{character}")
        return character

    def hexadecimal(self, digits: int, *, closing: int = 0) -> str:
        text = self.text[self.at : self.at + digits]
        try:
            value = chr(int(text, 16)) if len(text) == digits and digits else ""
        except (ValueError, OverflowError):
            value = ""
        if not value:
            raise UnsupportedPattern(f"the character code {text!r}")
        self.at += digits + closing
        return value

    def property(self, letter: str) -> str:
        end = self.text.find("}", self.at)
        if not self.take("{") or end < 0:
            raise UnsupportedPattern("\\p without a property")
        name = self.text[self.at : end]
        if not name.replace("_", "").replace("=", "").isalnum():
            raise UnsupportedPattern(f"the property {name!r}")
        self.at = end + 1
        return f"\\{letter}{{{name}}}"

    def bracket(self) -> _Node:
        negated = self.take("^")
        items: list[str] = []
        while not self.take("]"):
            low = self.member()
            if len(low) == 1 and self.peek("-") and not self.peek("-]"):
                self.at += 1
                high = self.member()
                if len(high) > 1:
                    items += [_code(low), _code("-"), high]
                    continue
                if high < low:
                    raise UnsupportedPattern("a range whose ends are reversed")
                items.append(f"{_code(low)}-{_code(high)}")
            else:
                items.append(_code(low) if len(low) == 1 else low)
        if not items:  # [] matches nothing, [^] everything
            return _Set(r"\x00-\u{10FFFF}", not negated)
        return _Set("".join(items), negated)

    def member(self) -> str:
        """A character of a bracket, or more than one letter: a class of the target's syntax."""
        character = self.next()
        if character != "\\":
            return character
        character = self.next()
        if character in _CLASSES:
            return _CLASSES[character] if len(_CLASSES[character]) > 1 else _CLASSES[character] + _CLASSES[character]
        if character in "pP":
            return self.property(character)
        if character == "b":
            return "\b"
        return self.code(character)


def literal(text: str) -> str:
    """Return an expression that matches exactly `text`."""
    return "".join(_code(character) for character in text)


def _one(character: str) -> _Set:
    return _Set(_code(character))


def _code(character: str) -> str:
    """A character as it is written in a class: letters and digits as they are, everything else by its code."""
    if character.isascii() and character.isalnum():
        return character
    if "\ud800" <= character <= "\udfff":
        raise UnsupportedPattern("half of a surrogate pair")
    return f"\\u{{{ord(character):x}}}"


def excluding(texts: Sequence[str]) -> str:
    """Return an ECMA-262 pattern that finds every string but `texts`. Raises `UnsupportedPattern` for long ones."""
    if max(map(len, texts), default=0) > _MAX_EXCLUDED:
        raise UnsupportedPattern(f"the exclusion of a text of more than {_MAX_EXCLUDED} characters")
    return f"^(?:{_but(sorted(set(texts)), 0)})$"


def _but(texts: Sequence[str], at: int) -> str:
    """Return a pattern of what may follow the first `at` characters, which all `texts` share."""
    if len(texts) == 1 and len(texts[0]) == at:
        return "[^]+"
    begins = [text[at] for text in texts if len(text) > at]
    branches = [] if any(len(text) == at for text in texts) else [""]
    branches.append(f"[^{''.join(map(_code, sorted(set(begins))))}][^]*")
    for first in sorted(set(begins)):
        rest = [text for text in texts if len(text) > at and text[at] == first]
        branches.append(f"{_code(first)}(?:{_but(rest, at + 1)})")
    return "|".join(branches)


def not_matching(pattern: str) -> list[str]:
    """Return ECMA-262 patterns that only strings match in which `pattern` is not found. Raises `UnsupportedPattern`.

    They cover a pattern of one repeated class, of a few characters at the beginning, or of one character anywhere.
    """
    [items, *others] = _alternatives(_parse(pattern))
    begins = bool(items) and isinstance(items[0], _Anchor) and not items[0].end
    ends = bool(items) and isinstance(items[-1], _Anchor) and items[-1].end
    body = items[begins : len(items) - ends]
    if others or any(isinstance(item, (_Anchor, _Lookahead)) for item in body):
        raise UnsupportedPattern("its complement")
    if begins and ends:
        characters = [_single(item) if isinstance(item, _Set) else None for item in body]
        if None not in characters:
            return [excluding(["".join(filter(None, characters))])]
        only = body[0] if len(body) == 1 else None
        if isinstance(only, _Repeat) and isinstance(only.part, _Set) and only.most is None and only.least < 2:
            return [str(only.part.complement()), *(["^$"] if only.least else [])]
        raise UnsupportedPattern("its complement")
    source = "".join(map(_write, body))
    found = f"^(?!{source})" if begins else f"^(?!.*{source})"
    if ends:
        raise UnsupportedPattern("its complement")
    whole_match(found)
    return [found]


def of_length(pattern: str, least: int, most: int | None) -> str | None:
    """Return an expression that a whole string must match to match `pattern` and have `least` to `most` characters.

    None unless it can be written as one: `pattern` names the characters one by one, and repeats at most one class.
    """
    try:
        [items, *others] = _alternatives(_parse(pattern))
    except UnsupportedPattern:
        return None
    body = items[1:-1]
    anchored = len(items) > 1 and items[0] == _Anchor(False) and items[-1] == _Anchor(True)
    repeats = [item for item in body if isinstance(item, _Repeat) and isinstance(item.part, _Set)]
    if others or not anchored or len(repeats) > 1 or any(not isinstance(i, _Set) and i not in repeats for i in body):
        return None
    fixed = len(body) - len(repeats)
    low, high = (repeats[0].least, repeats[0].most) if repeats else (0, 0)
    low = max(low, least - fixed)
    tops = [top for top in (high, None if most is None else most - fixed) if top is not None]
    if tops and min(tops) < low:
        return None
    bounds = f"{{{low},{min(tops) if tops else ''}}}"
    return "".join(f"{item.part}{bounds}" if isinstance(item, _Repeat) else str(item) for item in body)


def _single(part: _Set) -> str | None:
    """The only character of a class."""
    if part.negated:
        return None
    if len(part.inside) == 1:
        return part.inside
    if part.inside.startswith("\\u{") and part.inside.index("}") == len(part.inside) - 1:
        return chr(int(part.inside[3:-1], 16))
    return None
