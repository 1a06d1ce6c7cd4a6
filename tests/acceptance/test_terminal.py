"""`mlxk run` at a real terminal (a pty), with a real MLX model: chat, Ctrl-C, Ctrl-D."""

import json
import os
import signal
import sys
from pathlib import Path

import pexpect
import pytest

from mlxk_testing.tiny_models import random_model, scripted_model

GRACE = 60  # seconds after which a test is stuck; never a measure of speed
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
            env={**os.environ, "TERM": "xterm", **env},
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
    chat.expect("You: ")
    chat.sendline("First")
    chat.expect(ANSWER)
    chat.expect(r"prompt (\d+) tokens \((\d+) cached\)")
    first, cached = map(int, chat.match.groups())
    assert cached == 0
    chat.expect("You: ")
    chat.sendline("Second")
    chat.expect(ANSWER)
    chat.expect(r"prompt (\d+) tokens \((\d+) cached\)")
    second, cached = map(int, chat.match.groups())
    assert second > first + len(ANSWER.split()) and cached >= first
    chat.expect("You: ")
    chat.sendline("EXIT")
    chat.expect("Goodbye!")
    assert end_of(chat) == 0


def test_the_words_of_a_chat_that_are_commands(terminal, talker):
    chat = terminal("run", talker)
    for said, answered in [
        ("/help", "Ctrl-C stops an answer"),
        ("/system", "no system prompt"),
        ("/system Be brief.", "is set"),
        ("/system", "Be brief."),
        ("/clear", "forgotten"),
        ("/nonsense", "no command"),
    ]:
        chat.expect("You: ")
        chat.sendline(said)
        chat.expect(answered)
    chat.expect("You: ")
    chat.sendline("quit")
    assert end_of(chat) == 0


def test_ctrl_c_stops_the_answer_and_not_the_chat(terminal, babbler):
    chat = terminal("run", babbler, "--temperature", "0")
    for _ in range(2):
        chat.expect("You: ")
        chat.sendline("Talk")
        chat.expect(r"\S{20}")
        chat.sendintr()
        chat.expect(r"\[stopped\]")
    chat.expect("You: ")
    chat.sendline("exit")
    assert end_of(chat) == 0


def test_ctrl_c_at_the_prompt_says_goodbye(terminal, talker):
    chat = terminal("run", talker)
    chat.expect("You: ")
    chat.sendintr()
    # A signal that comes between drawing the prompt and waiting for keys Python keeps until the next one.
    for _ in range(GRACE // 5):
        if chat.expect(["Goodbye!", pexpect.TIMEOUT], timeout=5) == 0:
            break
        chat.sendintr()
    assert end_of(chat) == 0


def test_ctrl_d_ends_the_chat_once(terminal, talker):
    chat = terminal("run", talker)
    chat.expect("You: ")
    chat.sendeof()
    assert end_of(chat) == 0
    assert chat.before.count("Goodbye!") == 1


@pytest.mark.parametrize("moment", ["before the first token", "in the middle"])
def test_ctrl_c_interrupts_a_single_answer_with_exit_code_130(terminal, babbler, moment):
    run = terminal("run", babbler, "Talk", "--temperature", "0")
    if moment == "in the middle":
        run.expect(r"\S{20}")
    else:
        run.expect(["Loading", r"\S{20}"])  # what loads faster than a person sees is not announced
    run.sendintr()
    assert end_of(run) == 130
    assert "interrupted" in run.before and "Traceback" not in run.before


def test_the_input_of_a_chat_is_remembered_for_the_next_one(terminal, talker):
    chat = terminal("run", talker)
    chat.expect("You: ")
    chat.sendline("Remember me")
    chat.expect(ANSWER)
    chat.expect("You: ")
    chat.kill(signal.SIGHUP)  # the window is closed
    end_of(chat)
    assert "Remember me" in (Path(os.environ["XDG_STATE_HOME"]) / "mlxk" / "history").read_text()


def test_lines_that_are_pasted_are_one_turn(terminal, talker):
    if "GNU" not in (pytest.importorskip("readline").__doc__ or ""):
        pytest.skip("libedit knows no bracketed paste")
    chat = terminal("run", talker)
    chat.expect(r"\x1b\[\?2004hYou: ")
    chat.send("\x1b[200~one\rtwo\rthree\x1b[201~\r")
    chat.expect(ANSWER)
    chat.expect("You: ")
    chat.sendline("exit")
    assert end_of(chat) == 0
    assert ANSWER not in chat.before


def test_lines_that_were_pasted_come_back_as_one_in_the_next_chat(terminal, talker):
    if "GNU" not in (pytest.importorskip("readline").__doc__ or ""):
        pytest.skip("libedit knows no bracketed paste")
    for typed in ("\x1b[200~one\rtwo\x1b[201~\r", "\x1b[A\x1b[A\r"):
        chat = terminal("run", talker)
        chat.expect(r"\x1b\[\?2004hYou: ")
        chat.send(typed)
        chat.expect(ANSWER)
        chat.expect("You: ")
        chat.sendline("exit")
        assert end_of(chat) == 0
    lines = (Path(os.environ["XDG_STATE_HOME"]) / "mlxk" / "history").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ["one\ntwo", "exit", "one\ntwo", "exit"]


def test_a_terminal_that_cannot_take_a_line_away_gets_none(terminal, babbler):
    run = terminal("run", babbler, "Talk", "--max-tokens", "3", TERM="dumb")
    assert end_of(run) == 0
    assert "Loading" not in run.before and "\x1b" not in run.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_leaves_no_process(terminal, babbler, number):
    run = terminal("run", babbler, "Talk", "--temperature", "0")
    run.expect(r"\S{20}")
    os.killpg(os.getpgid(run.pid), 0)
    run.kill(number)
    run.wait()
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)
