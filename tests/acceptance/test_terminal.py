"""`mlxk run` at a real terminal (a pty), with a real MLX model: chat, Ctrl-C, Ctrl-D."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest

from mlxk_core.api.generation import Message
from mlxk_run.paths import chats_file
from mlxk_run.store import ChatStore
from mlxk_testing.tiny_models import random_model, scripted_model

BABBLE = r"[!-~]{20}"  # a long word of an answer, and no control sequence of the prompt
GRACE = 180  # seconds after which a test is stuck; never a measure of speed
ANSWER = "Hello there, this is a scripted answer."


@pytest.fixture
def talker(tmp_path):
    """Says one text and ends."""
    folder = tmp_path / "talker"
    scripted_model(folder, says=ANSWER)
    return folder


@pytest.fixture
def babbler(tmp_path):
    """Never comes to an end by itself."""
    folder = tmp_path / "babbler"
    random_model(folder, seed=1, context=100_000)
    return folder


@pytest.fixture
def terminal():
    """`terminal("run", …)`: a process that has a terminal to itself."""
    children = []

    def spawn(*args, **env):
        child = pexpect.spawn(
            sys.executable,
            ["-m", "mlxk_core", *map(str, args)],
            encoding="utf-8",
            timeout=GRACE,
            echo=False,
            dimensions=(24, 200),
            env={**os.environ, "TERM": "xterm", "EDITOR": "false", **env},
        )
        children.append(child)
        return child

    yield spawn
    for child in children:
        child.close(force=True)


def end_of(child):
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus


def test_a_chat_keeps_its_history_and_pays_for_each_turn_once(terminal, talker):
    chat = terminal("run", talker, "--verbose")
    chat.expect("You:")
    chat.sendline("First")
    chat.expect(ANSWER)
    chat.expect(r"prompt (\d+) tokens \((\d+) cached\)")
    first, cached = map(int, chat.match.groups())
    assert cached == 0
    chat.expect("You:")
    chat.sendline("Second")
    chat.expect(ANSWER)
    chat.expect(r"prompt (\d+) tokens \((\d+) cached\)")
    second, cached = map(int, chat.match.groups())
    assert second > first + len(ANSWER.split()) and cached >= first
    chat.expect("You:")
    chat.sendline("EXIT")
    chat.expect("Goodbye!")
    assert end_of(chat) == 0


def test_the_words_of_a_chat_that_are_commands(terminal, talker):
    chat = terminal("run", talker)
    for said, answered in [
        ("/help", "/retry"),
        ("/system", "(default)"),
        ("/set system Be brief.", "system = Be brief."),
        ("/set temperature 0.5", "temperature = 0.5"),
        ("/set temperature x", "temperature"),
        ("/set temprature 1", "Did you mean `temperature`"),
        ("/show", "talker"),
        ("/clear", "cleared"),
        ("/retry", "no question"),
        ("/nonsense", "unknown command"),
        ("/hlep", "Did you mean /help"),
    ]:
        chat.expect("You:")
        chat.sendline(said)
        chat.expect(answered)
    chat.expect("You:")
    chat.sendline("quit")
    assert end_of(chat) == 0


def test_ctrl_c_stops_the_answer_and_not_the_chat(terminal, babbler):
    chat = terminal("run", babbler, "--temperature", "0")
    for _ in range(2):
        chat.expect("You:")
        chat.sendline("Talk")
        chat.expect(BABBLE)
        chat.sendintr()
        chat.expect(r"\[stopped\]")
    chat.expect("You:")
    chat.sendline("exit")
    assert end_of(chat) == 0


def test_ctrl_c_at_the_prompt_clears_the_line_and_twice_on_an_empty_one_leaves(terminal, talker):
    chat = terminal("run", talker)
    chat.expect("You:")
    chat.send("half a line")
    chat.expect("half a line")
    chat.sendintr()
    chat.send("Hi\r")
    chat.expect(ANSWER)
    chat.expect("You:")
    chat.sendintr()
    chat.expect("/bye")
    chat.expect("You:")
    chat.sendintr()
    chat.expect("Goodbye!")
    assert end_of(chat) == 0
    assert "half" not in (Path(os.environ["XDG_STATE_HOME"]) / "mlxk" / "history").read_text()


def test_ctrl_c_just_after_an_answer_does_not_end_the_chat(terminal, talker):
    chat = terminal("run", talker)
    chat.expect("You:")
    for _ in range(3):
        chat.send("Hi\r")
        chat.expect(r"scripted answer\.")
        chat.sendintr()
        chat.expect("You:")
    chat.send("/bye\r")
    assert end_of(chat) == 0


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_lines_typed_during_an_answer_are_messages_of_their_own(terminal, babbler, term):
    chat = terminal("run", babbler, "--temperature", "0", "--plain", TERM=term)
    chat.expect("You:")
    chat.send("Talk\r")
    chat.expect(BABBLE)
    chat.send("/system\r/clear\r/show\r")
    chat.expect(BABBLE)
    assert "/clear" not in chat.before
    chat.sendintr()
    chat.expect(r"\[stopped\]")
    for shown in (r"\(default\)", "cleared", "messages +0"):
        chat.expect(shown)
    chat.expect("You:")
    chat.sendeof()
    assert end_of(chat) == 0


def test_keys_typed_during_an_answer_are_edited_as_at_the_prompt(terminal, babbler):
    chat = terminal("run", babbler, "--temperature", "0", "--plain")
    chat.expect("You:")
    chat.send("Talk\r")
    chat.expect(BABBLE)
    chat.send("\x1b[200~one\rtwo\x1b[201~\r")  # a paste is one message
    chat.send("thhe\x7f\x7fe \x1b[Dfirst\x1b\rquestion")  # Backspace, an arrow, Alt-Enter
    chat.expect(BABBLE)
    chat.sendintr()
    chat.expect("two")
    chat.expect(BABBLE)
    chat.sendintr()
    chat.expect(r"\[stopped\]")
    chat.expect("question")
    chat.send("\r")
    chat.expect(BABBLE)
    chat.sendintr()
    chat.expect(r"\[stopped\]")
    chat.expect("You:")
    chat.sendeof()
    assert end_of(chat) == 0
    lines = (Path(os.environ["XDG_STATE_HOME"]) / "mlxk" / "history").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ["Talk", "one\ntwo", "thefirst\nquestion "]


def test_a_long_paste_during_an_answer_does_not_keep_ctrl_c_from_stopping_it(terminal, babbler):
    chat = terminal("run", babbler, "--temperature", "0", "--plain")
    chat.expect("You:")
    chat.send("Talk\r")
    chat.expect(BABBLE)
    chat.send("\x1b[200~" + "word " * 2000 + "\x1b[201~")  # more than the queue of a terminal holds
    chat.sendintr()
    chat.expect(r"\[stopped\]")
    chat.expect("word")
    chat.sendintr()
    chat.expect("You:")
    chat.sendeof()
    assert end_of(chat) == 0


def test_an_unknown_command_never_reaches_the_model_and_a_path_does(terminal, talker):
    chat = terminal("run", talker)
    chat.expect("You:")
    chat.send("/nonsense at all\r")
    chat.expect("unknown command")
    chat.send("/usr/bin/env is what?\r")
    chat.expect(ANSWER)
    assert ANSWER not in chat.before
    chat.expect("You:")
    chat.sendeof()
    end_of(chat)


def test_chats_are_saved_and_continued(terminal, talker, mlxk):
    chat = terminal("run", talker)
    chat.expect("You:")
    chat.send("Remember 42\r")
    chat.expect(ANSWER)
    chat.expect("You:")
    chat.send("/save mine\r")
    chat.expect("Saved")
    chat.expect("You:")
    chat.sendeof()
    assert end_of(chat) == 0
    file = Path(os.environ["XDG_STATE_HOME"]) / "mlxk" / "chats.db"
    assert file.stat().st_mode & 0o077 == 0
    again = terminal("run", "-c", "-m", talker)
    again.expect("You:")
    again.send("/retry\r")
    again.expect(ANSWER)
    again.expect("You:")
    again.send("/show\r")
    again.expect("messages +2")
    again.expect("You:")
    again.sendeof()
    assert end_of(again) == 0


def test_nothing_is_saved_when_that_is_off(terminal, talker):
    chat = terminal("run", talker, "--no-save")
    chat.expect("You:")
    chat.send("Hi\r")
    chat.expect(ANSWER)
    chat.expect("You:")
    chat.sendeof()
    end_of(chat)
    assert not (Path(os.environ["XDG_STATE_HOME"]) / "mlxk" / "chats.db").exists()


def test_two_open_chats_keep_each_others_history(terminal, talker):
    first, second = terminal("run", talker), terminal("run", talker)
    for chat, line in ((first, "one"), (second, "two"), (first, "three")):
        chat.expect("You:")
        chat.send(f"{line}\r")
        chat.expect(ANSWER)
    for chat in (first, second):
        chat.expect("You:")
        chat.sendeof()
        assert end_of(chat) == 0
    lines = (Path(os.environ["XDG_STATE_HOME"]) / "mlxk" / "history").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ["one", "two", "three"]


def test_a_posix_locale_does_not_end_a_chat(terminal, talker):
    chat = terminal("run", talker, LC_ALL="POSIX", LANG="POSIX", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    chat.expect("You:")
    chat.send("Gr\u00fc\u00dfe \U0001f642\r")
    chat.expect(ANSWER)
    chat.expect("You:")
    chat.sendeof()
    assert end_of(chat) == 0


def test_tab_completes_commands_and_files(terminal, talker, tmp_path):
    (tmp_path / "unique-notes.txt").write_text("Bob is 5.\n")
    chat = terminal("run", talker)
    chat.expect("You:")
    chat.send("/retr\t")
    chat.expect("y")
    chat.send("\x15")
    chat.send(f"Read @{tmp_path}/unique\t")
    chat.expect("notes.txt")
    chat.send("\r")
    chat.expect(ANSWER)
    chat.expect("You:")
    chat.send("/edit\r")
    chat.expect("false` failed")
    chat.expect("You:")
    chat.sendeof()
    end_of(chat)


def test_ctrl_d_ends_the_chat_once(terminal, talker):
    chat = terminal("run", talker)
    chat.expect("You:")
    chat.sendeof()
    assert end_of(chat) == 0
    assert chat.before.count("Goodbye!") == 1


@pytest.mark.parametrize("moment", ["before the first token", "in the middle"])
def test_ctrl_c_interrupts_a_single_answer_with_exit_code_130(terminal, babbler, moment):
    run = terminal("run", babbler, "Talk", "--temperature", "0")
    if moment == "in the middle":
        run.expect(BABBLE)
    else:
        run.expect(["Loading", BABBLE])  # what loads faster than a person sees is not announced
    run.sendintr()
    assert end_of(run) == 130
    assert "interrupted" in run.before and "Traceback" not in run.before


def test_the_input_of_a_chat_is_remembered_for_the_next_one(terminal, talker):
    chat = terminal("run", talker)
    chat.expect("You:")
    chat.sendline("Remember me")
    chat.expect(ANSWER)
    chat.expect("You:")
    chat.kill(signal.SIGHUP)  # the window is closed
    end_of(chat)
    assert "Remember me" in (Path(os.environ["XDG_STATE_HOME"]) / "mlxk" / "history").read_text()


def test_lines_that_are_pasted_are_one_turn(terminal, talker):
    chat = terminal("run", talker)
    chat.expect("You:")
    chat.send("\x1b[200~one\rtwo\rthree\x1b[201~\r")
    chat.expect(ANSWER)
    chat.expect("You:")
    chat.sendline("exit")
    assert end_of(chat) == 0
    assert ANSWER not in chat.before


def test_lines_that_were_pasted_come_back_as_one_in_the_next_chat(terminal, talker):
    for typed in ("\x1b[200~one\rtwo\x1b[201~\r", "\x1b[A\x1b[A\r"):
        chat = terminal("run", talker)
        chat.expect("You:")
        chat.send(typed)
        chat.expect(ANSWER)
        chat.expect("You:")
        chat.sendline("exit")
        assert end_of(chat) == 0
    lines = (Path(os.environ["XDG_STATE_HOME"]) / "mlxk" / "history").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ["one\ntwo", "exit", "one\ntwo", "exit"]


def test_a_terminal_that_cannot_take_a_line_away_gets_none(terminal, babbler):
    run = terminal("run", babbler, "Talk", "--max-tokens", "3", TERM="dumb")
    assert end_of(run) == 0
    assert "Loading" not in run.before and "\x1b" not in run.before


def members(group):
    """The processes of a group that have not ended: nothing may collect those that have."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [row for row in rows if int(row[0]) == group and not row[1].startswith("Z")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_leaves_no_process(terminal, babbler, number):
    run = terminal("run", babbler, "Talk", "--temperature", "0")
    run.expect(BABBLE)
    assert members(run.pid)
    run.kill(number)
    run.wait()
    end = time.monotonic() + GRACE
    while living := members(run.pid):  # a child notices the end of its parent a moment later
        assert time.monotonic() < end, living
        time.sleep(0.05)


