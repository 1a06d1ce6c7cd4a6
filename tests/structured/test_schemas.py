"""JSON schemas as clients write them, on a vocabulary of bytes: accepted, and every value they let through is valid."""

from __future__ import annotations

import gc
import json
import math
import os
import random
import re
import resource
import signal
import sys
import time
import weakref
from collections import Counter
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxk_core.api.errors import ConstraintFailure, InvalidConstraint
from mlxk_core.api.generation import Matches, OneOf, RawString, Vocabulary, sequence
from mlxk_structured.compiler import Compiler
from mlxk_structured.ecma_regex import of_length
from mlxk_structured.parser_memory import ParserMemory, ParserShare
from mlxk_structured.tokenizer import matches
from mlxk_structured.trie_size import longest_that_fit
from mlxk_structured.used_items import UsedItems
from tests.structured.schemas import Keywords, validator_of

CAT = {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"enum": [7, 9]}}, "required": ["lives"]}
DOG = {"type": "object", "properties": {"kind": {"const": "dog"}, "name": {"maxLength": 3}}, "required": ["name"]}
PETS = {"Cat": CAT, "Dog": DOG}
SHORT = {"type": "string", "maxLength": 3}
CLIENTS = {
    "pydantic set of strings": {"type": "array", "items": SHORT, "uniqueItems": True, "minItems": 3, "maxItems": 5},
    "pydantic set of an enum": {
        "$defs": {"E": {"enum": ["a", "ab", "abc", "b"]}},
        "properties": {"e": {"type": "array", "items": {"$ref": "#/$defs/E"}, "uniqueItems": True, "minItems": 4}},
        "required": ["e"],
    },
    "set of integers": {
        "type": "array", "items": {"type": "integer", "minimum": -2, "maximum": 2}, "uniqueItems": True, "minItems": 5,
    },
    "set of tuples": {
        "type": "array", "uniqueItems": True, "minItems": 4,
        "items": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2},
    },
    "map with identifiers as keys": {
        "type": "object", "propertyNames": {"pattern": "^[a-z][a-z0-9_]*$", "minLength": 2, "maxLength": 4},
        "additionalProperties": SHORT, "minProperties": 1,
    },
    "named properties, a pattern and others": {
        "type": "object", "properties": {"x_a": {"maxLength": 1}}, "patternProperties": {"^x_": {"type": "string"}},
        "additionalProperties": {"type": "boolean"}, "required": ["x_a", "y"],
    },
    "references relative to an inner $id": {
        "$id": "https://example.com/root.json", "type": "object", "required": ["a", "d", "e"],
        "properties": {"a": {"$ref": "item.json"}, "d": {"$ref": "/item.json#flag"}, "e": {"$ref": "#/$defs/c"}},
        "additionalProperties": False,
        "$defs": {
            "c": {"enum": [3]},
            "i": {
                "$id": "item.json", "type": "object", "required": ["b"], "additionalProperties": False,
                "properties": {"b": {"$ref": "#/$defs/c"}, "$id": {"const": "a property of this name"}},
                "$defs": {"c": {"$anchor": "flag", "type": "boolean"}},
            },
        },
    },
    "set of what is left": {
        "type": "array", "items": {"type": "string", "pattern": "^(a|b|cccc)$"}, "uniqueItems": True, "minItems": 3,
    },
    "set of objects": {
        "type": "array", "uniqueItems": True, "minItems": 4,
        "items": {"properties": {"a": {"type": "boolean"}, "b": {"enum": [1, 2]}}, "required": ["a", "b"]},
    },
    "pydantic discriminated union": {
        "$defs": PETS,
        "discriminator": {"mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}, "propertyName": "kind"},
        "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
    },
    "union that may overlap": {"oneOf": [{"type": "integer", "minimum": 1}, {"type": "number", "maximum": 5}]},
    "OpenAPI union without tags": {
        "oneOf": [
            {"type": "object", "properties": {"a": SHORT}, "required": ["a"]},
            {"type": "object", "properties": {"a": SHORT, "b": {"type": "boolean"}}, "required": ["a", "b"]},
        ]
    },
    "OpenAPI discriminator without constants": {
        "$defs": {
            "Car": {"type": "object", "properties": {"t": {"type": "string"}, "doors": {"enum": [3]}},
                    "required": ["t", "doors"]},
            "Bike": {"type": "object", "properties": {"t": {"type": "string"}, "bell": {"type": "boolean"}},
                     "required": ["t", "bell"]},
        },
        "oneOf": [{"$ref": "#/$defs/Car"}, {"$ref": "#/$defs/Bike"}],
        "discriminator": {"propertyName": "t"},
    },
    "zod never": {"type": "object", "properties": {"a": {"not": {}}, "b": {"type": "boolean"}}},
    "not one of some": {"type": "string", "maxLength": 3, "not": {"enum": ["", "a", "ab"]}},
    "not a number of some": {"type": "integer", "minimum": 0, "maximum": 5, "not": {"enum": [0, 2, 5]}},
    "not two at once": {
        "properties": {"a": {"type": "boolean"}, "b": {"type": "boolean"}}, "not": {"required": ["a", "b"]},
    },
    "not a pattern": {"type": "string", "maxLength": 4, "not": {"pattern": "^x"}},
    "if, then, else": {
        "type": "object",
        "properties": {"kind": {"enum": ["post", "file"]}, "text": SHORT, "path": SHORT},
        "required": ["kind"],
        "if": {"properties": {"kind": {"const": "post"}}},
        "then": {"required": ["text"]},
        "else": {"required": ["path"], "properties": {"text": False}},
    },
    "several ifs": {
        "type": "object",
        "properties": {"k": {"enum": ["a", "b", "c"]}, "v": True},
        "required": ["k", "v"],
        "allOf": [
            {"if": {"properties": {"k": {"const": "a"}}}, "then": {"properties": {"v": {"type": "null"}}}},
            {"if": {"properties": {"k": {"const": "b"}}}, "then": {"properties": {"v": {"type": "boolean"}}}},
        ],
    },
    "contains": {"type": "array", "items": {"type": "integer"}, "contains": {"minimum": 90}, "minItems": 2},
    "contains between": {
        "type": "array", "items": {"enum": [1, 2, 3]}, "contains": {"const": 2}, "minContains": 2, "maxContains": 2,
        "maxItems": 4,
    },
    "dependent required": {
        "type": "object", "properties": {"card": SHORT, "street": SHORT, "town": SHORT},
        "dependentRequired": {"card": ["street", "town"]},
    },
    "dependent schemas": {
        "type": "object", "properties": {"card": SHORT},
        "dependentSchemas": {"card": {"properties": {"street": SHORT}, "required": ["street"]}},
    },
    "dependencies of draft 7": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object", "properties": {"a": SHORT, "b": SHORT},
        "dependencies": {"a": ["b"], "b": {"required": ["c"], "properties": {"c": {"type": "null"}}}},
    },
    "unevaluated properties": {
        "$defs": {"base": {"type": "object", "properties": {"id": {"type": "boolean"}}, "required": ["id"]}},
        "allOf": [{"$ref": "#/$defs/base"}],
        "anyOf": [{"properties": {"x": SHORT}, "required": ["x"]}, {"properties": {"y": SHORT}, "required": ["y"]}],
        "unevaluatedProperties": False,
    },
    "unevaluated items": {"prefixItems": [{"type": "boolean"}], "minItems": 1, "unevaluatedItems": False},
    "tuple of draft 7": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "array", "items": [{"type": "boolean"}, SHORT], "additionalItems": False, "minItems": 2,
    },
    "map with a number of keys": {"type": "object", "additionalProperties": {"type": "boolean"}, "minProperties": 3},
    "some of the optional": {
        "type": "object", "properties": {k: {"type": "boolean"} for k in "abcd"}, "additionalProperties": False,
        "minProperties": 2, "maxProperties": 3,
    },
    "keys with a length": {
        "type": "object", "propertyNames": {"minLength": 2, "maxLength": 3}, "additionalProperties": {"type": "null"},
        "minProperties": 1, "maxProperties": 2,
    },
    "keys of an enum": {
        "$defs": {"E": {"enum": ["x", "y"], "type": "string"}}, "type": "object",
        "propertyNames": {"$ref": "#/$defs/E"}, "additionalProperties": {"type": "boolean"},
    },
    "a tree": {
        "$id": "https://example.org/tree", "$dynamicAnchor": "node", "type": "object",
        "properties": {"v": {"type": "boolean"}, "kids": {"items": {"$dynamicRef": "#node"}, "maxItems": 1}},
        "required": ["v"], "additionalProperties": False,
    },
}  # fmt: skip


