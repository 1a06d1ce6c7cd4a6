"""docs/plugins/hooks.md keeps its word: every hook is there with its signature, and every example in it works."""

from __future__ import annotations

import inspect
import re
import runpy
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from mlxk_core._errors import InvalidConstraint
from mlxk_core._generation.grammar import Matches
from mlxk_core._host.hookspecs import HookSpecs
from mlxk_core.api import Channel, ExtractorContext, Model, Strength
from mlxk_testing.splits import assert_split_invariant

HOOKS = [name for name in vars(HookSpecs) if name.startswith("mlxk_")]


@pytest.fixture
def page(repository):
    return (repository / "docs" / "plugins" / "hooks.md").read_text(encoding="utf-8")


@pytest.fixture
def example(monkeypatch):
    """`example(hook)`: the plugin in the hook's docstring, as a module that targets can name."""

    def module(hook, name):
        module = ModuleType(name)
        exec(_example_of(hook), vars(module))
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return module


def _example_of(hook):
    return re.search(r"```python\n(.*?)```", inspect.getdoc(getattr(HookSpecs, hook)), re.DOTALL)[1]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_section_with_its_exact_signature_and_its_example(page, hook):
    signature = inspect.signature(getattr(HookSpecs, hook))
    arguments = ", ".join(f"{p.name}: {p.annotation}" for p in signature.parameters.values() if p.name != "self")
    heading = f"### `{hook}({arguments}) -> {signature.return_annotation}`"
    assert heading in page
    section = page.partition(heading)[2].partition("\n#")[0]
    assert f"```python\n{_example_of(hook)}```" in section
    assert "**Called**" in section


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_test_of_its_name(repository, hook):
    tests = (repository / "tests" / "core" / "test_host_hooks.py").read_text(encoding="utf-8")
    assert f"def test_hook_{hook}(" in tests


def test_the_page_begins_with_a_plugin_of_twelve_lines_that_works(page, host, cli, monkeypatch):
    source = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    assert len([line for line in source.splitlines() if line]) <= 12
    module = ModuleType("mlxk_hello")
    exec(source, vars(module))
    monkeypatch.setitem(sys.modules, "mlxk_hello", module)
    host.register(module, name="hello")
    assert cli("hello").stdout == "Hello, world!\n"
    assert cli("hello", "--help").stdout.split("\n\n")[1].strip() == "Say hello."


def test_the_example_command_works(host, cli, example):
    host.register(example("mlxk_commands", "mlxk_hello"), name="hello")
    assert cli("hello").stdout == "Hello, world!\n"


def test_the_example_backend_judges_models(host, example, tmp_path):
    host.register(example("mlxk_backends", "mlxk_rwkv"), name="rwkv")

    def answer(config):
        (tmp_path / "config.json").write_text(config)
        ((_, verdict),) = host.verdicts(Model(name="m", path=tmp_path))
        return verdict.answer

    assert answer('{"model_type": "llama"}') == "foreign"
    assert answer('{"model_type": "rwkv7", "head_size": 32}') == "no"
    assert answer('{"model_type": "rwkv7", "head_size": 64}') == "yes"


def test_the_example_source_offers_the_models_of_its_folder(host, example, tmp_path):
    module = example("mlxk_model_sources", "mlxk_shelf")
    module.Shelf.folder = tmp_path
    (tmp_path / "toy").mkdir()
    host.register(module, name="shelf")
    ((_, shelf),) = host.model_sources()
    assert list(shelf.names()) == ["toy"]
    assert shelf.find("toy").path == tmp_path / "toy"
    assert shelf.find("other") is None


def test_the_example_stop_policy_is_for_its_models_only(host, example, tmp_path):
    host.register(example("mlxk_stop_policies", "mlxk_chatty"), name="chatty")
    assert host.stop_policies(Model(name="m", path=tmp_path)).stop_strings == ()
    (tmp_path / "config.json").write_text('{"model_type": "chatty"}')
    assert host.stop_policies(Model(name="m", path=tmp_path)).stop_strings == ("\nNarrator:",)


def test_the_example_format_is_chosen_by_its_evidence_and_extracts(host, example, tmp_path):
    host.register(example("mlxk_reasoning_extractors", "mlxk_thought"), name="thought")
    (tmp_path / "chat_template.jinja").write_text("<only-thoughts>")
    model = Model(name="m", path=tmp_path)
    spec, evidence = host.reasoning_format(model)
    assert evidence.strength is Strength.TEMPLATE
    make = host.load(spec.target)
    extracted = assert_split_invariant(lambda: make(ExtractorContext(model=model)), "hm, hm")
    assert extracted.runs == ((Channel.REASONING, "hm, hm"),)


def test_the_example_detector_reads_the_config(host, example, tmp_path):
    host.register(example("mlxk_quantization_detectors", "mlxk_ternary"), name="ternary")
    assert host.quantizations(Model(name="m", path=tmp_path)) == []
    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "ternary"}}')
    assert [fact.label for fact in host.quantizations(Model(name="m", path=tmp_path))] == ["ternary"]


def test_the_example_constraint_allows_its_one_token(host, example):
    module = example("mlxk_constraints", "mlxk_one_token")
    host.register(module, name="one-token")
    compiler = host.constraint_compiler("token", "--token")
    with pytest.raises(InvalidConstraint):
        compiler.check(Matches("token", 3))
    vocabulary = SimpleNamespace(tokenizer=SimpleNamespace(token_id={"yes": 11}.get))
    constraint = compiler.compile(Matches("token", "yes"), vocabulary)
    assert constraint.mask() == b"\x00\x08"
    constraint.accept(11)
    assert constraint.complete


@pytest.mark.usefixtures("examples")
def test_the_installed_example_greets(mlxk):
    assert mlxk("hello").stdout == "Hello, world!\n"
    assert mlxk("hello", "you", "--json").json["data"] == {"greeting": "Hello, you!"}


def test_the_example_extension_adds_its_route(host, example):
    host.register(example("mlxk_server_extensions", "mlxk_ping"), name="ping")
    [spec] = host.server_extensions()
    added = {}
    server = SimpleNamespace(
        metrics=SimpleNamespace(counter=lambda name, help: name),
        add_route=lambda path, resource: added.update({path: resource}),
    )
    assert host.attempt(spec, lambda: host.load(spec.target)(server))
    assert list(added) == ["/ping"]
    assert added["/ping"].pings == "ping_total"


def test_the_example_listener_counts_tokens(host, example):
    module = example("mlxk_lifecycle", "mlxk_billing")
    host.register(module, name="billing")
    [(_, listener)] = host.lifecycle()
    event = SimpleNamespace(
        request=SimpleNamespace(model=SimpleNamespace(name="m")), usage=SimpleNamespace(total_tokens=3)
    )
    listener.on_finish(event)
    listener.on_finish(event)
    assert module.BILL == {"m": 6}


def test_the_code_on_the_pages_is_that_of_the_files_that_tests_run(repository):
    tool = repository / "tools" / "snippets.py"
    checked = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")
    text = (repository / "docs" / "plugins" / "tutorials" / "agent.md").read_text(encoding="utf-8")
    filled = runpy.run_path(str(tool))["filled"]
    assert filled(text.replace('name="pal"', 'name="other"')) == text
    for broken in (
        "<!-- code: examples/mlxk-pal/mlxk_pal.py:agent -->\n```python\n```\n",
        "<!-- code: README.md:x -->\n\n```\n```",
    ):
        with pytest.raises(ValueError, match=r"part|block"):
            filled(broken)