PARENT = """
import signal, subprocess, sys, termios
before = termios.tcgetattr(0)
signal.signal(signal.SIGUSR1, lambda number, frame: process.send_signal(int(sys.argv[1])))
process = subprocess.Popen(sys.argv[2:])
process.wait()
print("mode", "restored" if termios.tcgetattr(0) == before else "changed", "after", -process.returncode)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["at the prompt", "during an answer of a chat", "during an answer"])
def test_a_killed_run_restores_the_terminal_for_a_parent_that_does_not(babbler, number, moment):
    command = [sys.executable, "-m", "mlxk_core", "run", str(babbler), "--temperature", "0"]
    command += ["Talk"] if moment == "during an answer" else []
    arguments = ["-c", PARENT, str(int(number)), *command]
    environment = {**os.environ, "TERM": "xterm"}
    parent = pexpect.spawn(sys.executable, arguments, encoding="utf-8", timeout=GRACE, env=environment)
    try:
        if moment != "during an answer":
            parent.expect("You:")
        if moment == "during an answer of a chat":
            parent.sendline("Talk")
        if moment != "at the prompt":
            parent.expect(BABBLE)
        parent.kill(signal.SIGUSR1)
        parent.expect(f"mode restored after {int(number)}")
    finally:
        parent.close(force=True)


@pytest.mark.parametrize(("answer", "code", "left"), [("y\r", 0, 0), ("n\r", 1, 1), ("\x03", 130, 1), ("\x04", 130, 1)])
def test_deleting_chats_is_confirmed(terminal, talker, mlxk, answer, code, left):
    ChatStore(chats_file()).save(None, model="m", system=None, messages=[Message(role="user", content="Why?")])
    delete = terminal("chats", "delete", "1")
    delete.expect("Why\\?")
    delete.expect("Delete 1 chat\\?.*: ")
    delete.send(answer)
    assert end_of(delete) == code and "Traceback" not in delete.before
    assert mlxk("chats", "--json").json["data"]["count"] == left


@pytest.mark.parametrize("command", [["plugins"], ["config", "show", "--keys"]], ids="-".join)
def test_long_rows_are_wrapped_at_word_ends_for_a_narrow_terminal(terminal, command):
    child = terminal(*command, COLUMNS="60")
    child.expect(pexpect.EOF)
    lines = child.before.split("\r\n")
    assert len(lines) > 10
    assert max(map(len, lines)) < 60
