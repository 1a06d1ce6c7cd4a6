"""Grammar parts written as a Lark grammar in llguidance's dialect."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from mlxk_core.api.errors import InvalidConstraint
from mlxk_core.api.generation import AnyText, Literal, Matches, OneOf, Part, RawString, Repeat, Sequence, UpTo
from mlxk_structured import json_schema
from mlxk_structured.ecma_regex import ANY, UnsupportedPattern, as_whole, literal, whole_match
from mlxk_structured.json_schema import SchemaError

GRAMMARS = ("lark", "gbnf")
"""Kinds of constraints that are grammars of the client."""
MAX_LENGTH = 256_000
"""Characters of a grammar or a pattern that a client sends."""
MAX_CHOICES = 10_000
MAX_LEVELS = 200
"""Levels of a schema, or rules of a client's grammar, that llguidance's recursion certainly has room for."""
_CACHED_SCHEMAS = 128
_CACHED_LENGTH = 16_000
"""Characters of a schema that is cached: 128 of them take 64 MB at most. Larger ones are tried in a process, and
written once."""
_COMPACT = {"whitespace_flexible": False}
_DEFINITION = re.compile(r"^[ \t]*[?!]?[\w.-]+[ \t]*(?:\[[^\]\n]*\][ \t]*)?(?::|::=)", re.MULTILINE)
_EMBEDDED = re.compile(r"%(?:json|lark|regex)\b")
_NOT_AHEAD = '\n%llguidance {"no_forcing": true}\n'
"""Of each grammar: the model decides into which tokens a text is cut that can be no other. llguidance would write it
ahead, without a limit: after `/b+/ /b+/`, whose first part is as long as it can be, that is for ever, on the thread of
the engine. It would also have it tokenized there, and wait for the tokenizer's process."""
_RULE = re.compile(r"^[ \t]*(?:start[ \t]*:|%llguidance\b)", re.MULTILINE)


def json_grammar(schema: json_schema.Schema, part: Mapping[str, Any] | None = None) -> str:
    """Return the `%json` expression of a schema: compact, since endless white space is a known failure."""
    return "%json " + json.dumps({**schema.document(part), "x-guidance": _COMPACT})


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar as Lark. `distinct` are the schemas in it that want distinct items, which Lark cannot say; a `deep`
    one has so many levels that compiling it may overflow the stack."""

    text: str
    distinct: tuple[json_schema.Schema, ...] = ()
    deep: bool = False


def lark(part: Part, markers: Mapping[str, int]) -> Grammar:
    """Return the grammar of `part` for a vocabulary with `markers`. Raises `InvalidConstraint` without an option."""
    if isinstance(part, Matches) and part.kind in GRAMMARS:
        text = user_grammar(part)
        return Grammar(text + _NOT_AHEAD, deep=_is_deep(text))
    writing = _Writing(markers)
    writing.rules["start"] = writing.write(part)
    rules = "\n".join(f"{name}: {body}" for name, body in writing.rules.items())
    return Grammar(f"{rules}\n{_NOT_AHEAD}", tuple(writing.distinct), writing.levels > MAX_LEVELS)


def _is_deep(text: str) -> bool:
    return bool(_EMBEDDED.search(text)) or len(_DEFINITION.findall(text)) > MAX_LEVELS


def user_grammar(part: Matches) -> str:
    """Return a client's Lark or GBNF grammar as Lark. Raises `InvalidConstraint`."""
    import llguidance

    text = part.value
    if not isinstance(text, str) or not text.strip():
        raise InvalidConstraint(part.kind, "a grammar must be a text that is not empty")
    if len(text) > MAX_LENGTH:
        raise InvalidConstraint(part.kind, f"the grammar has {len(text)} characters; at most {MAX_LENGTH} are allowed")
    if _RULE.search(text):
        return text
    try:
        return str(llguidance.gbnf_to_lark.gbnf_to_lark(text))
    except RecursionError:
        raise InvalidConstraint(part.kind, "the grammar is nested too deep") from None
    except Exception as error:  # its parser raises bare exceptions
        raise InvalidConstraint(part.kind, f"the grammar is not valid: {error}") from None