class Bytes:
    vocab_size = 257

    def piece(self, token):
        return bytes([token]) if token < 256 else b""

    def encode(self, text, *, add_special_tokens):
        return list(text.encode())


CLOSING = frozenset(b'"}]')
VOCABULARY = Vocabulary(tokenizer=Bytes(), markers={}, stop_tokens=frozenset({256}))
COMPILER = Compiler()


def written(grammar, seed, limit=700):
    """Text drawn from the constraint alone, preferring to end; None if it did not."""
    rng, data = random.Random(seed), bytearray()
    constraint = COMPILER.compile(grammar, VOCABULARY)
    while len(data) < limit and not constraint.complete:
        mask = constraint.mask()
        allowed = [token for token in range(257) if mask[token // 8] >> token % 8 & 1]
        closing = [token for token in allowed if token in CLOSING]
        token = 256 if 256 in allowed and rng.random() < 0.5 else rng.choice(closing * (rng.random() < 0.5) or allowed)
        constraint.accept(token)
        if token == 256:
            return data.decode()
        data.append(token)
    return data.decode() if constraint.complete else None


def valid_values(schema, seeds, grammar=lambda part: part, before="", after=""):
    COMPILER.check(Matches("json_schema", schema))
    validator = validator_of(schema)
    count = 0
    for seed in seeds:
        text = written(grammar(Matches("json_schema", schema)), seed)
        if text is not None:
            validator.validate(json.loads(text.removeprefix(before).removesuffix(after)))
            count += 1
    return count


@pytest.mark.parametrize("name", CLIENTS)
def test_what_clients_write_is_kept(name):
    assert valid_values(CLIENTS[name], range(12)) >= 6


@pytest.mark.parametrize("name", [name for name in CLIENTS if "set" in name or "map" in name])
def test_distinct_items_are_kept_inside_a_call(name):
    before, after = '<call>{"name": "f", "arguments": ', "}</call>"
    assert valid_values(CLIENTS[name], range(8), lambda part: sequence(before, part, after), before, after) >= 4


def test_random_schemas_with_every_keyword_are_kept():
    finished = sum(valid_values(Keywords(seed).root(), range(4)) for seed in range(60))
    assert finished >= 120


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True, "minItems": 3}, "$.uniqueItems"),
        ({"type": "object", "properties": {"a": {"not": {"format": "email"}}}}, "$.properties.a.not"),
        ({"type": "array", "contains": {"type": "objekt"}}, "$.contains.type"),
        ({"type": "array", "contains": {}, "minContains": -1}, "$.minContains"),
        ({"type": "array", "contains": {}, "minContains": math.nan}, "$.minContains"),
        ({"type": "array", "minItems": math.inf}, "$.minItems"),
        ({"type": "array", "maxItems": math.inf}, "$.maxItems"),
        ({"dependentRequired": [1]}, "$.dependentRequired"),
        ({"oneOf": []}, "$.oneOf"),
        ({"type": "integer", "minimum": 10**30}, "$.minimum"),
        ({"type": "integer", "exclusiveMaximum": -(2**63)}, "$.exclusiveMaximum"),
        ({"type": "string", "not": 3}, "$.not"),
        ({"type": "string", "not": {"const": "x" * 2000}}, "$"),
        ({"oneOf": [{"multipleOf": 3}, {"multipleOf": 5}]}, "$.oneOf"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "$.properties.a"),
        (
            {"$ref": "#/$defs/t", "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}, "minItems": 1}}},
            '$["$defs"].t.items',
        ),
        (
            {"type": "object", "properties": {"a": {"type": "array", "minItems": 1_000_000}}, "required": ["a"]},
            "$.properties.a",
        ),
        ({"type": "object", "propertyNames": {"pattern": "^a+b+$", "maxLength": 4}}, "$.propertyNames"),
    ],
)
def test_a_keyword_that_cannot_be_kept_is_an_error_with_its_path(schema, path):
    with pytest.raises(InvalidConstraint) as error:
        COMPILER.check(Matches("json_schema", schema))
    assert error.value.path == path


