"""A chat in this process, typed on a scripted terminal, with a scripted engine."""

import io
import os
import sys
from types import SimpleNamespace

import pytest

from mlxk_core._cli.main import run
from mlxk_core._errors import BrokenModel
from mlxk_run import plugin
from mlxk_run.chat_commands import ChatCommands
from mlxk_run.store import ChatStore
from mlxk_testing.fake_engine import fake_backend, fake_model
from mlxk_testing.tiny_models import in_hub_cache


class Keyboard(io.BytesIO):
    """What was typed, on something that calls itself a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def chat(host, tmp_path, monkeypatch):
    """`chat(b"Hi", b"exit")` types lines and gives what was said on standard output and standard error."""
    host.register(plugin, name="run")
    engine = fake_backend("Hello.")
    host.register(engine, name="fake")
    folder = fake_model(tmp_path / "talker", context=500).path

    def type_in(*lines, options=(), model=True):
        screens = [io.BytesIO(), io.BytesIO()]
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Keyboard(b"\n".join(lines) + b"\n"), encoding="ascii"))
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(screens[0], encoding="ascii"))
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(screens[1], encoding="ascii"))
        assert run(["run", *([str(folder)] if model else []), *options], host=host) == 0
        return [screen.getvalue().decode() for screen in screens]

    type_in.script = engine.script
    return type_in


def test_lines_typed_ahead_are_answered_one_after_the_other(chat):
    chat.script.step_seconds = 0.02
    chat.script.answer = lambda prompt: f"{prompt.count('<user>')}. END and so on and on"
    out, _ = chat(b"one", b"two", b"three", options=("--stop", " END"))
    assert out == "1.\n2.\n3.\n"


class Screen(io.BytesIO):
    """A terminal that shows standard output and standard error alike. The engine does nothing until `text` is there."""

    def __init__(self, engine, text):
        super().__init__()
        self._engine, self._text = engine, text
        engine.script.hang.set()

    def isatty(self):
        return True

    def write(self, data):
        if self._text in bytes(data):
            self._engine.script.hang.clear()
        return super().write(data)


def test_nothing_is_written_over_an_answer_that_comes_slowly(host, tmp_path, monkeypatch):
    engine = fake_backend("ab", step_seconds=0.4)  # slower than the line that tells what goes on
    screen = Screen(engine, b"Thinking")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(screen, encoding="utf-8"))
    monkeypatch.setenv("TERM", "xterm")
    host.register(plugin, name="run")
    host.register(engine, name="fake")
    assert run(["run", str(fake_model(tmp_path / "talker").path), "Hi"], host=host) == 0
    before, _, answer = screen.getvalue().decode().rpartition("\x1b[K")
    assert "Thinking" in before and answer == "ab\n"


def test_what_goes_on_stays_on_one_line_of_a_narrow_terminal(host, tmp_path, monkeypatch):
    engine = fake_backend("ab")
    screen = Screen(engine, b"\x1b[K")
    screen.fileno = lambda: 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(screen, encoding="utf-8"))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "get_terminal_size", lambda number: os.terminal_size((12, 24)))
    host.register(plugin, name="run")
    host.register(engine, name="fake")
    assert run(["run", str(fake_model(tmp_path / "talker").path), "Hi"], host=host) == 0
    shown = [line for line in screen.getvalue().decode().split("\r\x1b[K")[:-1] if line]
    assert shown and all(len(line) < 12 and line.endswith(" s") for line in shown)


def test_what_is_typed_is_text_under_any_locale(chat):
    chat.script.answer = lambda prompt: prompt.rpartition("<user>")[2].partition("\n")[0]
    out, _ = chat("Grüße 🙂".encode(), b"a\xff\xfeb")
    assert out == "Grüße 🙂\na��b\n"


def test_ctrl_c_before_the_answer_is_under_way_stops_it_and_not_the_chat(chat):
    chat.script.faults["check"] = KeyboardInterrupt()
    out, notes = chat(b"Hi", b"/help", b"exit")
    assert out == "" and "[stopped]" in notes and "/clear" in notes and notes.endswith("Goodbye!\n")


@pytest.mark.parametrize(
    "options, code, told",
    [
        (("--backend", "nope"), 2, "`nope`"),
        (("--reasoning-format", "nope"), 2, "`nope`"),
        ((), 1, "the disk is gone"),
    ],
)
def test_a_chat_with_a_model_that_cannot_answer_does_not_begin(
    host, tmp_path, monkeypatch, capsys, options, code, told
):
    host.register(plugin, name="run")
    backend = fake_backend("Hello.")
    host.register(backend, name="fake")
    if not options:
        backend.script.fail_load = BrokenModel("the disk is gone")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Keyboard(b"Hi\n"), encoding="ascii"))
    assert run(["run", str(fake_model(tmp_path / "talker").path), *options], host=host) == code
    out, notes = capsys.readouterr()
    assert told in notes and "You:" not in out + notes


def test_a_failure_ends_the_turn_and_not_the_chat(chat):
    chat.script.fail_step = RuntimeError("the matrix is full")
    out, notes = chat(b"Hi", b"again")
    assert out == "Hello.\n" and "the matrix is full" in notes


def test_a_note_that_holds_for_the_model_is_told_once_a_chat(chat):
    chat.script.template = False
    out, notes = chat(b"one", b"two")
    assert out == "Hello.\nHello.\n" and notes.count("no chat template") == 1


@pytest.mark.parametrize("word", [b"/help", b"/HELP", b"/?"])
def test_help_is_asked_for_in_several_ways(chat, word):
    out, notes = chat(word)
    assert out == "" and "/clear" in notes


def test_undo_removes_the_turn_from_the_saved_chat_too(chat, cli):
    chat(b"one", b"two", b"/undo")
    shown = cli("chats", "show", "1").stdout
    assert "one" in shown and "two" not in shown
    chat(b"three", b"/undo")
    assert cli("chats", "--json").json["data"]["count"] == 1


def test_a_name_of_several_lines_is_not_saved(chat, cli):
    _, notes = chat(b"one", b"/save mine\x0b/undo", b"/save yours")
    assert "a name is one line" in notes and "mlxk chats show yours" in notes
    assert cli("chats", "--json").json["data"]["count"] == 1


def test_continue_says_what_it_continues(chat):
    chat(b"Why is the sky blue?", options=("--plain",))
    _, notes = chat(b"/show", options=("-c",), model=False)
    assert "Why is the sky blue?" in notes and "Hello." in notes and "2 messages" in notes


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (b"/set parameter temperature 0", "temperature = 0"),
        (b"/set verbose", "verbose = on"),
        (b"/set nothink", "thinking = off"),
        (b"/set num_predict 5", "max_tokens = 5"),
        (b"/show system", "system = (default)"),
        (b"/show parameters", "context"),
        (b"/set temperature 9", "9 is above 2"),
        (b"/set sampling", "unknown setting"),
        (b"/show temprature", "Did you mean `temperature`?"),
        (b"/set verbose maybe", "must be on or off, not 'maybe'"),
    ],
)
def test_words_of_ollama_mean_what_they_mean_there(chat, typed, shown):
    assert shown in chat(typed)[1]


def test_a_model_that_is_loaded_like_a_chat_gets_a_hint(chat, hub_cache):
    in_hub_cache("acme/tiny", fake_model)
    assert "/model acme/tiny" in chat(b"/load acme/tiny")[1]


def test_bye_leaves_like_the_other_words_in_the_help(chat):
    assert chat(b"/Bye", b"Hi")[0] == ""


@pytest.mark.parametrize("line", [b"/clear all", b"/help me", b"/? /clear", b"/exit now"])
def test_arguments_of_a_command_without_arguments_are_an_error(chat, line):
    chat.script.answer = lambda prompt: f"{prompt.count('<user>')}."
    out, notes = chat(b"one", line, b"two")
    assert out == "1.\n2.\n" and f"{line.decode().split()[0]}: takes no arguments" in notes


@pytest.mark.parametrize(("columns", "line"), [(80, "  /bye  "), (24, "  /bye")])
def test_the_help_fits_the_terminal(chat, monkeypatch, columns, line):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = chat(b"/help")[1].split("\n")
    assert any(each.startswith(line) for each in lines)
    assert all(len(each) < columns for each in lines if each.startswith("  ") and "[NAME" not in each)
    assert "" not in lines[1:-2]


def test_an_error_of_a_command_names_it_and_lists_the_models(chat, hub_cache):
    for name in ("acme/tiny-1B", "acme/tiny-2B"):
        in_hub_cache(name, fake_model)
    _, notes = chat(b"/show nonsense", b"/model tiny")
    assert "error: /show: unknown" in notes
    assert "\n  acme/tiny-1B\n  acme/tiny-2B\n" in notes


def test_a_name_of_several_words_is_quoted_where_a_shell_reads_it(chat, cli):
    _, notes = chat(b"one", b"/save my trip", b"/load my trip", b"/clear", b"two", b"/save my trip")
    assert "`mlxk chats show 'my trip'`" in notes and "/load my trip opens it" in notes
    assert "Loaded `my trip`" in notes and "`mlxk chats delete 'my trip'`" in notes
    assert cli("chats", "show", "my trip").code == 0


def test_a_saved_chat_cannot_hide_another_by_its_number(chat, cli):
    _, notes = chat(b"one", b"/save 1", b"/save 1st")
    assert "cannot be a number" in notes
    assert [each["name"] for each in cli("chats", "--json").json["data"]["chats"]] == ["1st"]


def test_a_file_that_a_message_names_and_cannot_be_read_is_an_error_of_the_message(chat, tmp_path):
    (tmp_path / "data").write_bytes(b"\0")
    out, notes = chat(f"Read @{tmp_path}/data".encode(), b"Hi")
    assert "error: @FILE: " in notes and "--file" not in notes and out == "Hello.\n"


@pytest.fixture
def commands(host, tmp_path):
    """The commands of a chat without a model."""
    session = SimpleNamespace(host=host, output=SimpleNamespace(note=print))
    store = ChatStore(tmp_path / "chats.db")
    store.save(None, model="m", system=None, messages=[], name="my trip")
    return ChatCommands(SimpleNamespace(runner=SimpleNamespace(session=session), store=store))


def test_names_of_models_are_completed_in_any_case_and_without_the_owner(commands, hub_cache, tmp_path, monkeypatch):
    in_hub_cache("mlx-community/Tiny-4bit", fake_model)
    for typed in ("tin", "Tiny", "MLX-community/t"):
        [(name, start)] = commands.complete(f"/model {typed}")
        assert name.endswith("Tiny-4bit") and start == -len(typed)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talker").mkdir()
    assert commands.complete("/model ./tal") == [("./talker/", -5)]


def test_names_with_white_space_are_completed(commands):
    assert commands.complete("/load my t") == [("my trip", -4)]
    assert commands.complete("/set temp") == [("temperature", -4)]
    assert commands.complete("/set temperature 0") == []


def test_a_chat_of_a_user_without_a_home_folder_is_not_saved(chat, homeless):
    out, notes = chat(b"one", b"two")
    assert out == "Hello.\nHello.\n"
    assert notes.count("not saved") == 1 and "XDG_STATE_HOME" in notes
