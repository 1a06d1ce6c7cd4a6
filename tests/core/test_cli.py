"""The command line: exit codes, the envelope, and which stream says what."""

from __future__ import annotations

import gc
import inspect
import json
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from mlxk_core import __version__
from mlxk_core._cli.session import emit_result, json_option
from mlxk_core._errors import ContextLengthExceeded, Interrupted
from mlxk_core._host.host import Host
from mlxk_core.api import CommandSpec, hookimpl
from mlxk_testing import HEAVY, modules_after, run_in_process
from mlxk_testing.fake_engine import fake_model
from mlxk_testing.tiny_models import in_hub_cache


@pytest.fixture
def command(host):
    """`command(function)` makes `mlxk do` of it; the function gets the session, what it returns is the data."""

    def register(function, *decorators, name="do", with_json=True):
        made = click.pass_obj(function)
        for decorate in (*decorators, *([json_option] if with_json else [])):
            made = decorate(made)
        spec = CommandSpec(name=name, summary="Do it.", target=click.command(name)(made))
        host.register(SimpleNamespace(mlxk_commands=hookimpl(lambda: [spec])), name=f"plugin-{name}")

    return register


def raising(error):
    def function(session):
        raise error

    return function


def the_document(result):
    """The one JSON document on standard output."""
    document = result.json
    assert list(document) == ["status", "command", "data", "error"]
    return document


# Answers


def test_an_answer_is_all_there_is_on_stdout(cli, command):
    def do(session):
        session.output.note("thinking")
        session.output.write("42")

    command(do)
    done = cli("do")
    assert (done.code, done.stdout, done.stderr) == (0, "42", "thinking\n")


@pytest.mark.parametrize("args", [["--json", "do"], ["do", "--json"], ["--json", "do", "--json"]])
def test_json_is_taken_before_and_after_the_command(cli, command, args):
    command(lambda session: {"json": session.output.json})
    assert the_document(cli(*args)) == {"status": "success", "command": "do", "data": {"json": True}, "error": None}


def test_output_of_a_library_does_not_corrupt_the_json_document(cli, command):
    def do(session):
        print("a library speaks")
        click.echo("and another")

    command(do)
    done = cli("do", "--json")
    assert the_document(done)["status"] == "success"
    assert done.stderr == "a library speaks\nand another\n"
    assert cli("do").stdout == "a library speaks\nand another\n"


def test_output_of_a_command_is_not_in_the_json_document(cli, command):
    command(lambda session: session.output.line("for people"))
    done = cli("do", "--json")
    assert done.code == 0
    assert the_document(done)["data"] is None


def test_data_that_json_cannot_express_is_reported_in_one_document(cli, command):
    command(lambda session: {"set": {1, 2}})
    done = cli("do", "--json")
    assert done.code == 1
    assert the_document(done)["error"]["type"] == "internal_error"


def test_a_long_running_command_prints_its_document_once_at_startup(cli, command):
    def do(session):
        emit_result(click.get_current_context(), {"port": 8000})
        session.output.note("later")
        raise ContextLengthExceeded(90, 64)

    command(do)
    done = cli("do", "--json")
    assert (done.code, the_document(done)["data"]) == (1, {"port": 8000})
    assert done.stderr.startswith("later\nmlxk do: error: ")


def test_a_command_without_json_output_refuses_json(cli, command):
    command(lambda session: None, with_json=False)
    for args in ["do", "--json"], ["--json", "do"]:
        done = cli(*args)
        assert done.code == 2
        assert "no JSON output" in the_document(done)["error"]["message"]


# Failures


def test_an_error_is_one_line_on_stderr_that_names_the_command(cli, command):
    command(raising(ContextLengthExceeded(90, 64)))
    done = cli("do")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "mlxk do: error: This model's maximum context length is 64 tokens and the prompt has 90"
    )
    assert done.stderr.count("\n") == 1


def test_an_error_in_the_document_has_its_type_and_its_facts(cli, command):
    command(raising(ContextLengthExceeded(90, 64)))
    error = the_document(cli("do", "--json"))["error"]
    assert error["type"] == "context_length_exceeded"
    assert error["details"] == {"prompt_tokens": 90, "context_length": 64}