@pytest.mark.parametrize(
    "schema",
    [
        {"$id": "http://a/", "properties": {"a": {"$id": "http://[bad"}}},
        {"$id": "http://[bad#x", "properties": {"a": {"$id": "b", "$ref": "#"}}},
        {"$id": "http://a/", "properties": {"a": {"$id": "http://\u2100/x"}}},
    ],
)
def test_an_identifier_that_is_not_a_uri_names_nothing(schema):
    COMPILER.check(Matches("json_schema", {"type": "object", **schema}))


def test_a_reference_that_is_not_a_uri_is_an_error_of_the_schema():
    schema = {"$id": "http://a/", "properties": {"a": {"$id": "b", "$ref": "http://[bad"}}}
    with pytest.raises(InvalidConstraint):
        COMPILER.check(Matches("json_schema", {"type": "object", **schema}))


def test_the_search_for_a_value_that_is_too_long_is_bounded():
    names = [f"p{i}" for i in range(2400)]
    schema = {
        "type": "object",
        "required": [*names, "long"],
        "properties": {name: {"type": "string"} for name in names},
    }
    schema["properties"]["long"] = {"type": "string", "minLength": 1_000_000}
    for _ in range(45):
        schema = {"type": "object", "properties": {"z": schema}, "required": ["z"]}
    with pytest.raises(InvalidConstraint):
        COMPILER.check(Matches("json_schema", schema))


