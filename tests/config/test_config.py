"""`mlxk config`: settings shown and changed, with what else is in the file kept."""

import subprocess
import tomllib
from dataclasses import dataclass

import pytest

import mlxk_config.plugin
import mlxk_run.plugin
from mlxk_core.api import ModelSourceSpec, SettingsSection, hookimpl, setting
from mlxk_testing.fake_engine import fake_backend, fake_model
from mlxk_testing.tiny_models import in_hub_cache, random_model


@pytest.fixture
def file(host, tmp_path, monkeypatch):
    host.register(mlxk_config.plugin, name="config")
    host.register(mlxk_run.plugin, name="run")
    path = tmp_path / "mlxk" / "config.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return path


def test_set_get_and_unset_keep_comments(file, cli):
    file.parent.mkdir()
    file.write_text("# mine\n[defaults]\ntop_p = 0.5  # low\n")
    assert cli("config", "set", "defaults.temperature", "0.5").code == 0
    assert cli("config", "set", 'models."org/m:Q4_0".system', "Be brief.").code == 0
    assert cli("config", "set", "defaults.stop", '["END"]').code == 0
    assert "# mine" in file.read_text() and "# low" in file.read_text()
    assert cli("config", "get", "defaults.temperature").stdout == "0.5\n"
    assert cli("config", "get", 'models."org/m:Q4_0".system').stdout == "Be brief.\n"
    assert cli("config", "get", "defaults.stop", "--json").json["data"]["value"] == ["END"]
    assert cli("config", "unset", "defaults.temperature").code == 0
    assert cli("config", "get", "defaults.temperature").code == 1


def test_a_text_needs_no_quotes_even_if_it_looks_like_a_number(file, cli):
    cli("config", "set", "defaults.system", "42")
    assert cli("config", "get", "defaults.system", "--json").json["data"]["value"] == "42"


@pytest.mark.parametrize(
    "key, value",
    [
        ("defaults.temperature", "hot"),
        ("defaults.nope", "1"),
        ("nope.x", "1"),
        ("chat.save", "maybe"),
        ("defaults.temperature", "9" * 400),
        ("defaults.top_k", "9" * 5000),
        ("defaults.top_k", "[" * 3000),
    ],
)
def test_what_is_not_allowed_is_not_written(file, cli, key, value):
    cli("config", "set", "defaults.top_p", "0.5")
    before = file.read_text()
    assert cli("config", "set", key, value).code == 2
    assert file.read_text() == before


def test_commands_at_the_same_time_lose_nothing(file, mlxk):
    commands = [mlxk.start("config", "set", f"aliases.a{number}", "smollm2") for number in range(6)]
    assert [(command.wait(180), command.stderr.read()) for command in commands] == [
        (0, f'aliases.a{number} = "smollm2"\n') for number in range(6)
    ]
    assert set(tomllib.loads(file.read_text())["aliases"]) == {f"a{number}" for number in range(6)}
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_text_that_is_not_utf8_is_not_written(file, cli):
    cli("config", "set", "defaults.system", "before")
    assert cli("config", "set", "defaults.system", "\udcff").code == 1
    assert "before" in file.read_text() and [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("key", ["defaults", "a b.c", "", "#a", "a = 1\nb.c"])
def test_a_key_that_is_not_one_is_wrong_usage(file, cli, key):
    assert cli("config", "set", key, "1").code == 2


def test_a_group_alone_shows_its_help(file, cli):
    result = cli("config")
    assert result.code == 2 and "\n  unset " in result.stderr
    assert cli("config", "--json").json["error"]["type"] == "usage_error"


def test_show_names_every_setting(file, cli):
    keys = [each["key"] for each in cli("config", "show", "--keys", "--json").json["data"]["keys"]]
    assert {"defaults.model", "defaults.temperature", "models.NAME.stop", "chat.save"} <= set(keys)


def test_path_and_edit_work_while_the_file_is_broken(file, cli, monkeypatch):
    file.parent.mkdir()
    file.write_text("[defaults]\nnope = 1\n")
    assert cli("config", "path").stdout == f"{file}\n"
    shown = cli("config", "show")
    assert shown.code == 2 and f"{file}:2" in shown.stderr
    assert cli("run", "x", "Hi").code == 2
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "cp /dev/null")
    assert cli("config", "edit").code == 0


