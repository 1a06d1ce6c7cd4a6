"""Help of every command of the installed plugins: examples that work, plain words, completion, manual pages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from mlxk_core._cli.output import Output
from mlxk_core._cli.root import Root
from mlxk_core._cli.session import Session
from mlxk_core._host.host import Host
from mlxk_core.api import CommandSpec, hookimpl

HOST = Host.discover()
FREE_TEXT = {
    *("prompt", "text", "input", "query", "system", "stop", "schema", "regex", "search", "commit"),
    *("hosts", "origins", "allow_host", "include", "exclude", "name", "branch", "repo", "words", "options"),
    *("arguments", "url", "aliases", "dtype", "texts", "prompt_name", "server"),
}
"""Parameters whose values only the user knows, or for which a list would be long and of no use."""


def _root() -> tuple[Root, click.Context]:
    root = Root(Output(), HOST)
    root.host = HOST
    ctx = click.Context(root, info_name="mlxk", obj=Session(HOST, Output()))
    return root, ctx


def _walk(ctx: click.Context) -> Iterator[click.Context]:
    command = ctx.command
    yield ctx
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            found = command.load(name) if isinstance(command, Root) else command.get_command(ctx, name)
            assert found is not None
            yield from _walk(click.Context(found, info_name=name, parent=ctx))


CONTEXTS = {ctx.command_path: ctx for ctx in _walk(_root()[1]) if ctx.parent is not None}


def _examples(ctx: click.Context) -> list[str]:
    help = ctx.command.help or ""
    found = re.search(r"\x08?\n\s*Examples?:\n(?P<lines>(?:[ \t]+\S.*\n?)+)", help)
    return [line.strip() for line in found["lines"].splitlines()] if found else []


def _invocations(line: str) -> Iterator[list[str]]:
    """Yield the words after each `mlxk` of a shell line."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|>&;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|>&;"):
            words = words[next((i + 1 for i, each in enumerate(words) if "=" not in each), 1) - 1 :]
            if words[:1] == ["mlxk"]:
                yield words[1:]
            words = []
        else:
            words.append(word)


@pytest.mark.parametrize("path", CONTEXTS)
def test_every_command_has_examples_that_click_accepts(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = _examples(CONTEXTS[path])
    assert lines, f"{path} --help has no example"
    used = False
    for line in lines:
        for words in _invocations(line):
            used = used or f"mlxk {' '.join(words)} ".startswith(f"{path} ")
            for word in words:  # files that an example names
                if re.fullmatch(r"[\w./-]+\.(json|txt|md|py|jinja|toml)", word):
                    (tmp_path / word).write_text('{"type":"object"}')
            _parse(words)
    assert used, f"no example of {path} uses it"


def _parse(words: list[str]) -> None:
    root, _ = _root()
    with root.make_context("mlxk", list(words)) as ctx:
        args = [*ctx._protected_args, *ctx.args]
        command: click.Command = root
        while isinstance(command, click.Group) and args:
            _, command, args = command.resolve_command(ctx, args)
            command = root.load(command.name) if isinstance(ctx.command, Root) else command
            ctx = command.make_context(command.name, args, parent=ctx)
            args = [*ctx._protected_args, *ctx.args] if isinstance(command, click.Group) else []


@pytest.mark.parametrize("path", CONTEXTS)
def test_types_are_shown_in_plain_words(path):
    text = CONTEXTS[path].get_help()
    assert not re.search(r"RANGE|INTEGER|FLOAT|[<>]=?x|x[<>]=?", text)


@pytest.mark.parametrize("path", CONTEXTS)
def test_every_value_that_mlxk_knows_is_completed(path):
    for each in CONTEXTS[path].command.params:
        if each.name in FREE_TEXT or getattr(each, "is_flag", False) or each._custom_shell_complete:
            continue
        known = (click.Choice, click.Path, click.File, click.types.BoolParamType)
        numeric = (click.types.IntParamType, click.types.FloatParamType)
        measured = each.type.name in ("size", "duration")
        assert isinstance(each.type, (*known, *numeric)) or measured, f"{path}: {each.name}"


@pytest.mark.parametrize(
    "args, words",
    [
        (["run", "x", "--max-tokens", "0", "Hi"], ["--max-tokens", "at least 1", "0", "Usage: `mlxk run"]),
        (["run", "x", "--top-p", "3", "Hi"], ["--top-p", "above 0 and at most 1"]),
        (["run", "x", "--seed", "abc", "Hi"], ["--seed", "whole number", "'abc'"]),
        (["serve", "--port", "99999"], ["from 0 to 65535"]),
        (["list", "--sort", "age"], ["name, size or modified"]),
        (["show"], ["MODEL", "Usage: `mlxk show [OPTIONS] MODEL`"]),
        (["config", "set", "x"], ["VALUE", "Usage: `mlxk config set [OPTIONS] KEY VALUE`"]),
    ],
)
@pytest.mark.needs("run", "serve", "models", "config")
def test_wrong_usage_shows_the_right_one(cli, args, words):
    result = cli(*args, host=HOST)
    assert result.code == 2 and all(word in result.stderr for word in words), result.stderr


@pytest.mark.needs("config")
def test_help_follows_the_words_of_a_command(cli):
    assert cli("help", "config", "set", host=HOST).stdout == CONTEXTS["mlxk config set"].get_help() + "\n"
    assert cli("help", "config", "nope", host=HOST).code == 2
    assert cli("help", "list", "all", host=HOST).code == 2


def test_manual_pages_of_all_commands_are_written_where_man_looks(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    pages = cli("help", "--install-man", "--json", host=HOST).json["data"]["pages"]
    names = {path.replace(" ", "-") + ".1" for path in CONTEXTS} | {"mlxk.1"}
    assert {page.rpartition("/")[2] for page in pages} == names
    for page in (tmp_path / "man" / "man1").iterdir():
        assert page.read_text().startswith(".TH") and (".SH EXAMPLES" in page.read_text() or page.name == "mlxk.1")


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_help_fits_the_terminal(columns, cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = cli("--help", host=HOST).stdout.splitlines()
    assert max(map(len, lines)) <= columns


def test_commands_are_in_sections_and_those_of_others_come_last(cli, host):
    class Others:
        @hookimpl
        def mlxk_commands(self):
            yield CommandSpec(name="mine", summary="Mine.", target=click.Command("mine"), section="Garden")
            yield CommandSpec(name="bare", summary="Bare.", target=click.Command("bare"))
            yield CommandSpec(name="talk", summary="Talk.", target=click.Command("talk"), section="Run models")

    host.register(Others(), name="others")
    lines = cli("--help").stdout.splitlines()
    at = {line.split()[0]: number for number, line in enumerate(lines) if line.strip()}
    headings = [line for line in lines if re.fullmatch(r"[A-Z][a-z ]+:", line)]
    assert headings == ["Options:", "Run models:", "Setup:", "Garden:", "Other commands:", "Examples:"]
    assert at["talk"] < at["config" if "config" in at else "help"] < at["mine"] < at["bare"]
    assert "mlxk help run" in lines[-1] and "mlxk serve" not in lines[-2]


@pytest.mark.needs("models")
def test_the_check_of_examples_finds_a_wrong_option():
    with pytest.raises(click.UsageError):
        _parse(["list", "--sorted", "size"])
    assert list(_invocations("cat x | A=1 mlxk run m 'a b' > out.txt && mlxk list")) == [["run", "m", "a b"], ["list"]]