def test_a_recursive_schema_whose_values_end_is_compiled():
    tree = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    }
    COMPILER.check(Matches("json_schema", tree))


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "[a-c]", "."]), max_size=3), st.sampled_from(["", "b*", "[b-d]+", "b{2,3}"]),
       st.integers(0, 6), st.integers(0, 6) | st.none(), st.text("abcd", max_size=7))  # fmt: skip
def test_a_pattern_and_a_length_are_one_expression(characters, repeated, least, most, text):
    pattern = f"^{''.join(characters)}{repeated}$"
    both = of_length(pattern, least, most)
    fits = bool(re.search(pattern, text)) and least <= len(text) and (most is None or len(text) <= most)
    assert fits == (both is not None and matches(both, text))


def _with_patterns(*patterns):
    names = map("a{}".format, range(len(patterns)))
    return {
        "properties": {name: {"type": "string", "pattern": each} for name, each in zip(names, patterns, strict=True)}
    }


def test_patterns_that_are_too_complex_together_are_an_error_and_the_next_trial_is_as_before():
    """llguidance would take all memory for them; the trial in another process takes five seconds of CPU at most."""
    good, many = _with_patterns("^a+$", "^b+$"), [{"pattern": f"[ab]*a[ab]{{{count}}}"} for count in range(1, 31)]
    compiler = Compiler()
    for schema, error in (
        (good, None),
        ({"allOf": many}, "too complex"),
        (_with_patterns("^c+$", "^(d$"), r"\$.properties.a1"),
    ):
        with nullcontext() if error is None else pytest.raises(InvalidConstraint, match=error):
            compiler.check(Matches("json_schema", schema))
    compiler.check(Matches("json_schema", _with_patterns("^e+$", "^f+$")))


