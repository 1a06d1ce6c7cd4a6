"""A plugin with a fault in a description is named with the field, the rest of it works, and nothing else changes."""

from __future__ import annotations

import pytest

from mlxk_core.api import Model

COMMAND = "CommandSpec(**{{'name': 'x', 'summary': 'X.', 'target': 'json:dumps', {fields}}})"
BACKEND = "BackendSpec(**{{'name': 'x', 'summary': 'X.', 'accepts': print, 'target': 'json:dumps', {fields}}})"
SOURCE = "ModelSourceSpec(**{{'name': 'x', 'summary': 'X.', 'target': 'json:dumps', {fields}}})"
FORMAT = (
    "ReasoningExtractorSpec(**{{'name': 'x', 'summary': 'X.', 'matches': print, 'target': 'json:dumps', {fields}}})"
)
DETECTOR = "QuantizationDetectorSpec(**{{'name': 'x', 'detect': print, {fields}}})"
EXTENSION = "ServerExtensionSpec(**{{'name': 'x', 'summary': 'X.', 'target': 'json:dumps', {fields}}})"
CONSTRAINT = "ConstraintSpec(**{{'kind': 'x', 'target': 'json:dumps', {fields}}})"
POLICY = "StopPolicy(**{{{fields}}})"
HOOKS = {
    COMMAND: "mlxk_commands",
    BACKEND: "mlxk_backends",
    SOURCE: "mlxk_model_sources",
    FORMAT: "mlxk_reasoning_extractors",
    DETECTOR: "mlxk_quantization_detectors",
    EXTENSION: "mlxk_server_extensions",
    CONSTRAINT: "mlxk_constraints",
    POLICY: "mlxk_stop_policies",
}
FAULTS = [
    (COMMAND, "'name': 3"),
    (COMMAND, "'name': None"),
    (COMMAND, "'name': ''"),
    (COMMAND, "'name': 'two words'"),
    (COMMAND, "'name': '-x'"),
    (COMMAND, "'summary': None"),
    (COMMAND, "'section': 3"),
    (COMMAND, "'summary': 'two\\nlines'"),
    (COMMAND, "'target': 'json'"),
    (COMMAND, "'target': ''"),
    (COMMAND, "'target': None"),
    (COMMAND, "'aliases': 'abc'"),
    (COMMAND, "'aliases': (3,)"),
    (COMMAND, "'aliases': None"),
    (COMMAND, "'requires': 'never'"),
    (BACKEND, "'name': b'x'"),
    (BACKEND, "'accepts': None"),
    (BACKEND, "'estimate': 7"),
    (BACKEND, "'renderer': 7"),
    (BACKEND, "'constraints': 'yes'"),
    (SOURCE, "'name': 'a:b'"),
    (SOURCE, "'target': ['json:dumps']"),
    (FORMAT, "'matches': 'always'"),
    (FORMAT, "'tool_calls': 'sometimes'"),
    (FORMAT, "'tool_calls': True"),
    (DETECTOR, "'detect': None"),
    (EXTENSION, "'target': 5"),
    (CONSTRAINT, "'kind': None"),
    (POLICY, "'stop_strings': 'STOP'"),
    (POLICY, "'stop_strings': ('',)"),
    (POLICY, "'stop_tokens': None"),
    (POLICY, "'keep_tokens': frozenset({1})"),
]


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model").mkdir()
    return Model(name="m", path=tmp_path / "model")


@pytest.mark.parametrize(("description", "fault"), FAULTS, ids=[fault for _, fault in FAULTS])
def test_a_fault_in_a_description_is_its_plugins_alone(zoo, model, description, fault):
    field = fault.split("'")[1]
    hook = HOOKS[description]
    zoo.command("good")
    zoo.plugin(
        "faulty",
        f"""
        @hookimpl
        def {hook}():
            yield {description.format(fields=fault)}
            yield {description.format(fields=GOOD[description])}
        """,
    )
    assert zoo.mlxk("good").stdout == "good!\n"
    assert zoo.mlxk("--help").code == 0
    host = zoo.host()
    host.stop_policies(model)
    assert [verdict.answer for _, verdict in host.verdicts(model)] in ([], ["no"])
    faulty, good = (record for record in host.plugins() if record.status != "disabled")
    assert (good.status, good.reason) == ("loaded", None)
    assert faulty.status == "failed"
    assert f"{hook}()" in faulty.reason
    assert f".{field} must be" in faulty.reason
    assert faulty.label == "faulty (zoo-faulty 1.0)"
    assert faulty.provides, "the rest of it stays"


GOOD = {
    COMMAND: "'name': 'rest'",
    BACKEND: "'name': 'rest'",
    SOURCE: "'name': 'rest'",
    FORMAT: "'name': 'rest'",
    DETECTOR: "'name': 'rest'",
    EXTENSION: "'name': 'rest'",
    CONSTRAINT: "'kind': 'rest'",
    POLICY: "'stop_strings': ('X',)",
}


RESULTS = {
    "accepts": ("mlxk_backends", "BackendSpec(name='x', summary='', accepts=lambda m: {value}, target='json:dumps')"),
    "matches": (
        "mlxk_reasoning_extractors",
        "ReasoningExtractorSpec(name='x', summary='', matches=lambda m: {value}, target='json:dumps')",
    ),
    "detect": ("mlxk_quantization_detectors", "QuantizationDetectorSpec(name='x', detect=lambda m: {value})"),
    "requires": (
        "mlxk_commands",
        "CommandSpec(name='x', summary='', target='json:dumps', requires=lambda: {value})",
    ),
}