def test_the_default_model_and_its_settings_are_used_by_run(file, cli, host, tmp_path):
    engine = fake_backend(lambda prompt: prompt.replace("\n", " "))
    host.register(engine, name="fake")
    folder = fake_model(tmp_path / "talker", context=500).path
    cli("config", "set", "aliases.mine", str(folder))
    cli("config", "set", "defaults.model", "mine")
    cli("config", "set", "models.talker.system", "Be brief.")
    cli("config", "set", "models.talker.temperature", "0.125")
    vars(host).pop("settings", None)  # one command reads the file once; these share a host
    result = cli("run", "Why is the sky blue?")
    assert result.stdout == "<system>Be brief. <user>Why is the sky blue? <assistant>\n"
    assert engine.script.happened("add")[-1].sampling.temperature == 0.125
    assert cli("run", "Why?").stdout == "<system>Be brief. <user>Why? <assistant>\n"
    assert cli("run", "mine", "-s", "Sing.", "-t", "0", "Hi").stdout.startswith("<system>Sing.")
    assert engine.script.happened("add")[-1].sampling.temperature == 0


def test_a_name_of_a_model_needs_no_quotes(file, cli):
    assert cli("config", "set", "models.org/Qwen3-0.6B.temperature", "0.5").code == 0
    assert cli("config", "get", 'models."org/Qwen3-0.6B".temperature').stdout == "0.5\n"
    assert '[models."org/Qwen3-0.6B"]' in file.read_text()


