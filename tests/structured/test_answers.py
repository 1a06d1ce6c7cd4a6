"""Answers that are constrained: always valid or cut, the same streamed, alone and in a batch."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import jsonschema
import pytest
import regex

from mlxk_core.api.errors import ConstraintFailure, InvalidConstraint, InvalidOption
from mlxk_core.api.generation import (
    Constraint,
    Delta,
    Generation,
    GenerationRequest,
    GenerationService,
    Message,
    Sampling,
    Tool,
    join_events,
)
from mlxk_core.api.host import Host
from tests.structured.schemas import Keywords, Schemas, validator_of

CHAT = ("plain", "opened", "thinks", "harmony")
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 5}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["city", "n"],
    "additionalProperties": False,
}


def request(model, *, constraint=None, seed=0, max_tokens=400, budget=6, **fields):
    return GenerationRequest(
        model=model,
        prompt=[Message(role="user", content="Hi")],
        sampling=Sampling(temperature=1, seed=seed, logprobs=fields.pop("logprobs", None)),
        max_tokens=max_tokens,
        constraint=constraint,
        thinking_budget=budget,
        **fields,
    )


def schema(value):
    return Constraint(kind="json_schema", value=value, option="response_format")


@pytest.mark.parametrize("name", CHAT)
def test_a_finished_answer_is_valid_whatever_the_schema(service, models, name):
    finished = 0
    for seed in range(8):
        value = (Keywords if seed % 2 else Schemas)(seed).root()
        completion = service.submit(request(models[name], constraint=schema(value), seed=seed)).result()
        assert completion.finish_reason in ("stop", "length")
        if completion.finish_reason == "stop":
            finished += 1
            validator_of(value).validate(json.loads(completion.content))
    assert finished >= 4


@pytest.mark.parametrize("name", CHAT)
@pytest.mark.parametrize(
    ("kind", "value", "accepts"),
    [
        ("choice", ["red", "gr\u00fcn", "a/b"], r"red|grün|a/b"),
        ("regex", r"\d{3}-[A-F]+x", r"\d{3}-[A-F]+x"),
        ("lark", 'start: "<" /[a-c]{2,4}/ ">"', r"<[a-c]{2,4}>"),
        ("gbnf", 'root ::= "<" [a-c] [a-c] ">"', r"<[a-c][a-c]>"),
    ],
)
def test_other_languages_hold_too(service, models, name, kind, value, accepts):
    constraint = Constraint(kind=kind, value=value)
    completion = service.submit(request(models[name], constraint=constraint, seed=3)).result()
    assert completion.finish_reason == "stop"
    assert regex.fullmatch(accepts, completion.content)


@pytest.mark.parametrize("name", [*CHAT, "calls"])
def test_an_answer_is_the_same_alone_streamed_and_in_a_batch(service, models, name):
    tools = (Tool(name="city", parameters=CITY, strict=True),) if name == "calls" else ()
    rows = [
        request(models[name], constraint=None if tools else schema(CITY), seed=seed, tools=tools, must_call=bool(tools))
        for seed in range(4)
    ]
    free = request(models[name], seed=9, max_tokens=40)
    alone = [service.submit(row).result() for row in [*rows, free]]
    streams = service.submit_all([*rows, free])
    with ThreadPoolExecutor() as pool:  # a request starts when its events are read
        batched = list(pool.map(lambda stream: join_events(list(stream)), streams))
    assert [c.content for c in batched] == [c.content for c in alone]
    assert [[(t.name, t.arguments) for t in c.tool_calls] for c in batched] == [
        [(t.name, t.arguments) for t in c.tool_calls] for c in alone
    ]
    assert [c.finish_reason for c in batched] == [c.finish_reason for c in alone]


def test_log_probabilities_are_those_of_the_allowed_tokens(service, models):
    row = request(models["plain"], constraint=Constraint(kind="choice", value=["ab", "ac"]), logprobs=5, seed=1)
    completion = service.submit(row).result()
    first, second = completion.tokens
    assert (first.text, first.logprob, len(first.top)) == ("a", pytest.approx(0, abs=1e-5), 1)
    assert {token.text for token in second.top} == {"b", "c"}


def test_a_model_without_stop_tokens_ends_with_its_value(service, models):
    row = GenerationRequest(
        model=models["endless"], prompt="Hi", max_tokens=300, constraint=schema(CITY), sampling=Sampling(seed=2)
    )
    completion = service.submit(row).result()
    assert completion.finish_reason == "stop"
    jsonschema.validate(json.loads(completion.content), CITY)


def test_an_answer_that_max_tokens_cuts_says_so(service, models):
    completion = service.submit(request(models["plain"], constraint=schema(CITY), max_tokens=7)).result()
    assert (completion.finish_reason, completion.usage.completion_tokens) == ("length", 7)


@pytest.mark.parametrize("name", ["calls", "both", "template", "harmony"])
def test_a_required_call_is_made_and_valid(service, models, name):
    tools = (Tool(name="city", parameters=CITY, strict=True), Tool(name="now", parameters={"type": "object"}))
    for seed in range(3):
        row = request(models[name], tools=tools, must_call=True, tool_names=("city",), parallel_calls=False, seed=seed)
        completion = service.submit(row).result()
        assert (completion.finish_reason, completion.content) == ("tool_calls", "")
        [call] = completion.tool_calls
        assert call.name == "city"
        jsonschema.validate(json.loads(call.arguments), CITY)


def test_a_call_that_max_tokens_cuts_is_length(service, models):
    tools = (Tool(name="city", parameters=CITY),)
    completion = service.submit(request(models["calls"], tools=tools, must_call=True, max_tokens=30)).result()
    assert completion.finish_reason == "length"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", ["plain", "calls"])
def test_a_call_that_max_tokens_cuts_has_the_arguments_so_far(service, models, name, streamed):
    tools = (Tool(name="city", parameters=CITY),)
    asked = request(models[name], tools=tools, must_call=True, parallel_calls=False)
    whole = service.submit(asked).result()
    arguments = json.loads(whole.tool_calls[0].arguments)
    lengths = set()
    for limit in range(2, whole.usage.completion_tokens, 5):
        generation = service.submit(replace(asked, max_tokens=limit))
        cut = join_events(list(generation)) if streamed else generation.result()
        assert cut.finish_reason == "length"
        assert bool(cut.content) is not bool(cut.tool_calls) or name == "plain"
        for call in cut.tool_calls:
            assert call.name == "city"
            assert json.dumps(arguments, separators=(",", ":"), ensure_ascii=False).startswith(call.arguments)
            lengths.add(len(call.arguments))
    assert len(lengths) > 3


@pytest.mark.parametrize("name", ["opened", "harmony"])
@pytest.mark.parametrize("budget", [0, 5])
def test_a_thinking_budget_ends_the_reasoning_and_an_answer_follows(service, models, name, budget):
    row = request(models[name], constraint=Constraint(kind="choice", value=["yes"]), budget=budget, seed=1)
    completion = service.submit(row).result()
    assert (completion.content, completion.finish_reason) == ("yes", "stop")
    assert len(completion.reasoning) <= budget + 8


def test_a_failing_constraint_fails_its_own_request_only(service, models):
    free, kept = request(models["plain"], seed=4, max_tokens=60), request(models["plain"], constraint=schema(CITY))
    expected = [service.submit(row).result().content for row in (free, kept)]
    letters = {"type": "array", "items": {"type": "string", "pattern": "^(a|b)$"}, "uniqueItems": True, "minItems": 3}
    failing = request(models["plain"], constraint=schema(letters))
    first, broken, second = service.submit_all([free, failing, kept])
    with ThreadPoolExecutor() as pool:
        results = [pool.submit(each.result) for each in (first, broken, second)]
    with pytest.raises(ConstraintFailure):
        results[1].result()
    assert [results[0].result().content, results[2].result().content] == expected
    assert service.submit(free).result().content == expected[0]


def test_a_cancelled_row_leaves_the_others_as_they_are(service, models):
    kept = [request(models["plain"], constraint=schema(CITY), seed=seed) for seed in range(2)]
    alone = [service.submit(row).result().content for row in kept]
    endless = {"type": "array", "items": {"type": "null"}, "minItems": 900}
    first, left, second = service.submit_all([kept[0], request(models["plain"], constraint=schema(endless)), kept[1]])
    with ThreadPoolExecutor() as pool:
        results = [pool.submit(each.result) for each in (first, second)]
        with left:
            next(event for event in left if isinstance(event, Delta))
        assert [result.result().content for result in results] == alone


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"type": "objekt"}, "$.type"),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}}, "$.properties.a.$ref"),
        ({"$ref": "http://127.0.0.1:9/a.json"}, "$.$ref"),
        ({"$defs": {"a": 3}, "$ref": "#/$defs/a"}, "$.$ref"),
        ({"$defs": {"a": "x"}, "items": {"$ref": "#/$defs/a"}}, "$.items.$ref"),
        ({"properties": {"a": {"pattern": "("}}}, "$.properties.a.pattern"),
        ({"properties": {"a": {"type": "string", "pattern": r"(a)\1"}}}, "$.properties.a.pattern"),
        ({"properties": {"a": {"not": {"format": "email"}}}}, "$.properties.a.not"),
        (
            {"type": "object", "properties": {"a": {"minLength": 5, "maxLength": 2}}, "required": ["a"]},
            "$.properties.a",
        ),
        ({"type": "integer", "multipleOf": 1999993}, "$.multipleOf"),
        ({"properties": {"a": {"oneOf": [{"multipleOf": 3}, {"multipleOf": 5}]}}}, "$.properties.a.oneOf"),
    ],
)
def test_a_schema_at_fault_is_an_error_with_its_path(service, models, value, path):
    with pytest.raises(InvalidConstraint) as error:
        service.submit(request(models["plain"], constraint=schema(value))).result()
    assert (error.value.option, error.value.path) == ("response_format", path)


@pytest.mark.parametrize("value", [{"enum": [{"a": i} for i in range(8000)]}, {"enum": list(range(60_000))}])
def test_a_schema_without_measure_is_refused(service, models, value):
    with pytest.raises(InvalidConstraint):
        service.submit(request(models["plain"], constraint=schema(value))).result()


def test_schemas_that_would_take_python_down_are_harmless(service, models):
    backtracking = {"type": "string", "pattern": "^(a+)+$", "maxLength": 300}
    doubling = {
        f"d{i}": {"type": "object", "properties": {k: {"$ref": f"#/$defs/d{i + 1}"} for k in "ab"}} for i in range(30)
    }
    doubling["d30"] = {"type": "string", "maxLength": 2}
    for value in (backtracking, {"$defs": doubling, "$ref": "#/$defs/d0"}):
        assert service.submit(request(models["plain"], constraint=schema(value))).result().finish_reason


def test_a_required_call_without_tools_is_an_error(service, models):
    with pytest.raises(InvalidOption, match="tools"):
        service.submit(request(models["calls"], must_call=True))


def test_many_requests_with_many_schemas(service, models):
    rng = random.Random(0)
    rows = []
    for number in range(30):
        value = Schemas(number % 15).root()
        rows.append((value, request(models[rng.choice(CHAT)], constraint=schema(value), seed=number, max_tokens=150)))
    for start in range(0, len(rows), 12):
        part = rows[start : start + 12]
        with ThreadPoolExecutor(len(part)) as pool:
            completions = list(pool.map(Generation.result, service.submit_all([row for _, row in part])))
        for (value, _), completion in zip(part, completions, strict=True):
            if completion.finish_reason == "stop":
                validator_of(value).validate(json.loads(completion.content))
            else:
                assert completion.finish_reason == "length"


@pytest.mark.parametrize("name", ["plain", "opened"])
def test_a_model_whose_template_has_no_place_for_tools_calls_them_too(service, models, name):
    tools = (Tool(name="city", parameters=CITY),)
    completion = service.submit(request(models[name], tools=tools, must_call=True, parallel_calls=False)).result()
    assert (completion.finish_reason, completion.content) == ("tool_calls", "")
    jsonschema.validate(json.loads(completion.tool_calls[0].arguments), CITY)
    without = replace(request(models[name], tools=tools), generic_tools=False)
    with pytest.raises(InvalidOption, match="generic tools"):
        service.submit(without).result()


def test_a_prompt_alone_is_rendered_as_for_an_answer(models):
    asked = request(models["plain"], tools=(Tool(name="city", parameters=CITY),))
    with GenerationService(Host.discover(), generic_tools=False) as service:
        for ask in (service.prompt, lambda each: service.submit(each).result()):
            with pytest.raises(InvalidOption, match="generic tools"):
                ask(asked)