@dataclass(slots=True)
class _Writing:
    markers: Mapping[str, int]
    rules: dict[str, str] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    distinct: list[json_schema.Schema] = field(default_factory=list)
    levels: int = 0

    def write(self, part: Part) -> str:
        match part:
            case Literal(text):
                return self._literal(text)
            case AnyText(without):
                return self._any_text(without)
            case UpTo(ends):
                return self._up_to(ends)
            case Matches():
                return self._matches(part)
            case RawString():
                return self._raw_string(part)
            case Sequence(parts):
                return " ".join(filter(None, self._sequence(parts))) or '""'
            case OneOf(parts):
                return "(" + " | ".join(self.write(inner) or '""' for inner in parts) + ")"
            case Repeat(inner, least, most):
                body = self._rule(self.write(inner))
                if (least, most) == (1, 1):
                    return body
                return body + {(0, 1): "?", (0, None): "*", (1, None): "+"}.get(
                    (least, most), f"{{{least},{'' if most is None else most}}}"
                )
        raise TypeError(f"{part!r} is not a grammar part")

    def _sequence(self, parts: tuple[Part, ...]) -> Iterator[str]:
        """Write parts one after the other. llguidance reads the longest text that a terminal allows, and free text
        allows the beginning of what ends it: so that is a part of the terminal."""
        parts = tuple(_flat(parts))
        at = 0
        while at < len(parts):
            part = parts[at]
            at += 1
            if isinstance(part, AnyText) and at < len(parts):
                yield self._text_before(part, Sequence(parts[at:]))
                return
            if isinstance(part, RawString):
                begin = at
                while at < len(parts) and isinstance(parts[at], Literal):
                    at += 1
                following = "".join(each.text for each in parts[begin:at] if isinstance(each, Literal))
                first, *pieces = self._split(following) or ("",)
                if isinstance(first, str):
                    yield self._raw_string(part, first)
                    yield self._pieces(pieces)
                else:
                    yield self._raw_string(part)
                    yield self._pieces([first, *pieces])
                continue
            yield self.write(part)

    def _text_before(self, text: AnyText, rest: Part) -> str:
        """Write free text, then `rest`, which may begin with one of the markers that end the text."""
        options = [f"{self._any_text(text.without)} {self.write(rest)}"]
        for marker in text.without:
            following = None if marker in self.markers else _after(marker, rest)
            if following is not None:
                others = tuple(other for other in text.without if other != marker)
                ended = self._rule(f"(/{ANY}/{self._not_containing(others)}) {_quoted(marker)}", terminal=True)
                options.append(f"{self._rule(ended, options='[lazy]')} {self.write(following)}")
        return "(" + " | ".join(options) + ")"

    def _rule(self, body: str, *, options: str = "", terminal: bool = False) -> str:
        """The name of a rule with this body."""
        key = f"{options}{terminal}{body}"
        if key not in self.known:
            name = f"{'T' if terminal else 'r'}{len(self.rules)}"
            self.known[key] = name
            self.rules[name + options] = body
        return self.known[key]

    def _literal(self, text: str) -> str:
        return self._pieces(self._split(text)) or '""'

    def _pieces(self, pieces: Iterable[str | int]) -> str:
        return " ".join(f"<[{piece}]>" if isinstance(piece, int) else _quoted(piece) for piece in pieces)

    def _split(self, text: str) -> list[str | int]:
        """`text` cut into markers (their ids) and what is between them; the longest marker at a place wins."""
        known = sorted((marker for marker in self.markers if marker and marker in text), key=len, reverse=True)
        if not known:
            return [text] if text else []
        pieces = re.split("(" + "|".join(map(re.escape, known)) + ")", text)
        return [self.markers.get(piece, piece) if i % 2 else piece for i, piece in enumerate(pieces) if piece]

    def _any_text(self, without: tuple[str, ...]) -> str:
        return self._rule(f"/{ANY}/{self._not_containing(without)}", terminal=True)

    def _not_containing(self, texts: tuple[str, ...]) -> str:
        """Return what excludes `texts` from a terminal. Markers are tokens of their own, and never a part of text."""
        return "".join(f" & ~(/{ANY}/ {_quoted(text)} /{ANY}/)" for text in texts if text not in self.markers)

    def _up_to(self, ends: tuple[str, ...]) -> str:
        options = []
        plain = [text for text in ends if text not in self.markers]
        tokens = [self.markers[text] for text in ends if text in self.markers]
        if plain:
            options.append(self._rule(f"/{ANY}/ ({' | '.join(map(_quoted, plain))})", options="[lazy]"))
        if tokens:
            text = self._any_text(tuple(plain))
            options.append(f"{text} ({' | '.join(f'<[{token}]>' for token in tokens)})")
        return options[0] if len(options) == 1 else "(" + " | ".join(options) + ")"

    def _matches(self, part: Matches) -> str:
        match part.kind:
            case "json_schema":
                try:
                    schema, text = _written_schema(part)
                except SchemaError as error:
                    raise InvalidConstraint(part.kind, error.problem, path=error.path) from None
                if schema.distinct:
                    self.distinct.append(schema)
                self.levels = max(self.levels, schema.levels)
                return self._rule(text)
            case "json_object":
                return self._rule('%json {"type": "object", "x-guidance": {"whitespace_flexible": false}}')
            case "regex":
                return self._rule(_intersection(_regex(part)), terminal=True)
            case "choice":
                return "(" + " | ".join(map(_quoted, _choices(part))) + ")"
            case "lark" | "gbnf":
                return self._nested(part)
        raise InvalidConstraint(part.kind, f"a constraint of kind {part.kind} cannot be part of another grammar")

    def _nested(self, part: Matches) -> str:
        """A client's grammar inside another one, as a grammar of its own: its rule names are its own too."""
        text = re.sub(r"(?m)^[ \t]*%llguidance[^\n]*\n", "", user_grammar(part))
        if _is_deep(text):
            self.levels = MAX_LEVELS + 1
        return self._rule("%lark {\n" + text + _NOT_AHEAD + "}")

    def _raw_string(self, part: RawString, end: str = "") -> str:
        """Write a raw string and the text that follows it."""
        body = _intersection(_string_patterns(part)) + self._not_containing(part.without)
        return self._rule(f"({body}) {_quoted(end)}" if end else body, terminal=True)