def test_the_path_of_a_file_is_stored_whole_and_the_file_must_exist(file, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("config", "set", "models.x.chat_template", "own.jinja").code == 2
    (tmp_path / "own.jinja").write_text("{{ messages }}")
    assert cli("config", "set", "models.x.chat_template", "own.jinja").code == 0
    assert cli("config", "get", "models.x.chat_template").stdout == f"{tmp_path / 'own.jinja'}\n"


def test_the_file_of_a_plugin_need_not_exist(file, cli, host, tmp_path, monkeypatch):
    class Plugin:
        @hookimpl
        def mlxk_settings(self):
            yield SettingsSection(name="log", summary="A log.", type=LogSettings)

    host.register(Plugin(), name="log")
    monkeypatch.chdir(tmp_path)
    assert cli("config", "set", "log.path", "new.txt").code == 0
    assert cli("config", "get", "log.path").stdout == f"{tmp_path / 'new.txt'}\n"
    assert cli("config", "set", "log.path", "nowhere/new.txt").code == 2


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    path: str | None = setting("The log.", form="file")


@pytest.mark.parametrize("key, value", [("backend", "cuda"), ("reasoning_format", "aloud")])
def test_a_name_that_no_plugin_has_is_not_written(file, cli, host, key, value):
    host.register(fake_backend(), name="fake")
    result = cli("config", "set", f"defaults.{key}", value)
    assert result.code == 2 and value in result.stderr and not file.exists()


def test_an_alias_cannot_hide_a_command_or_a_model(file, cli):
    in_hub_cache("org/talker", random_model)
    for alias in ("run", "talker", "help"):
        result = cli("config", "set", f"aliases.{alias}", "org/other")
        assert result.code == 2 and alias in result.stderr
    file.parent.mkdir(exist_ok=True)
    file.write_text('[aliases]\ntalker = "org/other"\n[models.gone]\ntop_k = 1\n')
    warnings = cli("config", "show", "--json").json["data"]["warnings"]
    assert len(warnings) == 2 and "org/talker" in warnings[0] and "gone" in warnings[1]


def test_a_key_or_command_that_does_not_exist_is_hinted_at(file, cli):
    assert "Did you mean `defaults.model`?" in cli("config", "get", "defaults.modle").stderr
    assert "Did you mean `models.x.top_k`?" in cli("config", "unset", "models.x.topk").stderr
    assert "Did you mean" not in cli("config", "get", "defaults.model").stderr
    assert "Did you mean `show`?" in cli("config", "list").stderr


def test_an_unknown_key_is_not_written_and_hinted_at(file, cli):
    for key in ("models.x.topk", "models.org/x.topk"):
        for command in (("get", key), ("unset", key), ("set", key, "5")):
            assert f"Did you mean `{key.replace('topk', 'top_k')}`?" in cli("config", *command).stderr
    assert cli("config", "set", "chat.sav", "true").code == 2 and not file.exists()


def test_a_section_disappears_with_its_last_key_but_not_with_a_comment(file, cli):
    cli("config", "set", "models.org/x.top_k", "5")
    assert cli("config", "unset", "models.org/x.top_k").code == 0 and file.read_text().strip() == ""
    file.write_text("[models.x]  # mine\ntop_k = 5\n")
    assert cli("config", "unset", "models.x.top_k").code == 0 and "# mine" in file.read_text()
    assert cli("config", "unset", "models.x").code == 0 and "mine" not in file.read_text()


def test_sections_that_are_apart_can_be_removed(file, cli):
    file.parent.mkdir()
    file.write_text("[models.a]\ntop_k = 5\n\n[defaults]\ntop_k = 1\n\n[models.b]\ntop_k = 6\n")
    assert cli("config", "unset", "models.a.top_k").code == 0
    assert "models.a" not in file.read_text() and "[models.b]" in file.read_text()
    file.write_text("[models.a]\ntop_k = 5\n\n[defaults]\ntop_k = 1\n\n[models.b]\ntop_k = 6\n")
    assert cli("config", "unset", "models.b").code == 0
    assert "models.b" not in file.read_text() and "[models.a]" in file.read_text()


def test_a_setting_repairs_a_file_that_it_made_invalid(file, cli):
    file.parent.mkdir()
    file.write_text('[defaults]\ntemperature = "hot"\n')
    assert cli("config", "set", "defaults.temperature", "0.5").code == 0
    assert cli("config", "get", "defaults.temperature").stdout == "0.5\n"


def test_an_alias_without_a_model_and_the_settings_of_an_alias(file, cli):
    assert "org/none" in cli("config", "set", "aliases.gone", "org/none").stderr
    assert "org/none" in cli("config", "show").stderr
    assert "org/none" not in cli("config", "set", "defaults.top_k", "1").stderr  # only what this change brought
    refused = cli("config", "set", "models.gone.top_k", "1")
    assert refused.code == 2 and '[models."org/none"]' in refused.stderr
    file.write_text(file.read_text() + "[models.gone]\ntop_k = 1\n")
    shown = cli("config", "show")
    assert shown.code == 2 and '[models."org/none"]' in shown.stderr


def test_a_temperature_that_gives_noise_is_warned_of(file, cli):
    result = cli("config", "set", "defaults.temperature", "9")
    assert result.code == 0 and "warning" in result.stderr
    assert "warning" not in cli("config", "set", "defaults.temperature", "2").stderr


def test_the_default_model_may_be_an_alias(file, cli):
    in_hub_cache("org/talker", random_model)
    assert cli("config", "set", "aliases.small", "talker").code == 0
    assert "warning" not in cli("config", "set", "defaults.model", "small").stderr


def test_a_settings_file_that_is_missing_is_an_error_until_it_is_created(file, cli, tmp_path, monkeypatch):
    chosen = tmp_path / "other" / "mine.toml"
    monkeypatch.setenv("MLXK_CONFIG", str(chosen))
    for command in (["config", "show"], ["config", "get", "defaults.model"], ["run", "x", "Hi"]):
        result = cli(*command)
        assert result.code == 2 and "MLXK_CONFIG" in result.stderr
    assert cli("config", "set", "defaults.top_k", "3").code == 0
    assert cli("config", "get", "defaults.top_k").stdout == "3\n"


@pytest.mark.usefixtures("examples")
def test_the_example_plugin_has_a_section_of_its_own(file, cli, host):
    import mlxk_hello

    host.register(mlxk_hello, name="hello")
    assert cli("hello").stdout == "Hello, world!\n"
    vars(host).pop("settings", None)
    assert cli("config", "set", "hello.word", "Hi").code == 0
    assert cli("config", "set", "hello.repeat", "2").code == 0
    assert cli("config", "set", "hello.repeat", "4").code == 2
    assert cli("hello", "you").stdout == "Hi, Hi, you!\n"
    keys = [each["key"] for each in cli("config", "show", "--keys", "--json").json["data"]["keys"]]
    assert {"hello.word", "hello.repeat"} <= set(keys)


def test_a_full_disk_leaves_the_file_and_nothing_else(file, mlxk):
    assert mlxk("config", "set", "defaults.top_k", "1").code == 0
    before = file.read_text()
    limited = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *mlxk.command("config", "set", "defaults.top_p", "0.5")]
    result = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 1 and str(file) in result.stderr
    assert file.read_text() == before and [each.name for each in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("text", ["~no-such-account/x", "a" * 300])
def test_a_value_that_cannot_be_a_path_is_a_warning_or_an_error(file, cli, text):
    assert "no local model" in cli("config", "set", "aliases.far", text).stderr
    assert "no local model" in cli("config", "show").stderr
    result = cli("config", "set", "models.x.chat_template", text)
    assert result.code == 2 and "No such file" in result.stderr


class Shelf:
    """A source of models that counts how often it is read."""

    def __init__(self):
        self.reads = 0

    @hookimpl
    def mlxk_model_sources(self):
        yield ModelSourceSpec(name="shelf", summary="A shelf.", target=lambda: self)

    def names(self):
        self.reads += 1
        return []

    def find(self, name):
        return None


@pytest.mark.parametrize(
    "command", [("set", "aliases.small", "org/none"), ("set", "defaults.model", "org/none"), ("show",)]
)
def test_the_models_are_read_once(file, cli, host, command):
    shelf = Shelf()
    host.register(shelf, name="shelf")
    assert cli("config", *command).code == 0
    assert shelf.reads == 1


def test_edit_warns_as_set_does(file, cli, monkeypatch):
    cli("config", "set", "aliases.gone", "org/none")
    file.write_text(file.read_text() + "[defaults]\ntop_k = 1\ntemperature = 9\n")
    monkeypatch.setenv("VISUAL", "  ")
    monkeypatch.setenv("EDITOR", "true")
    result = cli("config", "edit")
    assert result.code == 0 and "org/none" in result.stderr
    assert "[defaults] (line 5): temperature 9" in result.stderr


def test_settings_are_changed_while_the_model_cache_is_unusable(file, cli, monkeypatch, tmp_path):
    (tmp_path / "a-file").write_text("")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "a-file"))
    assert cli("config", "set", "defaults.model", "org/none").code == 0
    assert "org/none" in file.read_text()
    monkeypatch.setenv("VISUAL", "true")
    assert cli("config", "edit").code == 0


@pytest.mark.parametrize(
    ("editor", "reason"), [("false", "exit code 1"), ("/nonexistent/editor", "No such file"), ("vi 'x", "quotation")]
)
def test_an_editor_that_fails_is_named_with_the_reason(file, cli, monkeypatch, editor, reason):
    monkeypatch.setenv("VISUAL", editor)
    result = cli("config", "edit")
    assert result.code == 1 and f"`{editor}`" in result.stderr and reason in result.stderr


def test_ctrl_c_in_the_editor_does_not_end_it(file, mlxk, tmp_path):
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nkill -INT $PPID\nsleep 0.5\necho 'top_k = 7' >> \"$1\"\n")
    editor.chmod(0o755)
    file.parent.mkdir()
    file.write_text("[defaults]\n")
    assert mlxk("config", "edit", env={"VISUAL": "", "EDITOR": str(editor)}).code == 0
    assert mlxk("config", "get", "defaults.top_k").stdout == "7\n"