def test_an_error_may_bring_data(cli, command):
    error = Interrupted("The answer was interrupted.")
    error.data = {"response": "Pari"}
    command(raising(error))
    done = cli("do", "--json")
    document = the_document(done)
    assert (done.code, document["status"], document["data"]) == (130, "error", {"response": "Pari"})
    assert cli("do").stderr == "mlxk do: The answer was interrupted.\n"


def test_an_unexpected_exception_is_one_line_that_names_the_plugin_and_the_place(cli, command):
    command(raising(ValueError("some\nthing \x1b[31mred")))
    done = cli("do")
    assert (done.code, done.stderr.count("\n")) == (1, 1)
    raised = "`do` raised ValueError: some thing \\x1b[31mred (tests/core/test_cli.py:"
    told = f"mlxk do: error: Plugin plugin-do failed: {raised}"
    assert done.stderr.startswith(told) and "MLXK_DEBUG=1 shows the traceback" in done.stderr


def test_a_traceback_does_not_steer_the_terminal_either(cli, command, monkeypatch):
    command(raising(ValueError("\x1b[31mred")))
    monkeypatch.setenv("MLXK_DEBUG", "1")
    done = cli("do")
    assert "Traceback" in done.stderr and "\x1b" not in done.stderr


def test_debug_shows_where_an_unexpected_exception_came_from(cli, command, monkeypatch):
    command(raising(KeyError("x")))
    monkeypatch.setenv("MLXK_DEBUG", "1")
    done = cli("do", "--json")
    assert "Traceback" in done.stderr
    assert "raise error" in done.stderr
    assert the_document(done)["error"]["type"] == "internal_error"


@pytest.mark.parametrize(
    ("error", "code", "type"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 1, "error"),
        (click.UsageError("no"), 2, "usage_error"),
        (click.BadParameter("no"), 2, "usage_error"),
        (click.ClickException("no"), 1, "error"),
        (SystemExit(0), 0, None),
        (SystemExit(7), 7, "error"),
        (SystemExit("goodbye"), 1, "error"),
        (click.exceptions.Exit(5), 5, "error"),
        (OSError("disk"), 1, "internal_error"),
    ],
)
def test_whatever_ends_a_command_gives_one_document_and_its_exit_code(cli, command, error, code, type):
    command(raising(error))
    done = cli("do", "--json")
    document = the_document(done)
    assert done.code == code
    assert (document["error"] or {}).get("type") == type
    assert cli("do").code == code
    assert cli("do").stdout == ""


def test_a_prompt_ended_by_ctrl_c_counts_as_interrupted(cli, command):
    def do(session):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise click.Abort from None  # as click.prompt does

    command(do)
    assert cli("do").code == 130


# Wrong usage


def test_wrong_usage_is_one_line_with_the_way_to_help(cli, command):
    command(lambda session: None)
    done = cli("do", "--nonsense")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("mlxk do: error: No such option")
    assert done.stderr.endswith("Usage: `mlxk do [OPTIONS]`. See `mlxk do --help`.\n")
    assert "Did you mean `--help`?" in cli("do", "--hlep").stderr
    assert "Did you mean `--version`?" in cli("-v").stderr


def test_a_command_that_a_group_does_not_have_is_hinted_at(cli):
    assert "Did you mean `new`?" in cli("plugins", "nwe").stderr
    assert "Commands: new." in cli("plugins", "frobnicate").stderr


@pytest.mark.parametrize(
    "typed, hint",
    [
        ("--temp", "`--temperature`"),
        ("--revision", "MODEL@REVISION"),
        ("--temperatur", "`--temperature`"),
        ("-5 + 3", "`--`"),
        ("--no such", "`--`"),
    ],
)
def test_an_option_of_other_tools_is_answered_with_ours(cli, command, typed, hint):
    command(lambda session, temperature: None, click.option("--temperature"))
    done = cli("do", typed)
    assert done.code == 2 and hint in done.stderr


@pytest.mark.needs("run")
@pytest.mark.parametrize(
    "typed, hint",
    [("chat", "`run`"), ("login", "HF_TOKEN"), ("search", "huggingface"), ("plugns", "`plugins`")],
)
def test_a_command_of_other_tools_is_answered_with_ours(cli, host, typed, hint):
    from mlxk_run import plugin

    host.register(plugin, name="run")
    if typed == "chat":
        assert cli("chat", "--help").code == 0
        typed = "ask"
    done = cli(typed)
    assert done.code == 2 and hint in done.stderr
    assert hint in cli(typed, "small", "models").stderr  # more words do not make it a prompt


