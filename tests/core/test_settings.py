"""The settings file: read, validated with the line of an error, and what of it a model and a request get."""

import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mlxk_core._generation.request_settings import with_settings
from mlxk_core._settings.settings import line_of, parse_settings, settings_file
from mlxk_core.api.errors import BrokenModel, InvalidOption
from mlxk_core.api.generation import GenerationRequest, GenerationService, Message, model_sampling
from mlxk_core.api.host import Host
from mlxk_core.api.models import Resolver, model_context_length
from mlxk_core.api.settings import Settings, SettingsError, SettingsSection, setting, settings_warnings
from mlxk_testing.fake_engine import fake_backend, fake_model


@dataclass(frozen=True, kw_only=True)
class Chat:
    save: bool = setting("Save.", default=True)
    width: int | None = setting("Columns.", least=20)
    words: tuple[str, ...] = setting("Words.", default=())
    mood: str = setting("How it feels.", default="glad", choices=("glad", "sad"))


CHAT = SettingsSection(name="chat", summary="Chats.", type=Chat)


@pytest.fixture
def parse(tmp_path):
    return lambda text: parse_settings(text, tmp_path / "config.toml", [CHAT])


def test_a_file_has_defaults_aliases_models_and_sections(parse):
    settings = parse(
        """
        [defaults]
        model = "smollm2"
        temperature = 1
        stop = "END"
        [aliases]
        small = "smollm2"
        [models."org/m"]
        temperature = 0.5
        [chat]
        save = false
        words = ["a", "b"]
        """
    )
    assert settings.default_model == "smollm2" and settings.aliases == {"small": "smollm2"}
    assert settings.section(Chat) == Chat(save=False, words=("a", "b"))
    own, other = settings.for_model("org/m"), settings.for_model("x")
    assert (own.temperature, own.stop) == (0.5, ("END",)) and other.temperature == 1.0


def test_a_model_is_found_without_the_default_owner_and_by_its_variant(parse):
    settings = parse('[models."m"]\nseed = 1\n'.replace("seed", "top_k") + '[models."m:Q4_0"]\ntop_k = 2\n')
    assert settings.for_model("mlx-community/m").top_k == 1
    assert settings.for_model("mlx-community/m", "Q4_0").top_k == 2
    assert settings.for_model("org/m").top_k is None


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("[default]\n", 1, "`defaults`"),
        ("# x\n[defaults]\ntemprature = 1\n", 3, "`temperature`"),
        ("[defaults]\n\ntop_p = 2\n", 3, "at most 1"),
        ("[defaults]\ntop_p = true\n", 2, "a number"),
        ("[defaults]\ntemperature = nan\n", 2, "temperature"),
        ("[defaults]\nrepetition_penalty = 1e-320\n", 2, "from 0.001 to 1000"),
        ("[defaults]\nmax_tokens = 1.5\n", 2, "whole number"),
        (f"[defaults]\nmax_tokens = {10**400}\n", 2, "smaller number"),
        (f"[defaults]\ntemperature = {10**400}\n", 2, "smaller number"),
        (f"[defaults]\nttl = {10**400}\n", 2, "smaller number"),
        (f"[defaults]\nsystem = 0x{'f' * 5000}\n", 2, "a text"),
        ("[defaults]\nstop = [1]\n", 2, "list of texts"),
        ("[defaults]\nmodel = 3\n", 2, "model"),
        ('[models."org/m"]\nnope = 1\n', 2, "nope"),
        ("[models.m3.5]\ntop_k = 1\n", 1, "quotes"),
        ("[aliases]\na = 1\n", 2, "`a`"),
        ('[aliases]\na = "b"\nb = "c"\n', 2, "alias"),
        ("chat = 1\n", 1, "[chat]"),
        ("[chat]\nsafe = true\n", 2, "`save`"),
        ("[chat]\nwidth = 3\n", 2, "at least 20"),
        ("[chat]\nmood = 'x'\n", 2, "glad or sad"),
        ("[defaults]\nttl = 'soon'\n", 2, "15m"),
        ("[defaults]\nttl = 0\n", 2, "more than 0"),
        ("[aliases]\n'a b' = 'm'\n", 2, "one word"),
        ("[aliases]\n'./a' = 'm'\n", 2, "one word"),
        ("[aliases]\na = 'm'\nA = 'n'\n", 3, "case"),
        ("[aliases]\na = 'b:Q4_0'\nb = 'm'\n", 2, "alias"),
        ("[aliases]\na = 'b'\nb = 'a'\n", 2, "alias"),
        ("[aliases]\na = 'm'\n[models.a]\ntop_k = 1\n", 3, '[models."m"]'),
        ("\n[chat\n", 2, "TOML"),
        (f"[defaults]\nmax_tokens = {'9' * 5000}", 2, "TOML"),
        ("[chat]\nsave = true\nsave = false\n", 3, "TOML"),
        (f"[models]\n{'a.' * 20_000}a = 1\n", 2, "parts"),
        ("\n[" + '"a".' * 20_000 + "a]\n", 2, "parts"),
    ],
)
def test_what_is_wrong_is_an_error_with_its_line(parse, text, line, words):
    with pytest.raises(SettingsError) as error:
        parse(text)
    assert error.value.details["line"] == line and words in str(error.value)