def _written_schema(part: Matches) -> tuple[json_schema.Schema, str]:
    """Return a schema and its `%json` expression, from the cache if it was written lately. Raises `SchemaError`."""
    try:
        text = json.dumps(part.value)
    except (TypeError, ValueError, RecursionError):
        text = ""
    if 0 < len(text) <= _CACHED_LENGTH:
        return _cached_schema(text, part.lenient)
    schema = json_schema.normalize(part.value, lenient=part.lenient)
    return schema, json_grammar(schema)


@lru_cache(maxsize=_CACHED_SCHEMAS)
def _cached_schema(text: str, lenient: bool) -> tuple[json_schema.Schema, str]:
    schema = json_schema.normalize(json.loads(text), lenient=lenient)
    return schema, json_grammar(schema)


def _flat(parts: Iterable[Part]) -> Iterator[Part]:
    """Yield `parts` with those of sequences among them in their place."""
    for part in parts:
        if isinstance(part, Sequence):
            yield from _flat(part.parts)
        else:
            yield part


def _after(text: str, part: Part) -> Part | None:
    """Return what follows `text` in what `part` allows, None if nothing of it begins with `text`."""
    match part:
        case Literal(whole):
            return Literal(whole[len(text) :]) if whole.startswith(text) else None
        case Sequence(parts):
            parts = tuple(inner for inner in parts if inner not in (Literal(""), Sequence(())))
            following = _after(text, parts[0]) if parts else None
            return None if following is None else Sequence((following, *parts[1:]))
        case OneOf(parts):
            found = tuple(inner for inner in (_after(text, inner) for inner in parts) if inner is not None)
            return OneOf(found) if found else None
        case Repeat(inner, least, most) if most != 0:
            following = _after(text, inner)
            more = Repeat(inner, max(0, least - 1), None if most is None else most - 1)
            return None if following is None else following if most == 1 else Sequence((following, more))
    return None


def _regex(part: Matches) -> tuple[str, ...]:
    if not isinstance(part.value, str) or not part.value:
        raise InvalidConstraint(part.kind, "a regular expression must be a text that is not empty")
    try:
        return as_whole(part.value)
    except UnsupportedPattern as error:
        raise InvalidConstraint(part.kind, f"the pattern is not supported: {error}") from None


def _choices(part: Matches) -> list[str]:
    values = part.value
    if not isinstance(values, list) or not values or not all(isinstance(value, str) and value for value in values):
        raise InvalidConstraint(part.kind, "it must be a list of texts that are not empty, with at least one")
    if len(values) > MAX_CHOICES or sum(map(len, values)) > MAX_LENGTH:
        raise InvalidConstraint(part.kind, f"more than {MAX_CHOICES} choices or {MAX_LENGTH} characters")
    return list(dict.fromkeys(values))


def _string_patterns(part: RawString) -> tuple[str, ...]:
    """Return the expression that a whole raw string must match."""
    schema = part.schema if isinstance(part.schema, Mapping) else {}
    allowed = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(allowed, list):
        texts = [value for value in allowed if isinstance(value, str)]
        if texts:
            return ("|".join(map(literal, texts)),)
    patterns: list[str] = []
    least, most = _count(schema.get("minLength")), _count(schema.get("maxLength"))
    if least is not None or most is not None:
        patterns.append(f"(?s:.){{{least or 0},{'' if most is None else most}}}")
    if isinstance(schema.get("pattern"), str):
        try:
            patterns += whole_match(schema["pattern"])
        except UnsupportedPattern as error:
            if not part.lenient:
                raise InvalidConstraint("json_schema", f"the pattern is not supported: {error}") from None
    return tuple(patterns) or (ANY,)


def _count(value: Any) -> int | None:
    """Return a number of characters, None for one that no answer has; `json_schema` rejects others."""
    return int(value) if isinstance(value, (int, float)) and 0 <= value <= json_schema.MAX_COUNT else None


def _intersection(patterns: tuple[str, ...]) -> str:
    return " & ".join(f"/(?:{pattern})/" for pattern in patterns)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