def test_help_is_a_command_too(cli, command):
    command(lambda session: None)
    assert cli("help", "do").stdout == cli("do", "--help").stdout
    assert "HF_HUB_CACHE" in cli("help", "environment").stdout
    assert cli("help", "do", "--man").stdout.startswith(".TH")
    assert cli("help", "nothing-like-it").code == 2
    assert cli("help", "environment", "--json").json["data"]["environment"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_or_installs_the_script_of_a_shell(cli, shell, tmp_path, monkeypatch):
    for kind in ("DATA", "CONFIG"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    script = cli("completion", shell).stdout
    assert "_MLXK_COMPLETE" in script
    path = cli("completion", shell, "--install", "--json").json["data"]["path"]
    assert Path(path).read_text().strip() == script.strip()


@pytest.mark.parametrize(
    "args",
    [
        ["--json"],
        ["--json", "--nonsense"],
        ["--nonsense", "--json"],
        ["nothing-like-it", "--json"],
        ["do", "--nonsense", "--json"],
        ["do", "--number", "x", "--json"],
        ["do", "surplus", "--json"],
        ["--json", "do", "--number"],
        ["--disable-plugin", "--json"],
    ],
)
def test_wrong_usage_with_json_is_one_document_too(cli, command, args):
    command(lambda session, number: None, click.option("--number", type=int))
    done = cli(*args)
    assert done.code == 2
    assert the_document(done)["status"] == "error"


def test_wrong_usage_with_json_leaves_the_next_run_its_stdout(cli, command):
    def do(session):
        print("a library speaks")

    command(do)
    gc.disable()  # what is left over would be cleaned up at some time
    try:
        assert cli("--json").code == 2
        done = cli("do", "--json")
    finally:
        gc.enable()
    assert the_document(done)["status"] == "success"
    assert done.stderr == "a library speaks\n"


def test_json_after_two_dashes_is_an_ordinary_argument(cli, command):
    command(lambda session, words: session.output.line(" ".join(words)), click.argument("words", nargs=-1))
    assert cli("do", "--", "--json").stdout == "--json\n"
    assert cli("do", "--nonsense", "--", "--json").stdout == ""


def test_no_command_shows_the_help_on_stderr_as_wrong_usage(cli):
    done = cli()
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: mlxk ")


# Help and version


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["do", "--help"], ["do", "-h"]])
def test_help_is_an_answer(cli, command, args):
    command(lambda session: None)
    done = cli(*args)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: mlxk ")


@pytest.mark.parametrize("args", [["--help", "--json"], ["--json", "-h"]])
def test_help_as_json_lists_the_commands(cli, command, args):
    command(lambda session: None)
    document = the_document(cli(*args))
    assert {"name": "do", "summary": "Do it."} in document["data"]["commands"]
    assert document["data"]["help"].startswith("Usage: mlxk ")


@pytest.mark.parametrize("args", [["do", "--help", "--json"], ["do", "--json", "--help"], ["--json", "do", "-h"]])
def test_a_commands_help_as_json_is_one_document(cli, command, args):
    command(lambda session: None)
    document = the_document(cli(*args))
    assert (document["command"], document["data"]["help"][:14]) == ("do", "Usage: mlxk do")


def test_version(cli):
    assert cli("--version").stdout == f"mlxk {__version__}\n"
    assert the_document(cli("--version", "--json"))["data"] == {"version": __version__}
    assert the_document(cli("--json", "--version"))["command"] == "version"


# Real processes

PLUGIN_IMPLEMENTATIONS = ("command", "engine", "listing", "showing", "checking", "removal", "source", "resources")


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["--version", "--json"], ["--help", "--json"]])
def test_looking_around_imports_nothing_heavy_and_no_implementation(args):
    loaded = modules_after(f"from mlxk_core._cli.main import run; run({args!r})")
    assert not {name.partition(".")[0] for name in loaded} & HEAVY
    ours = {name for name in loaded if name.startswith("mlxk_") and not name.startswith("mlxk_core")}
    if "--version" in args:
        assert not ours
    assert not [name for name in ours if name.partition(".")[2] in PLUGIN_IMPLEMENTATIONS]


