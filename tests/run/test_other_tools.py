"""The page for users of other tools keeps its word: what it says of mlxk exists, and other words get an answer."""

import re
from pathlib import Path

import click
import pytest

from mlxk_core._host.host import Host
from mlxk_run import chat_commands
from mlxk_run.chat_commands import ChatCommands
from mlxk_testing.fixtures import run_in_process

ROW = re.compile(r"^\|(.*)\|$", re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")


@pytest.fixture(scope="module")
def spans():
    """The code in the last column of every row."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "other-tools.md"
    rows = (row.replace(r"\|", "\0").split("|") for row in ROW.findall(page.read_text(encoding="utf-8")))
    return [span.replace("\0", "|") for row in rows for span in SPAN.findall(row[-1])]


@pytest.mark.needs("models", "pull", "push", "serve", "service", "convert", "config", "embeddings", "launch")
def test_every_command_and_option_of_the_page_exists(spans, monkeypatch):
    monkeypatch.setenv("MLXK_ENABLE_EXPERIMENTAL", "push")
    host = Host.discover()
    seen = set()
    for span in spans:
        words = span.rpartition("| ")[2].split()
        if words[0] != "mlxk":
            continue
        command = host.load(host.command(words[1]).target)
        assert isinstance(command, click.Command)
        rest = words[2:]
        if isinstance(command, click.Group) and rest:
            command = command.get_command(click.Context(command), rest[0])
            assert command is not None, span
        known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        for option in (word for word in rest if re.match(r"--?[a-z]", word)):
            assert option in known, span
        seen.add(words[1])
    assert {"run", "chat", "chats", "pull", "ls", "stop", "ps", "service", "convert", "config"} <= seen


def test_every_slash_command_of_the_page_exists(spans):
    words = [span.split()[0][1:] for span in spans if span.startswith("/")]
    assert words and set(words) <= set(chat_commands._BY_NAME)
    assert all(ChatCommands.is_command(f"/{word} x") for word in words)


@pytest.mark.needs("serve", "convert", "pull", "models", "config")
@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (("run", "m", "--hidethinking"), "--hide-reasoning"),
        (("run", "m", "--format", "json"), "--schema"),
        (("run", "m", "-o", "temperature", "0"), "--temperature"),
        (("run", "m", "--no-log"), "--no-save"),
        (("run", "m", "-n", "5"), "--max-tokens"),
        (("rm", "-y", "m"), "--force"),
        (("-m", "m", "Hi"), "follow its name"),
        (("Why", "is", "the", "sky", "blue"), "mlxk run MODEL"),
        (("Why is it?",), "mlxk run MODEL"),
        (("alias", "set", "x"), "config"),
        (("serve", "--keepalive", "10m"), "--ttl"),
        (("convert", "m", "--quantize", "4"), "--bits"),
        (("pull", "m", "--revision", "x"), "MODEL@REVISION"),
    ],
)
def test_an_option_of_another_tool_is_answered_with_ours(command, hint):
    result = run_in_process(*command)
    assert result.code == 2 and hint in result.stderr
