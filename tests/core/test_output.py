"""Output: what goes where, byte for byte."""

from __future__ import annotations

import io

import pytest

from mlxk_core._cli.output import Output


class Streams:
    def __init__(self, encoding="utf-8"):
        self.raw_out, self.raw_err = io.BytesIO(), io.BytesIO()
        self.out = io.TextIOWrapper(self.raw_out, encoding=encoding)
        self.err = io.TextIOWrapper(self.raw_err, encoding=encoding)

    def output(self, **options):
        return Output(stdout=self.out, stderr=self.err, **options)


@pytest.fixture
def streams():
    return Streams()


def test_text_is_written_at_once_and_as_it_is(streams):
    output = streams.output()
    output.write("a")
    assert streams.raw_out.getvalue() == b"a"
    output.write("\r\nb")
    output.line("!")
    output.line()
    assert streams.raw_out.getvalue() == b"a\r\nb!\n\n"
    assert streams.raw_err.getvalue() == b""


def test_earlier_output_of_others_stays_before_ours(streams):
    print("first ", end="", file=streams.out)
    streams.output().write("second")
    assert streams.raw_out.getvalue() == b"first second"


def test_answers_are_utf8_under_any_locale():
    streams = Streams(encoding="ascii")
    streams.output().write("é🦙")
    assert streams.raw_out.getvalue().decode() == "é🦙"


def test_bytes_of_a_file_name_that_are_no_text_come_out_as_they_were(streams):
    streams.output().write(b"caf\xe9".decode("utf-8", errors="surrogateescape"))
    assert streams.raw_out.getvalue() == b"caf\xe9"


def test_a_lone_surrogate_is_replaced_and_fails_nothing(streams):
    streams.output().write("a\ud800b")
    assert streams.raw_out.getvalue() == b"a?b"


def test_notes_go_to_stderr_in_both_modes(streams):
    streams.output().note("one")
    streams.output(json=True).note("two")
    assert streams.raw_err.getvalue() == b"one\ntwo\n"


def test_in_json_mode_only_the_envelope_is_written(streams):
    output = streams.output().for_json()
    for write in output.write, output.line:
        write("x")
    assert streams.raw_out.getvalue() == b""


def test_a_note_to_a_closed_stderr_is_not_an_error(streams):
    output = streams.output()
    streams.err.close()
    output.note("hello?")


def test_streams_that_are_no_terminal_say_so(streams):
    output = streams.output()
    assert not output.stdout_is_terminal
    assert not output.stderr_is_terminal


def test_a_stream_without_bytes_takes_text():
    out = io.StringIO()
    Output(stdout=out).write("é")
    assert out.getvalue() == "é"
