"""Each hook: what it contributes, how one contribution is chosen, and what happens when several claim the same."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from mlxk_core._cli.session import json_option
from mlxk_core._errors import (
    BrokenModel,
    InvalidOption,
    ModelNotFound,
    PluginConflict,
    PluginFailure,
    UnsupportedModel,
    UsageError,
)
from mlxk_core._host.host import Host
from mlxk_core.api import (
    AgentEndpoint,
    AgentSetup,
    AgentSpec,
    BackendSpec,
    CommandSpec,
    ConstraintSpec,
    Evidence,
    LifecycleListener,
    Model,
    ModelSourceSpec,
    Quantization,
    QuantizationDetectorSpec,
    ReasoningExtractorSpec,
    ServerExtensionSpec,
    SettingsSection,
    StopPolicy,
    Strength,
    Verdict,
    hookimpl,
    setting,
)


@pytest.fixture
def model(tmp_path):
    return Model(name="org/model", path=tmp_path)


@pytest.fixture
def lenient():
    """A host that goes on when a plugin fails."""
    return Host()


def plugin(hook, *contributions):
    """A plugin with one hook."""

    def implementation():
        return contributions

    implementation.__name__ = hook
    return SimpleNamespace(**{hook: hookimpl(implementation)})


def failing(*_):
    raise ZeroDivisionError("a bug")


# Commands


@click.command()
@json_option
@click.pass_obj
def hello(session):
    """Say hello."""
    if not session.output.json:
        session.output.line("hello")
    return {"said": "hello"}


def command(name="hello", **fields):
    return CommandSpec(name=name, summary="Say hello.", target=hello, **fields)


def test_hook_mlxk_commands(host, cli):
    host.register(plugin("mlxk_commands", command(aliases=("hi",))), name="greet")
    assert [spec.name for spec in host.commands()] == ["hello"]
    assert cli("hello").stdout == "hello\n"
    assert cli("hi", "--json").json == {
        "status": "success",
        "command": "hello",
        "data": {"said": "hello"},
        "error": None,
    }


def test_a_command_that_is_off_is_listed_nowhere_and_says_why_when_typed(host, cli):
    host.register(plugin("mlxk_commands", command(requires=lambda: "set MLXK_ENABLE=hello to try it.")), name="greet")
    assert host.commands() == []
    assert "hello" not in cli("--help").stdout
    assert "hello" not in cli("plugins").stdout
    typed = cli("hello")
    assert (typed.code, typed.stderr) == (2, "mlxk: error: `hello` is off: set MLXK_ENABLE=hello to try it.\n")


def test_a_command_whose_check_raises_is_off_and_its_plugin_on_record(lenient):
    lenient.register(plugin("mlxk_commands", command(requires=failing), command("other")), name="greet")
    assert [spec.name for spec in lenient.commands()] == ["other"]
    with pytest.raises(UsageError, match="is off: its check failed"):
        lenient.command("hello")
    assert "ZeroDivisionError: a bug" in lenient.plugins()[0].reason


def test_an_alias_that_another_command_claims_is_lost_alone(host):
    host.register(plugin("mlxk_commands", command("serve", aliases=("server", "s"))), name="a")
    host.register(plugin("mlxk_commands", command("server")), name="b")
    assert host.command("s").name == "serve"
    assert [spec.name for spec in host.commands()] == ["serve"]
    with pytest.raises(PluginConflict, match="claimed by several plugins: a, b"):
        host.command("server")


def test_a_name_one_plugin_claims_twice_is_off(host):
    host.register(plugin("mlxk_commands", command(), command()), name="a")
    with pytest.raises(PluginConflict, match="claimed twice by a"):
        host.command("hello")


@pytest.mark.parametrize(
    ("name", "distribution"),
    [
        ("run", "mlxk-run"),
        ("serve", "mlxk-serve"),
        ("server", "mlxk-serve"),
        ("pull", "mlxk-pull"),
        ("push", "mlxk-push"),
        ("list", "mlxk-models"),
        ("show", "mlxk-models"),
        ("health", "mlxk-models"),
        ("rm", "mlxk-models"),
    ],
)
def test_a_missing_command_of_ours_names_its_distribution(cli, name, distribution):
    done = cli(name)
    assert done.code == 2
    assert f"No such command `{name}`. It comes with {distribution}, which is not installed." in done.stderr


def test_a_command_that_the_installed_plugin_does_not_have_yet(host, cli):
    host.register(plugin("mlxk_commands"), name="push")
    assert "It comes with mlxk-push, but push does not have it." in cli("push").stderr


def test_a_mistyped_command_gets_a_suggestion(host, cli):
    host.register(plugin("mlxk_commands", command()), name="greet")
    assert "Did you mean `hello`?" in cli("helo").stderr
    assert "`mlxk --help` lists the commands." in cli("xyzzy").stderr


# Backends


def backend(name, verdict):
    accepts = verdict if callable(verdict) else lambda model: verdict
    return BackendSpec(name=name, summary="Runs.", accepts=accepts, target=f"{name}:engine")


def test_hook_mlxk_backends(host, model):
    yes, foreign = backend("yes", Verdict.yes()), backend("foreign", Verdict.foreign("it is no teapot."))
    host.register(plugin("mlxk_backends", yes, foreign), name="a")
    assert host.backends() == [foreign, yes]
    assert host.backend_for(model) is yes
    assert host.backend_for(model, "yes") is yes
    assert {spec.name: verdict.answer for spec, verdict in host.verdicts(model)} == {
        "yes": "yes",
        "foreign": "foreign",
    }


def test_two_backends_that_accept_a_model_are_a_conflict_that_names_both_and_the_option(host, model):
    host.register(plugin("mlxk_backends", backend("one", Verdict.yes())), name="a")
    host.register(plugin("mlxk_backends", backend("two", Verdict.yes())), name="b")
    with pytest.raises(PluginConflict, match=r"one \(plugin a\), two \(plugin b\). Choose one with --backend"):
        host.backend_for(model)
    assert host.backend_for(model, "two").name == "two"


def test_a_model_nobody_runs_is_refused_with_the_most_telling_reason(host, model):
    no, foreign = (
        backend("near", Verdict.no("Q9 is not supported.")),
        backend("far", Verdict.foreign("it has no GGUF.")),
    )
    host.register(plugin("mlxk_backends", foreign, no), name="a")
    with pytest.raises(UnsupportedModel) as refused:
        host.backend_for(model)
    assert "Q9 is not supported." in str(refused.value)
    assert "GGUF" not in str(refused.value)
    assert refused.value.details["reasons"] == {"near": "Q9 is not supported.", "far": "it has no GGUF."}


def test_a_model_that_is_foreign_to_all_is_refused_with_their_reasons(host, model):
    host.register(plugin("mlxk_backends", backend("far", Verdict.foreign("it has no GGUF."))), name="a")
    with pytest.raises(UnsupportedModel, match=r"it has no GGUF\. \(far\)"):
        host.backend_for(model)


def test_without_any_backend_the_error_says_how_to_get_one(host, model):
    with pytest.raises(UnsupportedModel, match="mlxk-mlx, which is not installed"):
        host.backend_for(model)


def test_files_that_no_backend_here_is_for_are_told_with_what_runs_them(host, model, tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    file = Model(name="tiny.gguf", path=tmp_path / "tiny.gguf")
    host.register(plugin("mlxk_backends", backend("mlx", Verdict.foreign("it is a GGUF file"))), name="a")
    with pytest.raises(
        UnsupportedModel, match=r"file \(mlx\)\. GGUF files run with mlxk-gguf, which is not installed\.$"
    ):
        host.backend_for(file)
    host.register(plugin("mlxk_backends", backend("gguf", Verdict.no("Q9 is not supported."))), name="b")
    with pytest.raises(UnsupportedModel) as refused:
        host.backend_for(file)
    assert "not installed" not in str(refused.value)


def test_a_backend_that_is_not_there_is_an_invalid_option(host, model):
    host.register(plugin("mlxk_backends", backend("one", Verdict.yes())), name="a")
    with pytest.raises(InvalidOption, match="--backend: `zero` is unknown; available: one"):
        host.backend_for(model, "zero")
    with pytest.raises(InvalidOption, match=r"available: one\. It comes with mlxk-gguf, which is not installed"):
        host.backend_for(model, "gguf")


def test_a_backend_asked_by_name_still_judges_the_model(host, model):
    host.register(plugin("mlxk_backends", backend("one", Verdict.no("too big."))), name="a")
    with pytest.raises(UnsupportedModel, match=r"The backend one cannot run `org/model`: too big\."):
        host.backend_for(model, "one")


def test_a_backend_whose_judgement_raises_leaves_the_others_to_it(lenient, model):
    lenient.register(plugin("mlxk_backends", backend("bad", failing)), name="a")
    lenient.register(plugin("mlxk_backends", backend("worse", lambda model: True)), name="b")
    lenient.register(plugin("mlxk_backends", backend("good", Verdict.yes())), name="c")
    assert lenient.backend_for(model).name == "good"
    bad, worse, _ = lenient.plugins()
    assert "accepts of bad raised ZeroDivisionError: a bug" in bad.reason
    assert "it returns bool, not Verdict" in worse.reason


def test_a_model_whose_files_are_damaged_is_no_failure_of_the_backend(host, model):
    (model.path / "config.json").write_text("{")
    host.register(plugin("mlxk_backends", backend("one", lambda m: Verdict.yes() if m.config else None)), name="a")
    ((_, verdict),) = host.verdicts(model)
    assert verdict.answer == "no"
    with pytest.raises(BrokenModel, match=r"config\.json"):
        host.backend_for(model)
    assert host.plugins()[0].status == "loaded"


def test_a_backend_name_that_two_claim_is_off(host, model):
    host.register(plugin("mlxk_backends", backend("one", Verdict.yes())), name="a")
    host.register(plugin("mlxk_backends", backend("one", Verdict.yes())), name="b")
    assert host.backends() == []
    with pytest.raises(PluginConflict, match="backend `one` is claimed by several plugins: a, b"):
        host.backend_for(model, "one")
    with pytest.raises(UnsupportedModel, match="claimed by several plugins: a, b"):
        host.backend_for(model)


# Model sources


class Shelf:
    def names(self):
        yield "toy"

    def find(self, name):
        if name == "gone":
            raise ModelNotFound(name, hint="pip install it.")
        return Model(name="toy", path=Path("/toy"), origin="source") if name == "toy" else None


class BrokenShelf:
    names = find = failing


class OddShelf:
    def names(self):
        return ["odd"]

    def find(self, name):
        return {"path": "/odd"}


def source(name, target):
    return ModelSourceSpec(name=name, summary="Has models.", target=target)


def test_hook_mlxk_model_sources(host):
    host.register(plugin("mlxk_model_sources", source("shelf", Shelf)), name="a")
    ((spec, shelf),) = host.model_sources()
    assert spec.name == "shelf"
    assert list(shelf.names()) == ["toy"]
    assert shelf.find("toy").name == "toy"
    assert shelf.find("other") is None
    with pytest.raises(ModelNotFound, match="pip install it"):
        shelf.find("gone")
    assert host.model_sources()[0][1] is shelf, "a source is made once"


def test_a_source_that_cannot_be_made_or_raises_leaves_the_others(lenient):
    lenient.register(plugin("mlxk_model_sources", source("absent", "nowhere_at_all:Shelf")), name="absent")
    lenient.register(plugin("mlxk_model_sources", source("broken", BrokenShelf)), name="broken")
    lenient.register(plugin("mlxk_model_sources", source("odd", OddShelf)), name="odd")
    lenient.register(plugin("mlxk_model_sources", source("good", Shelf)), name="good")
    sources = {spec.name: source for spec, source in lenient.model_sources()}
    assert sorted(sources) == ["broken", "good", "odd"]
    assert (list(sources["broken"].names()), sources["broken"].find("toy")) == ([], None)
    assert sources["odd"].find("odd") is None
    assert [record.status for record in lenient.plugins()] == ["failed", "failed", "failed", "loaded"]


@pytest.mark.parametrize(
    "field",
    [
        {"name": None},
        {"name": ""},
        {"name": "x" * 2000},
        {"path": "/srv/models/toy"},
        {"path": Path("/srv/a\0b")},
        {"revision": ["a"]},
        {"variant": 5},
        {"source": ["a"]},
        {"defaults": None},
        {"settings": None},
    ],
)
def test_a_source_with_a_malformed_model_leaves_the_others(lenient, field):
    class Malformed:
        def names(self):
            return ["odd"]

        def find(self, name):
            return Model(**{"name": "odd", "path": Path("/odd"), "origin": "source", "source": "odd", **field})

        def fetch(self, name, report):
            return self.find(name)

    lenient.register(plugin("mlxk_model_sources", source("odd", Malformed)), name="odd")
    lenient.register(plugin("mlxk_model_sources", source("good", Shelf)), name="good")
    sources = {spec.name: source for spec, source in lenient.model_sources()}
    assert sources["odd"].find("odd") is None
    with pytest.raises(PluginFailure):
        sources["odd"].fetch("odd", print)
    assert sources["good"].find("toy").name == "toy"


@pytest.mark.parametrize("names", [["x"] * 300_000, ["x" * 10_000_000], itertools.repeat("x")])
def test_a_source_with_too_many_names_offers_none(lenient, names):
    class Many:
        def names(self):
            return names

        def find(self, name):
            return None

    lenient.register(plugin("mlxk_model_sources", source("many", Many)), name="many")
    ((_, many),) = lenient.model_sources()
    assert list(many.names()) == []


# Stop policies


def stops(**fields):
    class Policy:
        @hookimpl
        def mlxk_stop_policies(self, model):
            yield StopPolicy(**fields)

    return Policy()


def test_hook_mlxk_stop_policies(host, model):
    host.register(stops(stop_tokens=frozenset({"<a>", "<b>"}), stop_strings=("X", "Y")), name="a")
    host.register(stops(stop_tokens=frozenset({"<c>"}), keep_tokens=frozenset({"<b>"}), stop_strings=("Y",)), name="b")
    assert host.stop_policies(model) == StopPolicy(
        stop_tokens=frozenset({"<a>", "<b>", "<c>"}), keep_tokens=frozenset({"<b>"}), stop_strings=("X", "Y")
    )
    assert host.plugins()[0].provides == ("stop policy",)


def test_a_stop_policy_that_raises_leaves_the_others(lenient, model):
    class Bad:
        mlxk_stop_policies = staticmethod(hookimpl(lambda model: failing()))

    lenient.register(Bad(), name="a")
    lenient.register(stops(stop_strings=("X",)), name="b")
    assert lenient.stop_policies(model).stop_strings == ("X",)
    assert lenient.plugins()[0].status == "failed"


def test_a_stop_policy_that_cannot_read_a_damaged_model_has_not_failed(host, model):
    class Policy:
        @hookimpl
        def mlxk_stop_policies(self, model):
            yield StopPolicy(stop_strings=(model.config["model_type"],))

    (model.path / "config.json").write_text("{")
    host.register(Policy(), name="a")
    assert host.stop_policies(model) == StopPolicy()
    assert host.plugins()[0].status == "loaded"


def test_an_implementation_may_take_fewer_arguments_than_its_hook_gives(host, model):
    class Policy:
        @hookimpl
        def mlxk_stop_policies(self):
            yield StopPolicy(stop_strings=("X",))

    host.register(Policy(), name="a")
    assert host.stop_policies(model).stop_strings == ("X",)


# Reasoning formats


def form(name, evidence):
    matches = evidence if callable(evidence) else lambda model: evidence
    return ReasoningExtractorSpec(name=name, summary="Thinks.", matches=matches, target="mlxk_test:Extractor")


def seen(strength):
    return Evidence(strength, "it says so")


def test_hook_mlxk_reasoning_extractors(host, model):
    host.register(
        plugin(
            "mlxk_reasoning_extractors",
            form("by-name", seen(Strength.NAME)),
            form("by-template", seen(Strength.TEMPLATE)),
            form("absent", None),
        ),
        name="a",
    )
    spec, evidence = host.reasoning_format(model)
    assert (spec.name, evidence.strength) == ("by-template", Strength.TEMPLATE)
    assert host.reasoning_format(model, "absent")[0].name == "absent"
    assert host.reasoning_format(model, "none") is None


def test_a_model_without_evidence_has_no_reasoning_format(host, model):
    host.register(plugin("mlxk_reasoning_extractors", form("absent", None)), name="a")
    assert host.reasoning_format(model) is None


def test_equal_evidence_for_two_formats_is_a_conflict_that_names_both_and_the_option(host, model):
    host.register(plugin("mlxk_reasoning_extractors", form("one", seen(Strength.TEMPLATE))), name="a")
    host.register(plugin("mlxk_reasoning_extractors", form("two", seen(Strength.TEMPLATE))), name="b")
    host.register(plugin("mlxk_reasoning_extractors", form("weak", seen(Strength.NAME))), name="c")
    with pytest.raises(PluginConflict, match=r"one \(plugin a\), two \(plugin b\)\. .*--reasoning-format"):
        host.reasoning_format(model)


def test_a_format_that_is_not_there_is_an_invalid_option(host, model):
    host.register(plugin("mlxk_reasoning_extractors", form("one", None)), name="a")
    with pytest.raises(InvalidOption, match="`zero` is unknown; available: one, none"):
        host.reasoning_format(model, "zero")


def test_nobody_can_claim_the_name_that_turns_extraction_off(host, model):
    host.register(plugin("mlxk_reasoning_extractors", form("none", seen(Strength.TEMPLATE))), name="a")
    assert host.reasoning_format(model, "none") is None
    assert host.plugins()[0].conflicts == ("The reasoning format `none` is mlxk's own and cannot be claimed.",)


def test_a_format_whose_matches_raises_counts_as_no_evidence(lenient, model):
    lenient.register(plugin("mlxk_reasoning_extractors", form("bad", failing)), name="a")
    lenient.register(plugin("mlxk_reasoning_extractors", form("good", seen(Strength.NAME))), name="b")
    assert lenient.reasoning_format(model)[0].name == "good"
    assert lenient.plugins()[0].status == "failed"


# Quantization detectors


def detector(name, *facts, detect=None):
    return QuantizationDetectorSpec(name=name, detect=detect or (lambda model: facts))


INT4 = Quantization(format="safetensors", label="int4 (group 64)")
Q4 = Quantization(format="gguf", label="Q4_0")


class Compiler:
    def check(self, grammar):
        pass


@dataclass(frozen=True, kw_only=True)
class Greeting:
    word: str = setting("The first word.", default="Hello")


def test_hook_mlxk_settings(host, tmp_path, monkeypatch):
    host.register(plugin("mlxk_settings", SettingsSection(name="greeting", summary="", type=Greeting)), name="a")
    (tmp_path / "config.toml").write_text('[greeting]\nword = "Hi"\n')
    monkeypatch.setenv("MLXK_CONFIG", str(tmp_path / "config.toml"))
    assert host.settings.section(Greeting) == Greeting(word="Hi")
    assert host.plugins()[0].provides == ("settings section greeting",)


def test_hook_mlxk_agents(host):
    spec = AgentSpec(
        name="pal",
        summary="",
        executable="pal",
        install="npm",
        target=lambda to: AgentSetup(arguments=(to.openai_url,)),
    )
    host.register(plugin("mlxk_agents", spec), name="a")
    assert host.agents() == [spec]
    setup = host.load(spec.target)(AgentEndpoint(url="http://x", model="m"))
    assert setup.arguments == ("http://x/v1",)
    assert host.plugins()[0].provides == ("agent pal",)


def test_hook_mlxk_constraints(host):
    spec = ConstraintSpec(kind="sql", target=Compiler)
    host.register(plugin("mlxk_constraints", spec), name="a")
    assert [spec.kind for spec in host.constraints()] == ["sql"]


def test_a_kind_of_constraint_that_two_plugins_compile_is_an_error_that_names_both(lenient):
    for name in ("a", "b"):
        lenient.register(plugin("mlxk_constraints", ConstraintSpec(kind="sql", target="x:y")), name=name)
    with pytest.raises(PluginConflict) as conflict:
        lenient.constraint_compiler("sql", "--sql")
    assert conflict.value.details["plugins"] == ["a", "b"]


def test_a_constraint_without_a_compiler_names_the_distribution(host):
    with pytest.raises(InvalidOption, match="mlxk-structured"):
        host.constraint_compiler("json_schema", "--schema")


def test_hook_mlxk_quantization_detectors(host, model):
    host.register(plugin("mlxk_quantization_detectors", detector("one", INT4), detector("two", Q4)), name="a")
    assert host.quantizations(model) == [Q4, INT4]
    assert host.plugins()[0].provides == ("quantization detector one", "quantization detector two")


def test_two_readings_of_one_format_are_both_there_and_named(host, model):
    host.register(plugin("mlxk_quantization_detectors", detector("one", INT4), detector("three", Q4)), name="a")
    host.register(plugin("mlxk_quantization_detectors", detector("two", INT4)), name="b")
    notes = [fact.notes for fact in host.quantizations(model)]
    assert notes == [(), ("read by one of plugin a",), ("read by two of plugin b",)]


def test_a_detector_that_raises_midway_gives_nothing_and_leaves_the_others(lenient, model):
    def detect(model):
        yield INT4
        failing()

    lenient.register(plugin("mlxk_quantization_detectors", detector("bad", detect=detect)), name="a")
    lenient.register(plugin("mlxk_quantization_detectors", detector("good", Q4)), name="b")
    assert lenient.quantizations(model) == [Q4]
    assert "detect of bad raised ZeroDivisionError" in lenient.plugins()[0].reason


# Loading, and strictness


def test_a_target_is_imported_when_it_is_loaded(host):
    assert host.load("json:dumps")({}) == "{}"
    assert host.load("json.decoder:JSONDecoder.decode") is __import__("json").JSONDecoder.decode


@pytest.mark.parametrize("target", ["nowhere_at_all:x", "json:nothing", "json:JSONDecoder.nothing"])
def test_a_target_that_cannot_be_loaded_names_its_plugin(lenient, model, target):
    spec = BackendSpec(name="b", summary="", accepts=lambda model: Verdict.yes(), target=target)
    lenient.register(plugin("mlxk_backends", spec), name="hollow")
    with pytest.raises(PluginFailure, match="Plugin hollow failed"):
        lenient.load(lenient.backend_for(model).target)
    assert lenient.plugins()[0].status == "failed"


def test_a_strict_host_raises_what_a_lenient_one_records(host, lenient, model):
    bad = plugin("mlxk_reasoning_extractors", form("bad", failing))
    for each in host, lenient:
        each.register(bad, name="a")
    assert lenient.reasoning_format(model) is None
    with pytest.raises(PluginFailure, match="Plugin a failed: matches of bad raised ZeroDivisionError: a bug"):
        host.reasoning_format(model)


def test_a_plugin_that_fails_late_is_named_when_it_fails_and_once(lenient, model):
    said = []
    lenient.register(plugin("mlxk_reasoning_extractors", form("bad", failing)), name="a")
    lenient.announce_failures(said.append)
    assert said == []
    lenient.reasoning_format(model)
    lenient.reasoning_format(model)
    assert len(said) == 1
    assert said[0].startswith("mlxk: plugin a failed: matches of bad raised ZeroDivisionError")


def test_a_host_finds_nothing_by_itself():
    assert Host().plugins() == []
    assert Host().commands() == []


# Server extensions


def test_hook_mlxk_server_extensions(host, lenient):
    def extend(server):
        server.append("added")

    spec = ServerExtensionSpec(name="ping", summary="GET /ping.", target=extend)
    for each in host, lenient:
        each.register(plugin("mlxk_server_extensions", spec), name="a")
    assert host.server_extensions() == [spec]
    assert host.plugins()[0].provides == ("server extension ping",)
    server = []
    assert host.attempt(spec, lambda: host.load(spec.target)(server))
    assert server == ["added"]
    assert not lenient.attempt(spec, failing)
    assert "server extension ping raised ZeroDivisionError" in lenient.plugins()[0].reason


# Life cycle


def test_hook_mlxk_lifecycle(host):
    listener = LifecycleListener(name="bill", on_finish=print)
    host.register(plugin("mlxk_lifecycle", listener), name="a")
    assert [each for _, each in host.lifecycle()] == [listener]
    assert host.plugins()[0].provides == ("lifecycle listener bill",)