def _trial_processes():
    """The processes of trials that this one has started, with the CPU seconds they have used."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        if int(status[1]) == os.getpid() and b"trial_worker" in command:
            found[int(folder.name)] = int(status[11]) / os.sysconf("SC_CLK_TCK")
    return found


IN_PROC = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")


@IN_PROC
def test_trials_share_a_process_and_replace_those_that_have_ended():
    before = set(_trial_processes())
    for i in range(20):
        Compiler().check(Matches("json_schema", _with_patterns(f"^g{i}+$", f"^h{i}+$")))
    ended = set(_trial_processes())
    assert len(ended - before) <= 1
    for process in ended:
        os.kill(process, signal.SIGKILL)
    Compiler().check(Matches("json_schema", _with_patterns("^i+$", "^j+$")))
    assert set(_trial_processes()) - ended


@IN_PROC
def test_a_trial_needs_no_low_descriptor():
    """A server with thousands of connections has none below 1,024 left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096 if hard == resource.RLIM_INFINITY else min(4096, hard), hard))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        for process in _trial_processes():
            os.kill(process, signal.SIGKILL)
        Compiler().check(Matches("json_schema", _with_patterns("^k+$", "^l+$")))
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@IN_PROC
def test_patterns_of_arguments_between_tags_are_tried_in_another_process():
    """Their intersection is not the one of the JSON schema: the form of the call is part of it."""

    def seconds_of_trials():
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime + sum(_trial_processes().values())

    ahead = "".join(f"(?=[ab]*a[ab]{{{count}}}$)" for count in range(1, 20))
    grammar = sequence("<p>", RawString({"pattern": f"^{ahead}[ab]*$"}, ("</p>",)), "</p>")
    before, begin = seconds_of_trials(), time.process_time()
    with pytest.raises(InvalidConstraint):
        Compiler().compile(grammar, VOCABULARY)
    assert time.process_time() - begin < seconds_of_trials() - before


CHAIN = {f"d{i}": {"properties": {"a": {"$ref": f"#/$defs/d{i + 1}"}}, "required": ["a"]} for i in range(1400)}
RULES = "\n".join(f'r{i}: "a" r{i + 1} | "b" r{i + 1}' for i in range(4000))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("json_schema", {"$defs": {**CHAIN, "d1400": {"type": "null"}}, "$ref": "#/$defs/d0"}),
        ("lark", f'start: r0\n{RULES}\nr4000: "z"'),
        ("lark", f"start: %json {json.dumps({'$defs': {**CHAIN, 'd1400': {}}, '$ref': '#/$defs/d0'})}"),
    ],
    ids=["references", "rules", "references in a grammar"],
)
def test_a_chain_that_overflows_the_stack_is_an_error(kind, value):
    """It ended the server: a native stack has no exception."""
    with pytest.raises(InvalidConstraint, match="too complex"):
        Compiler().check(Matches(kind, value))


