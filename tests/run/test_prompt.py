"""The prompt of an answer: words, files, and standard input."""

import io
import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from mlxk_core.api.errors import InvalidOption, UsageError
from mlxk_run.attachments import complete_path, with_files
from mlxk_run.input import Stdin, read_prompt
from mlxk_testing.fake_engine import fake_model

NOTHING = Stdin(stream=io.BytesIO(), is_terminal=False, carries_input=False)
TERMINAL = Stdin(stream=io.BytesIO(b"unread"), is_terminal=True, carries_input=False)


def piped(data):
    return Stdin(stream=io.BytesIO(data), is_terminal=False, carries_input=True)


def test_piped_input_comes_before_the_words():
    assert read_prompt(["Sum", "it", "up."], piped(b"A text.\n")) == "A text.\n\nSum it up."
    assert read_prompt(["Sum", "it", "up."], piped(b"")) == "Sum it up."


def test_a_terminal_or_an_empty_input_is_left_alone():
    assert read_prompt(["What", "is", "it?"], TERMINAL) == "What is it?"
    assert read_prompt(["What", "is", "it?"], NOTHING) == "What is it?"


def test_a_dash_reads_any_standard_input():
    assert read_prompt(["-"], piped(b"A text.\n")) == "A text."
    typed = Stdin(stream=io.BytesIO(b"typed\n"), is_terminal=True, carries_input=False)
    assert read_prompt(["-", "Why?"], typed) == "typed\n\nWhy?"


def test_without_words_a_pipe_is_the_prompt_and_a_terminal_means_a_chat():
    assert read_prompt([], piped("Grüße\n".encode())) == "Grüße"
    assert read_prompt([], TERMINAL) is None


@pytest.mark.parametrize("words, data", [([], b""), (["-"], b"\n"), ([" "], b"")])
def test_an_empty_prompt_is_wrong_usage(words, data):
    with pytest.raises(UsageError, match="empty"):
        read_prompt(words, piped(data))


def test_a_closed_standard_input_is_an_empty_one(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError, match="empty"):
        read_prompt([], Stdin.of_process())
    assert read_prompt(["-", "words"], Stdin.of_process()) == "words"


def test_bytes_that_are_not_text_do_not_break_it():
    assert read_prompt([], piped(b"a\xffb")) == "a\ufffdb"


def test_byte_order_mark_and_windows_line_ends_are_not_part_of_the_text():
    assert read_prompt([], piped(b"\xef\xbb\xbfone\r\n\r\ntwo\r\n")) == "one\n\ntwo"


def test_standard_input_that_is_for_writing_only_is_an_error(tmp_path):
    descriptor = os.open(tmp_path / "written", os.O_WRONLY | os.O_CREAT)
    with os.fdopen(descriptor, "rb") as stream, pytest.raises(UsageError, match="cannot be read"):
        read_prompt(["Hi"], Stdin(stream=stream, is_terminal=False, carries_input=True))


@pytest.mark.parametrize("option", ["stdin", "--file", "--schema"])
def test_input_without_an_end_is_an_error(mlxk, tmp_path, option):
    model = str(fake_model(tmp_path / "model").path)
    args = ["run", model] if option == "stdin" else ["run", model, "Hi", option, "/dev/zero"]
    with Path("/dev/zero").open("rb") as endless:
        stdin = endless if option == "stdin" else subprocess.DEVNULL
        done = subprocess.run(mlxk.command(*args, "--json"), stdin=stdin, capture_output=True, check=False)
    assert done.returncode == 2 and json.loads(done.stdout)["error"]["type"] != "plugin_failure"


def test_a_file_may_be_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    writer = threading.Thread(target=(tmp_path / "a.txt").write_text, args=("piped",))
    writer.start()
    assert "\npiped\n" in read_prompt([], NOTHING, files=[str(tmp_path / "a.txt")])
    writer.join()


def test_a_silent_pipe_is_announced():
    read, write = os.pipe()
    notes = []
    with os.fdopen(read, "rb") as stream:
        stdin = Stdin(stream=stream, is_terminal=False, carries_input=True)
        answer = read_prompt(["Hi"], stdin, note=lambda text: (notes.append(text), os.close(write)))
    assert answer == "Hi" and len(notes) == 1


def test_files_come_between_piped_input_and_words(tmp_path):
    (tmp_path / "a.py").write_text("print('```')\n")
    prompt = read_prompt(["Explain."], piped(b"Hello"), files=[str(tmp_path / "a.py")])
    assert prompt == "Hello\n\nFile a.py:\n\n````\nprint('```')\n````\n\nExplain."


@pytest.mark.parametrize("content", [b"a\0b", b"\xff\xfe\x00", None])
def test_a_file_that_is_not_text_is_an_error(tmp_path, content):
    file = tmp_path / "data"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidOption, match="data"):
        read_prompt(["Explain."], NOTHING, files=[str(file)])


@pytest.mark.parametrize(
    ("message", "warned"), [("Sum up @notes.txt.", True), ("See @docs/x", True), ("Ask @ada.", False), ("v@1.2", False)]
)
def test_a_file_that_a_message_names_and_does_not_exist_is_a_warning(message, warned):
    notes = []
    assert with_files(message, notes.append) == message
    assert bool(notes) is warned


@pytest.mark.parametrize("name", ["~no-such-account/x", "a" * 300, "\0"])
def test_a_word_that_cannot_be_a_path_is_text_or_an_error_of_the_file(name):
    assert with_files(f"Ask @{name} please", lambda note: None) == f"Ask @{name} please"
    assert complete_path(f"{name}/x") == []
    with pytest.raises(InvalidOption):
        read_prompt(["Explain."], NOTHING, files=[name])