def test_the_line_of_a_key_is_found_however_it_is_written():
    text = 'a."b.c".d = 1\n[x]\ny = 2\n[ "q" . r ]\nz = 3\n'
    assert line_of(text, ("a", "b.c", "d")) == 1
    assert line_of(text, ("x", "y")) == 3
    assert line_of(text, ("q", "r", "z")) == 5
    assert line_of(text, ("none",)) is None


def test_a_model_setting_may_be_empty_although_the_defaults_have_one(parse):
    settings = parse('[defaults]\nstop = ["END"]\ntop_k = 5\n[models.m]\nstop = []\ntop_k = 0\n')
    assert (settings.for_model("m").stop, settings.for_model("m").top_k) == ((), 0)


@pytest.mark.parametrize("text, seconds", [("90", 90), ('"90s"', 90), ('"1.5h"', 5400), ('"never"', float("inf"))])
def test_a_duration_is_in_seconds(parse, text, seconds):
    assert parse(f"[defaults]\nttl = {text}\n").defaults.ttl == seconds


def test_an_alias_keeps_the_variant_and_the_revision_after_it(parse):
    settings = parse('[aliases]\nsmall = "org/m"\n"llama:8b" = "org/n"\n')
    assert [settings.expand(text) for text in ("small", "small:Q4_0", "small@main", "llama:8b", "other:Q4_0")] == [
        "org/m",
        "org/m:Q4_0",
        "org/m@main",
        "org/n",
        "other:Q4_0",
    ]


def test_the_origin_of_a_value_is_its_section_and_line(parse):
    settings = parse('[defaults]\ntop_k = 1\ntop_p = 0.5\n[models.m]\ntop_k = 2\n[models."m:Q4_0"]\ntop_k = 3\n')
    found = [settings.origin("top_k", *model) for model in (("m", "Q4_0"), ("m", None), ("x", None))]
    assert [(each.section, each.line) for each in found] == [
        ('[models."m:Q4_0"]', 7),
        ('[models."m"]', 5),
        ("[defaults]", 2),
    ]
    assert settings.origin("min_p", "m") is None


def test_what_is_allowed_but_not_likely_to_be_meant_is_a_warning(parse, tmp_path):
    settings = parse(
        '[defaults]\nmodel = "lost"\n[aliases]\nls = "org/m"\nm = "org/n"\nfine = "org/n:Q4_0"\nbad = "org/none"\n'
        '[models.gone]\ntop_k = 1\n[models.n]\ntop_k = 1\n[models."org/n"]\nchat_template = "none.jinja"\n'
        "temperature = 9\n"
    )
    found = list(settings_warnings(settings, models=["org/m", "org/n"], commands={"ls"}))
    words = ("ls", "org/m", "org/none", "lost", "gone", 'Write [models."org/n"]', "none.jinja", "9 is above 2")
    assert [word for each, word in zip(found, words, strict=True) if word in each] == list(words)


@pytest.mark.parametrize(
    "target", ["org/Tiny-4bit", "TINY", "hub:org/Tiny-4bit", "tiny@main", "tiny 4bit", "hf.co/org/Tiny-4bit"]
)
def test_an_alias_for_a_name_that_finds_a_model_is_no_warning(parse, target):
    settings = parse(f'[aliases]\nmine = "{target}"\n')
    assert not list(settings_warnings(settings, models=["org/Tiny-4bit"], commands=()))


@pytest.mark.parametrize("target", [":Q4_0", "@main", "hub:none/Tiny-4bit", "./org/Tiny-4bit", "org/Tiny-4bit.gguf"])
def test_an_alias_for_a_name_that_finds_none_is_a_warning(parse, target):
    settings = parse(f'[aliases]\nmine = "{target}"\n')
    [warning] = settings_warnings(settings, models=["org/Tiny-4bit"], commands=())
    assert target in warning


@pytest.fixture
def model(host, tmp_path, monkeypatch):
    """A model as it is resolved with settings of its own."""
    folder = fake_model(tmp_path / "talker", context=4096).path
    (folder / "generation_config.json").write_text('{"temperature": 0.25, "top_k": 7}')
    (tmp_path / "own.jinja").write_text("{{ messages }}!")
    (tmp_path / "config.toml").write_text(
        f"""
        [aliases]
        mine = "{folder}"
        [defaults]
        top_p = 0.5
        [models.talker]
        temperature = 0.75
        presence_penalty = 0.5
        max_tokens = 9
        context_length = 100
        system = "Be brief."
        stop = ["END"]
        thinking = false
        thinking_budget = 5
        chat_template = "own.jinja"
        """
    )
    monkeypatch.setenv("MLXK_CONFIG", str(tmp_path / "config.toml"))
    return Resolver(host).resolve("mine")