AMBIGUOUS = {
    "two or three": "start: s\ns: s s | s s s | /[a-z ]/\n",
    "up to four": "start: s\ns: s s | s s s | s s s s | /[a-z ]/\n",
    "in turn": "start: s\ns: s s | a\na: b b | /[a-z ]/\nb: s s | /[a-z ]/\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_grammar_that_reads_a_text_in_very_many_ways_is_an_error(name):
    with pytest.raises(InvalidConstraint, match="too complex"):
        Compiler().check(Matches("lark", AMBIGUOUS[name]))


def test_the_rows_of_a_grammar_share_the_time_of_long_steps():
    """What passes the check may take half a second a step, and a client may send it with each of its requests."""

    def steps(rows):
        compiler = Compiler()
        constraints = [compiler.compile(Matches("lark", AMBIGUOUS["up to four"]), VOCABULARY) for _ in range(rows)]
        for step in range(2_000):
            try:
                for constraint in constraints:
                    constraint.mask()
                    constraint.accept(ord("a"))
            except ConstraintFailure:
                return step
        raise AssertionError("it did not fail")

    assert steps(rows=8) < steps(rows=1)


def test_a_row_whose_steps_are_quick_goes_on_while_others_of_its_grammar_fail():
    compiler = Compiler()
    slow, quick = (compiler.compile(Matches("lark", AMBIGUOUS["up to four"]), VOCABULARY) for _ in range(2))
    with pytest.raises(ConstraintFailure):
        for _ in range(2_000):
            slow.mask()
            slow.accept(ord("a"))
    quick.mask()
    quick.accept(ord("a"))


def test_all_items_of_a_long_enum_can_be_used():
    """The last ones begin as those do that are there, for many characters."""
    names = [f"item{number:03}" for number in range(100)]
    schema = {"type": "array", "items": {"enum": names}, "uniqueItems": True, "minItems": 100}
    assert sorted(json.loads(written(Matches("json_schema", schema), seed=1, limit=3_000))) == names


@pytest.mark.parametrize(("length", "times"), [(100, 15), (1000, 30)])
def test_long_items_that_begin_alike_are_not_searched_to_their_end_for_each_token(length, times):
    item = {"type": "string", "pattern": f"^(a{{{length}}}){{{times}}}a{{0,9}}$"}
    schema = {"type": "array", "uniqueItems": True, "minItems": 3, "items": item}
    constraint = Compiler().compile(Matches("json_schema", schema), VOCABULARY)
    for byte in b'["' + b"a" * length * times + b'","':
        constraint.accept(byte)
    with suppress(ConstraintFailure):  # in time, also on a slow machine: the rows of others wait for it
        for _ in range(100):
            assert constraint.mask()
            constraint.accept(ord("a"))


@pytest.mark.parametrize("schema", [{"type": "integer"}, {"type": "array", "uniqueItems": True}], ids=str)
def test_what_is_made_for_a_model_goes_with_its_tokenizer(schema):
    compiler, tokenizer = Compiler(), Bytes()
    vocabulary = replace(VOCABULARY, tokenizer=tokenizer)
    constraint = compiler.compile(Matches("json_schema", schema), vocabulary)
    left = weakref.ref(tokenizer)
    del tokenizer, vocabulary
    gc.collect()
    assert left() is None
    assert constraint.mask()  # a row that is still running


class Large(Bytes):
    """A vocabulary of a number of tokens, with one long one."""

    def __init__(self, tokens, longest):
        self.vocab_size, self.longest = tokens, longest

    def piece(self, token):
        return b"x" * self.longest if token == 300 else super().piece(token % 257)


def test_a_vocabulary_that_is_too_large_is_an_error():
    with pytest.raises(InvalidConstraint):
        COMPILER.compile(Matches("regex", "x+"), replace(VOCABULARY, tokenizer=Large(300_001, 1)))


def test_a_token_that_is_too_long_is_never_allowed():
    long = COMPILER.compile(Matches("regex", "x+"), replace(VOCABULARY, tokenizer=Large(400, 5_000))).mask()
    short = COMPILER.compile(Matches("regex", "x+"), replace(VOCABULARY, tokenizer=Large(400, 200))).mask()
    assert [mask[300 // 8] >> 300 % 8 & 1 for mask in (long, short)] == [0, 1]


@pytest.mark.parametrize(
    ("pieces", "nodes", "longest"),
    [
        ([b"a", b"ab", b"abc", b"abx"], 4, 3),
        ([b"a", b"ab", b"abc", b"abx"], 3, 2),
        ([b"a", b"ab", b"abc", b"abx"], 0, 0),
        ([b"xyz", b"xyz"], 3, 3),
        ([b"xy", b"ab", b""], 3, 1),
        ([], 1, 0),
    ],
)
def test_the_tree_of_tokens_is_measured(pieces, nodes, longest):
    assert longest_that_fit(pieces, nodes) == longest


LETTERS = b"abcdefghijklmnopqrstuvwxyz"


class Scattered(Bytes):
    """A vocabulary of 20,000 tokens of 60 bytes that share no beginnings."""

    vocab_size = 20_257

    def piece(self, token):
        return super().piece(token) if token < 257 else bytes(random.Random(token).choices(LETTERS, k=60))


def test_a_vocabulary_whose_tree_is_too_large_loses_its_longest_tokens():
    vocabulary = replace(VOCABULARY, tokenizer=Scattered())
    mask = COMPILER.compile(Matches("regex", "[a-z]*"), vocabulary).mask()
    assert mask[97 // 8] >> 97 % 8 & 1
    assert not any(mask[257 // 8 + 1 :])


def test_a_chain_of_some_hundred_references_is_compiled():
    chain = {**{f"d{i}": CHAIN[f"d{i}"] for i in range(300)}, "d300": {"type": "null"}}
    Compiler().check(Matches("json_schema", {"$defs": chain, "$ref": "#/$defs/d0"}))


def test_schemas_that_are_too_large_together_are_an_error():
    """Each is small; the part at fault was searched for in all of them, for minutes."""
    tools = [{"properties": {f"p{i}_{j}": {"type": "string"} for j in range(200)}} for i in range(90)]
    for schema in tools[:2]:
        COMPILER.check(Matches("json_schema", schema))
    with pytest.raises(InvalidConstraint, match="too large"):
        COMPILER.compile(OneOf(tuple(Matches("json_schema", schema) for schema in tools)), VOCABULARY)


def test_raw_text_ends_where_the_parts_after_it_begin():
    grammar = sequence("<a>", RawString({}, ("</a>",)), sequence("\n", sequence("</a>")))
    constraint = COMPILER.compile(grammar, VOCABULARY)
    for byte in b"<a>one\n</b>\n\ntwo\n</a>":
        constraint.accept(byte)
    assert constraint.complete or constraint.mask()[32] & 1


def test_raw_text_has_the_lengths_of_its_schema():
    """A whole number may be written as 2.0, and one that no answer reaches changes nothing."""
    schema = {"type": "string", "minLength": 2.0, "maxLength": 2_000_000}
    constraint = COMPILER.compile(sequence("<a>", RawString(schema, ("</a>",)), "</a>"), VOCABULARY)
    for byte in b"<a>ab</a>":
        constraint.accept(byte)
    short = COMPILER.compile(sequence("<a>", RawString(schema, ("</a>",)), "</a>"), VOCABULARY)
    with pytest.raises(ConstraintFailure):
        for byte in b"<a>a</a>":
            short.accept(byte)
        assert not short.complete
        short.accept(256)


def test_errors_of_patterns_that_are_tried_apart_name_the_part():
    apart = [{"pattern": "^a$"}, {"pattern": "^b$"}]
    with pytest.raises(InvalidConstraint) as caught:
        Compiler().check(Matches("json_schema", {"properties": {"x": {"allOf": apart}}, "required": ["x"]}))
    assert caught.value.path == "$.properties.x"
    Compiler().check(Matches("json_schema", {"type": "string", "allOf": [{"pattern": "a"}, {"pattern": "b"}]}))


@pytest.mark.parametrize("key", ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"])
def test_a_number_that_no_float_holds_is_an_error(key):
    with pytest.raises(InvalidConstraint, match="too large") as caught:
        Compiler().check(Matches("json_schema", {"type": "integer", key: 10**400}))
    assert caught.value.path == f"$.{key}"


_WORDS = st.lists(st.binary(max_size=3).filter(lambda text: b"\xff" not in text), unique=True)


@given(_WORDS, st.binary(max_size=2).filter(lambda text: b"\xff" not in text))
def test_used_items_are_found_by_their_beginning(words, beginning):
    used = UsedItems()
    for word in words:
        used = used.add([word], word)
    branch = used.beginning_with(beginning)
    expected = sorted(word for word in words if word.startswith(beginning))
    found = [] if branch is None else [beginning + rest for rest in branch.rests(9)]
    assert (found, used.values) == (expected, frozenset(words))
    if branch is not None:
        assert branch.has_end == (beginning in words)
        nexts = {byte: len(list(inner.rests(9))) for byte, inner in branch.nexts()}
        assert nexts == Counter(word[len(beginning)] for word in expected if len(word) > len(beginning))


def test_the_parsers_of_all_rows_have_a_size_together():
    memory = ParserMemory()
    small, large, other = ParserShare(memory), ParserShare(memory), ParserShare(memory)
    small.add(0.1)
    large.add(3.9)
    other.add(3.9)
    with pytest.raises(ConstraintFailure):
        large.add(0.4)  # half of all is its own
    with pytest.raises(ConstraintFailure):
        other.add(0.01)  # all is used
    small.add(0.01)
    del large
    other.add(0.01)
