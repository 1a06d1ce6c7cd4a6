"""What is asked: words, standard input, or nothing."""

import io

import pytest

from mlxk_core._errors import UsageError
from mlxk_run.input import asked


def test_words_are_the_prompt_and_standard_input_is_left_alone():
    assert asked(["What", "is", "it?"], stdin_is_terminal=False, stdin=None) == "What is it?"


def test_a_dash_reads_standard_input_and_puts_it_before_the_words():
    assert (
        asked(["-", "Sum", "it", "up."], stdin_is_terminal=False, stdin=io.BytesIO(b"A text.\n"))
        == "A text.\n\nSum it up."
    )
    assert asked(["-"], stdin_is_terminal=False, stdin=io.BytesIO(b"A text.\n")) == "A text."


def test_without_words_a_pipe_is_read_and_a_terminal_means_a_chat():
    assert asked([], stdin_is_terminal=False, stdin=io.BytesIO("Grüße\n".encode())) == "Grüße"
    assert asked([], stdin_is_terminal=True) is None


@pytest.mark.parametrize("words, piped", [([], b""), (["-"], b"\n"), ([" "], b"")])
def test_an_empty_prompt_is_wrong_usage(words, piped):
    with pytest.raises(UsageError, match="empty"):
        asked(words, stdin_is_terminal=False, stdin=io.BytesIO(piped))


def test_a_closed_standard_input_is_an_empty_one(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError, match="empty"):
        asked([], stdin_is_terminal=False)
    assert asked(["-", "words"], stdin_is_terminal=False) == "words"


def test_bytes_that_are_no_text_do_not_break_it():
    assert asked([], stdin_is_terminal=False, stdin=io.BytesIO(b"a\xffb")) == "a�b"


def test_how_a_windows_editor_stores_a_text_is_no_part_of_it():
    stored = b"\xef\xbb\xbfone\r\n\r\ntwo\r\n"
    assert asked([], stdin_is_terminal=False, stdin=io.BytesIO(stored)) == "one\n\ntwo"