def filled(model, **values):
    [request] = with_settings([GenerationRequest(model=model, **values)])
    return request


SAID = Message(role="user", content="Hi")


def test_settings_come_before_the_models_own_files(model):
    assert model_sampling(model) == {"temperature": 0.75, "top_k": 7, "top_p": 0.5, "presence_penalty": 0.5}
    assert model_context_length(model) == 100
    assert model.chat_templates == {"default": "{{ messages }}!"}


def test_a_chat_template_that_cannot_be_read_is_an_error_that_names_it(model, tmp_path):
    (tmp_path / "own.jinja").unlink()
    with pytest.raises(BrokenModel, match=r"own\.jinja"):
        _ = model.chat_template


def test_a_request_comes_before_the_settings(model):
    request = filled(model, prompt=[SAID])
    assert (request.max_tokens, request.stop, request.template_options["enable_thinking"]) == (9, ("END",), False)
    assert (request.thinking_budget, request.budget_is_default) == (5, True)
    assert request.prompt == [Message(role="system", content="Be brief."), SAID]
    own = [Message(role="system", content="Sing."), SAID]
    kept = filled(
        model,
        prompt=own,
        max_tokens=3,
        stop=("\n",),
        thinking_budget=7,
        template_options={"reasoning_effort": "high"},
    )
    assert (kept.prompt, kept.max_tokens, kept.template_options) == (own, 3, {"reasoning_effort": "high"})
    assert (kept.stop, kept.thinking_budget, kept.budget_is_default) == (("\n",), 7, False)


def test_a_raw_prompt_gets_no_settings_of_a_conversation(model):
    request = filled(model, prompt="Hi")
    assert (request.prompt, request.stop, request.max_tokens) == ("Hi", (), 9)


def test_requests_that_share_a_prompt_still_do(model):
    request = GenerationRequest(model=model, prompt=[SAID])
    first, second = with_settings([request, replace(request, min_tokens=1)])
    assert first.prompt is second.prompt and first.prompt is not request.prompt


def test_the_service_uses_the_settings_for_a_prompt_and_for_the_time_to_live(host, model):
    host.register(fake_backend(), name="fake")
    model = replace(model, settings=replace(model.settings, ttl=0.01))
    with GenerationService(host) as service:
        assert "Be brief." in service.prompt(GenerationRequest(model=model, prompt=[SAID])).text
        waiting = threading.Event()
        while not service.status().counters.expired:
            waiting.wait(0.01)
    with GenerationService(host, ttl=float("inf")) as service:
        service.preload(model)
        waiting.wait(0.1)
        assert service.is_loaded(model)


@pytest.mark.parametrize("key", ["backend", "reasoning_format"])
def test_a_name_that_no_plugin_has_is_an_error_that_names_the_setting(host, model, key):
    host.register(fake_backend(), name="fake")
    model = replace(model, settings=replace(model.settings, **{key: "nope"}))
    with GenerationService(host) as service:
        with pytest.raises(InvalidOption, match=rf"`{key}` in the settings file"):
            service.submit(GenerationRequest(model=model, prompt=[SAID]))
        with pytest.raises(InvalidOption, match=r"^--"):
            service.submit(GenerationRequest(model=model, prompt=[SAID], **{key: "other"}))


@pytest.mark.parametrize("kind", ["endless", "pipe", "large", "folder"])
def test_what_is_not_a_file_of_settings_is_an_error(tmp_path, monkeypatch, kind):
    file = Path("/dev/zero") if kind == "endless" else tmp_path / "config.toml"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "large":
        file.write_text("#" * 300_000)
    elif kind == "folder":
        file.mkdir()
    monkeypatch.setenv("MLXK_CONFIG", str(file))
    with pytest.raises(SettingsError):
        _ = Host().settings


def test_the_null_device_is_a_file_without_settings(monkeypatch):
    monkeypatch.setenv("MLXK_CONFIG", os.devnull)
    assert not Host().settings.text


def test_without_a_file_there_are_no_settings():
    assert Host().settings == Settings()
    assert settings_file().name == "config.toml"


@pytest.mark.needs("run")
def test_a_section_of_a_plugin_that_is_turned_off_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text("[chat]\nsave = false\n")
    monkeypatch.setenv("MLXK_CONFIG", str(tmp_path / "config.toml"))
    assert Host.discover(no_plugins=True).settings.sections == {}
