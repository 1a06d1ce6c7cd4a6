"""The settings file: read, validated with the line of an error, and what of it a model and a request get."""

from dataclasses import dataclass

import pytest

from mlxk_core._generation.request_settings import with_settings
from mlxk_core._settings.settings import line_of, parse_settings, settings_file
from mlxk_core.api.generation import GenerationRequest, Message, model_sampling
from mlxk_core.api.host import Host
from mlxk_core.api.models import Resolver, model_context_length
from mlxk_core.api.settings import Settings, SettingsError, SettingsSection, setting
from mlxk_testing.fake_engine import fake_model


@dataclass(frozen=True, kw_only=True)
class Chat:
    save: bool = setting("Save.", default=True)
    width: int | None = setting("Columns.", least=20)
    words: tuple[str, ...] = setting("Words.", default=())


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
        ("[defaults]\n\ntop_p = 2\n", 3, "from 0 to 1"),
        ("[defaults]\ntop_p = true\n", 2, "a number"),
        ("[defaults]\ntemperature = nan\n", 2, "temperature"),
        ("[defaults]\nmax_tokens = 1.5\n", 2, "whole number"),
        ("[defaults]\nstop = [1]\n", 2, "list of texts"),
        ("[defaults]\nmodel = 3\n", 2, "model"),
        ('[models."org/m"]\nnope = 1\n', 2, "nope"),
        ("[models.m3.5]\ntop_k = 1\n", 1, "quotes"),
        ("[aliases]\na = 1\n", 2, "`a`"),
        ('[aliases]\na = "b"\nb = "c"\n', 2, "alias"),
        ("chat = 1\n", 1, "[chat]"),
        ("[chat]\nsafe = true\n", 2, "`save`"),
        ("[chat]\nwidth = 3\n", 2, "at least 20"),
        ("[chat\n", None, "line 1"),
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


@pytest.fixture
def model(host, tmp_path, monkeypatch):
    """A model as it is resolved with settings of its own."""
    folder = fake_model(tmp_path / "talker", context=4096).path
    (folder / "generation_config.json").write_text('{"temperature": 0.25, "top_k": 7}')
    (tmp_path / "config.toml").write_text(
        f"""
        [aliases]
        mine = "{folder}"
        [defaults]
        top_p = 0.5
        [models.talker]
        temperature = 0.75
        max_tokens = 9
        context_length = 100
        system = "Be brief."
        stop = ["END"]
        thinking = false
        """
    )
    monkeypatch.setenv("MLXK_CONFIG", str(tmp_path / "config.toml"))
    return Resolver(host).resolve("mine")


def test_settings_come_before_the_models_own_files(model):
    assert model_sampling(model) == {"temperature": 0.75, "top_k": 7, "top_p": 0.5}
    assert model_context_length(model) == 100


def test_a_request_comes_before_the_settings(model):
    said = Message(role="user", content="Hi")
    filled = with_settings(GenerationRequest(model=model, prompt=[said]))
    assert (filled.max_tokens, filled.stop, filled.template_options["enable_thinking"]) == (9, ("END",), False)
    assert filled.prompt == [Message(role="system", content="Be brief."), said]
    own = [Message(role="system", content="Sing."), said]
    kept = with_settings(
        GenerationRequest(model=model, prompt=own, max_tokens=3, template_options={"enable_thinking": True})
    )
    assert (kept.prompt, kept.max_tokens, kept.template_options) == (own, 3, {"enable_thinking": True})


def test_a_raw_prompt_gets_no_settings_of_a_conversation(model):
    filled = with_settings(GenerationRequest(model=model, prompt="Hi"))
    assert (filled.prompt, filled.stop, filled.max_tokens) == ("Hi", (), 9)


def test_without_a_file_there_are_no_settings():
    assert Host().settings == Settings()
    assert settings_file().name == "config.toml"


@pytest.mark.needs("run")
def test_a_section_of_a_plugin_that_is_turned_off_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text("[chat]\nsave = false\n")
    monkeypatch.setenv("MLXK_CONFIG", str(tmp_path / "config.toml"))
    assert Host.discover(no_plugins=True).settings.sections == {}
