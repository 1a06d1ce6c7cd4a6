"""What neither an answer nor the log may tell."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from mlxk_core._errors import BrokenModel, EngineFailure, MlxkError
from mlxk_serve.http.errors import api_error
from mlxk_serve.observability.log import LOGGER, event, to_stderr


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("config.json of `a/b`: [Errno 13]: '/home/me/hub/x'", "config.json of `a/b`: [Errno 13]: '(a file)'"),
        ("(/opt/models/x) is damaged", "((a file)) is damaged"),
        ("~/models/x is damaged", "(a file) is damaged"),
        ("`GET /v1/models` lists them; and/or 5 tokens/s of org/name", None),
        ("see http://localhost:8000/v1", None),
    ],
)  # fmt: skip
def test_an_error_names_no_path(said, told):
    assert api_error(BrokenModel(said)).message == (told or said)


def test_the_text_of_an_internal_error_is_not_sent_to_the_client():
    for error in (RuntimeError("secret"), EngineFailure("secret")):
        assert "secret" not in api_error(error).message


def test_a_deterministic_failure_is_not_to_be_repeated():
    assert api_error(EngineFailure("x")).headers == {"x-should-retry": "false"}
    assert api_error(MlxkError("x")).headers == {"x-should-retry": "false"}


@pytest.fixture(params=[True, False], ids=["json", "text"])
def logged(request, monkeypatch, tmp_path):
    """`logged()`: the lines of the log so far."""
    with (tmp_path / "log").open("w+") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        with to_stderr("debug", as_json=request.param, secrets=["the-configured-key"]):

            def lines():
                for handler in logging.getLogger().handlers:
                    handler.flush()
                return (tmp_path / "log").read_text().splitlines()

            yield lines


@pytest.mark.parametrize(
    "secret",
    [
        "Authorization: Bearer abc.def-123",
        "x-api-key: abcdefgh",
        "token hf_abcdefghijklmnop",
        "key sk-proj-abcdefghijklmnop",
        "the-configured-key",
        f"{Path.home()}/private",
    ],
)
def test_secrets_and_the_home_folder_are_not_logged(logged, secret):
    event(logging.INFO, f"before {secret} after", note=secret)
    [line] = logged()
    for word in ("abc.def-123", "abcdefgh", "the-configured-key", str(Path.home())):
        assert word not in line
    assert "before" in line
    assert "after" in line


def test_one_event_is_one_log_line_whatever_the_client_sent(logged):
    event(logging.INFO, "GET /\n12:00:00 GET /forged 200\x1b[2J", model="a\nb")
    assert len(logged()) == 1
    assert "\x1b" not in logged()[0]


def test_a_failure_is_logged_with_its_traceback(logged):
    try:
        raise ValueError("inside")
    except ValueError:
        LOGGER.exception("outside")
    told = "\n".join(logged())
    assert "outside" in told
    assert "ValueError: inside" in told


def test_afterwards_logging_is_as_it_was(capfd):
    before = logging.getLogger().handlers[:], LOGGER.level
    with to_stderr("error", as_json=True):
        logging.getLogger("somebody.else").warning("a word")
    assert json.loads(capfd.readouterr().err)["logger"] == "somebody.else"
    assert (logging.getLogger().handlers[:], LOGGER.level) == before