@pytest.mark.parametrize(
    ("function", "value"),
    [
        ("accepts", "Verdict('maybe')"),
        ("accepts", "None"),
        ("matches", "Evidence('template', 'x')"),
        ("matches", "'yes'"),
        ("detect", "[Quantization(format='gguf', label=None)]"),
        ("detect", "[Quantization(format='gguf', label='x', notes='note')]"),
        ("detect", "7"),
        ("requires", "True"),
    ],
)
def test_a_function_that_returns_something_else_is_named_with_its_place(zoo, model, function, value):
    hook, description = RESULTS[function]
    zoo.plugin("faulty", f"@hookimpl\ndef {hook}():\n    yield {description.format(value=value)}")
    host = zoo.host()
    host.verdicts(model)
    host.reasoning_format(model)
    host.quantizations(model)
    host.commands()
    [faulty] = (record for record in host.plugins() if record.status != "disabled")
    assert faulty.status == "failed"
    assert f"{function} of x raised TypeError" in faulty.reason


def test_the_error_of_a_library_is_placed_in_the_plugin_that_called_it(zoo, model):
    zoo.plugin(
        "faulty",
        """
        import json

        @hookimpl
        def mlxk_stop_policies(model):
            return helper()

        def helper():
            return json.loads("{")
        """,
    )
    host = zoo.host()
    host.stop_policies(model)
    [faulty] = (record for record in host.plugins() if record.status != "disabled")
    line = (zoo.folder / "zoo_faulty.py").read_text().splitlines().index('    return json.loads("{")') + 1
    assert faulty.reason.endswith(f"(zoo_faulty.py:{line})")


@pytest.mark.parametrize(
    "source",
    [
        "import os; os._exit(0)",
        "raise KeyboardInterrupt",
        "import sys; sys.exit()",
        "class Odd(BaseException): ...\nraise Odd",
    ],
)
def test_an_exit_at_import_is_a_failure_like_any_other(zoo, source):
    zoo.command("good")
    zoo.plugin("leaver", source)
    done = zoo.process("good")
    assert (done.code, done.stdout) == (0, "good!\n")
    assert "leaver (zoo-leaver 1.0)" in done.stderr


def test_what_plugins_print_at_import_in_hooks_and_at_exit_is_not_in_the_answer(zoo):
    zoo.command("good")
    zoo.plugin(
        "loud",
        """
        import atexit, os
        print("import")
        atexit.register(print, "exit")
        atexit.register(os.write, 1, b"raw exit")

        @hookimpl
        def mlxk_commands():
            print("hook")
            yield CommandSpec(name="loud", summary="", target="zoo_loud_target:command", requires=requires)

        def requires():
            print("requires")
        """,
    )
    zoo.module("zoo_loud_target", "print('target')\n" + LOUD_COMMAND)
    assert zoo.process("good").stdout == "good!\n"
    assert zoo.process("loud", "--json").json["data"] == {"said": "loud"}
    assert zoo.process("loud").stdout == "mine\n", "a command's own print is its answer"


LOUD_COMMAND = """
import click
from mlxk_core.api.commands import json_option

@click.command("loud")
@json_option
def command():
    print("mine")
    return {"said": "loud"}
"""


def test_the_deep_check_finds_what_only_a_call_shows(zoo):
    zoo.module("numpy", "")
    zoo.module("zoo_shapes", "class Source:\n    def names(self): return 'abc'\n    def find(self, name): return name")
    zoo.plugin(
        "shallow",
        """
        import numpy
        print("hello")

        @hookimpl
        def mlxk_commands():
            yield CommandSpec(name="shallow", summary="", target="json:dumps")

        @hookimpl
        def mlxk_constraints():
            yield ConstraintSpec(kind="endless", target=Endless)

        class Endless:
            def may_take_long(self, grammar, vocabulary=None): return True
            def check(self, grammar): pass  # cannot be ended
            def compile(self, grammar, vocabulary): pass

        @hookimpl
        def mlxk_model_sources():
            yield ModelSourceSpec(name="shapes", summary="", target="zoo_shapes:Source")

        @hookimpl
        def mlxk_reasoning_extractors():
            for name in ("one", "two"):
                yield ReasoningExtractorSpec(name=name, summary="", matches=matches, target=Extractor)

        def matches(model):
            return Evidence(Strength.TEMPLATE, "always")

        class Extractor:
            channel = "content"

            def __init__(self, context):
                pass

            def feed(self, text):
                return [text]

            def close(self):
                return ()

        @hookimpl
        def mlxk_server_extensions():
            yield ServerExtensionSpec(name="bad", summary="", target=extend)

        def extend(server):
            server.add_route("/half", object())
            1 / 0
        """,
    )
    done = zoo.process("plugins", "--check", "--json")
    assert done.code == 1
    [record] = (entry for entry in done.json["data"]["plugins"] if entry["name"] == "shallow")
    problems = "\n".join([record["reason"], *record["problems"]])
    for expected in (
        "importing zoo_shallow prints to standard output",
        "importing zoo_shallow imports numpy",
        "the target of shallow is not a click command",
        "the target of endless is not () -> SlowConstraintCompiler",
        "find of shapes raised TypeError: it returns str, not Model",
        "reasoning format one raised TypeError: str is not an event",
        "Several reasoning formats fit",
        "server extension bad raised ZeroDivisionError",
    ):
        assert expected in problems, expected
    assert "route /half" not in record["provides"]