def test_a_closed_pipe_is_not_an_error(mlxk):
    """As `mlxk plugins | head -0`: silent, with the exit code a shell gives a program that SIGPIPE ended."""
    for args in ["plugins", "--json"], ["--help"]:
        process = mlxk.start(*args)
        process.stdout.close()
        assert process.wait() == 141
        assert process.stderr.read() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="macOS has no /dev/full")
def test_a_full_disk_is_an_error(mlxk):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(mlxk.command("plugins"), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "mlxk plugins: error: Standard output cannot be written: No space left on device.\n"


def test_the_answer_is_utf8_whatever_the_locale(zoo):
    zoo.command("ok", plugin="emoji")
    module = zoo.folder / "zoo_emoji_command.py"
    module.write_text(module.read_text().replace("ok!", "🦙 é"))
    done = zoo.process("ok", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.code, done.stdout) == (0, "🦙 é\n")


def test_ctrl_c_ends_a_command_with_130_and_one_line(zoo):
    zoo.command("wait")
    (zoo.folder / "zoo_wait_command.py").write_text(
        "import click, sys, time\n"
        "@click.command('wait')\n"
        "def command():\n"
        "    print('up', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = zoo.start("wait")
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert process.stderr.read() == "mlxk wait: interrupted\n"


def test_the_shell_completes_commands_and_their_options(zoo):
    zoo.command("good")
    zoo.command("grand")
    asked = {"_MLXK_COMPLETE": "bash_complete", "COMP_WORDS": "mlxk g", "COMP_CWORD": "1"}
    assert zoo.process(**asked).stdout.split() == ["plain,good", "plain,grand"]
    asked |= {"COMP_WORDS": "mlxk good --", "COMP_CWORD": "2"}
    assert "plain,--json" in zoo.process(**asked).stdout.split()


def test_every_installed_command_has_a_help_that_begins_with_its_summary():
    host = Host.discover()
    commands = host.commands()
    if not commands:
        pytest.skip("no command is installed")
    assert [spec.name for spec in commands if run_in_process(spec.name, "--help", host=host).code] == []
    first_lines = {spec.name: inspect.cleandoc(host.load(spec.target).help).splitlines()[0] for spec in commands}
    assert first_lines == {spec.name: spec.summary for spec in commands}


def test_ctrl_c_while_mlxk_is_still_starting_is_quiet(mlxk, tmp_path):
    (tmp_path / "pluggy.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    result = mlxk("--version", env={"PYTHONPATH": str(tmp_path)})
    assert (result.code, result.stdout, result.stderr) == (130, "", "")


def test_atexit_functions_run_and_their_output_is_not_in_the_answer(zoo):
    zoo.command("greet")
    zoo.module(
        "zoo_greet_command",
        """
        import atexit, click

        @click.command("greet")
        def command():
            atexit.register(print, "and farewell")
        """,
    )
    result = zoo.process("greet")
    assert (result.code, result.stdout, result.stderr) == (0, "", "and farewell\n")


@pytest.mark.needs("models")
def test_a_working_folder_that_was_deleted_is_an_error(mlxk, tmp_path):
    (tmp_path / "gone").mkdir()
    command = ["/bin/sh", "-c", 'rmdir "$PWD"; exec "$0" "$@"', *mlxk.command("show", "./model", "--json")]
    done = subprocess.run(command, cwd=tmp_path / "gone", capture_output=True, text=True, check=False)
    assert done.returncode == 1 and json.loads(done.stdout)["error"]["type"] == "error"


def test_a_model_typed_as_a_command_is_explained(cli, hub_cache):
    in_hub_cache("acme/tiny", fake_model)
    result = cli("acme/tiny")
    assert result.code == 2 and "`mlxk run acme/tiny`" in result.stderr
    assert "mlxk run" not in cli("nothing").stderr


@pytest.mark.parametrize(
    ("word", "hint"), [("whoami", "hf auth"), ("cp", "aliases"), ("create", "config edit"), ("models", "list")]
)
def test_words_of_other_tools_get_a_hint(mlxk, word, hint):
    assert hint in mlxk(word).stderr
