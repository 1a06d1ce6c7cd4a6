"""`mlxk run --schema`, `--regex`, `--grammar` and `--thinking-budget`, in real processes."""

import json

import pytest

from mlxk_testing.tiny_models import CHATML_TOKENS, OPENED_THINKING_CHATML, random_model

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9, "minimum": 1}}, "required": ["n"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "opened"
    tokens = (*CHATML_TOKENS, "<think>", "</think>")
    return str(random_model(folder, ends=True, chat_template=OPENED_THINKING_CHATML, added_tokens=tokens))


def test_with_a_schema_the_value_is_in_the_data(mlxk, model, tmp_path):
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    for schema in (str(path), json.dumps(SCHEMA)):
        data = mlxk("run", model, "Hi", "--schema", schema, "--thinking-budget", "4", "--json").json["data"]
        assert data["finish_reason"] == "stop"
        assert data["value"] == json.loads(data["response"])
        assert 1 <= data["value"]["n"] <= 9
        assert data["usage"]["reasoning_tokens"] <= 6


def test_a_pattern_and_a_grammar_hold(mlxk, model, tmp_path):
    grammar = tmp_path / "yes.gbnf"
    grammar.write_text('root ::= "yes" | "no"')
    for options in (["--regex", "yes|no"], ["--grammar", str(grammar)]):
        result = mlxk("run", model, "Hi", *options, "--thinking-budget", "0", "--hide-reasoning")
        assert result.stdout.strip() in ("yes", "no")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--schema", "{"], "invalid_option"),
        (["--schema", "missing.json"], "invalid_option"),
        (["--schema", '{"type": "objekt"}'], "invalid_constraint"),
        (["--regex", "("], "invalid_constraint"),
        (["--regex", "a", "--schema", "{}"], "usage_error"),
    ],
)
def test_a_constraint_at_fault_is_wrong_usage(mlxk, model, options, code):
    result = mlxk("run", model, "Hi", *options, "--json")
    assert (result.code, result.json["error"]["type"]) == (2, code)
