"""The file of typed lines: what other programs and damaged disks leave in it, and other chats that use it."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlxk_run.history import InputHistory
from tests.prepared_command import prepared


@pytest.fixture
def file(tmp_path):
    return tmp_path / "state" / "history"


def lines(file):
    return [*InputHistory(file).load_history_strings()]


def test_lines_of_all_chats_come_back_the_newest_first(file):
    first, second = InputHistory(file), InputHistory(file)
    first.store_string("one\ntwo")
    second.store_string("three")
    first.store_string("four")
    assert lines(file) == ["four", "three", "one\ntwo"]


def test_a_damaged_line_takes_away_no_other(file):
    InputHistory(file).store_string("before")
    with file.open("ab") as damaged:
        damaged.write(b"[" * 100_000 + b"\n\xff\n" + b"1" * 5000 + b"\n")
    InputHistory(file).store_string("after")
    assert lines(file) == ["after", "before"]


def test_a_file_of_many_lines_is_shortened_to_the_last_ones(file):
    file.parent.mkdir()
    file.write_text("".join(f"{json.dumps(str(number))}\n" for number in range(3000)))
    assert lines(file) == [str(number) for number in range(2999, 1999, -1)]
    assert len(file.read_text().splitlines()) == 1000
    InputHistory(file).store_string("new")
    assert lines(file)[:2] == ["new", "2999"]


@pytest.mark.parametrize("kind", ["pipe", "folder", "held"])
def test_what_cannot_be_used_does_not_keep_a_chat_from_beginning(file, kind):
    file.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.write_text("")
    with (file if kind == "held" else Path(os.devnull)).open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # by a chat that was stopped
        history = InputHistory(file)
        history.store_string("forgotten")
        assert [*history.load_history_strings()] == []


SHORTEN = """
import sys
from pathlib import Path
from mlxk_run.history import InputHistory
InputHistory(Path(sys.argv[1]))
"""


def test_a_full_disk_costs_no_line_when_the_file_is_shortened(file):
    file.parent.mkdir()
    file.write_text("".join(f"{json.dumps(str(number) * 10)}\n" for number in range(3000)))
    subprocess.run(
        prepared([sys.executable, "-c", SHORTEN, file], limits={"RLIMIT_FSIZE": 4096}),
        check=True,
    )
    assert len(file.read_text().splitlines()) > 2000  # it was not shortened
    assert lines(file)[:1000] == [str(number) * 10 for number in range(2999, 1999, -1)]
