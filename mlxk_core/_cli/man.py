"""Manual pages in roff, made from a command's help."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import click

from mlxk_core import __version__
from mlxk_core._cli.environment import VARIABLES


def manual_page(ctx: click.Context) -> str:
    """Return the manual page of the command of `ctx`."""
    command = ctx.command
    name = ctx.command_path.replace(" ", "-")
    summary, _, description = inspect.cleandoc(command.help or "").partition("\n")
    lines = [
        f'.TH "{_escape(name.upper())}" 1 "" "mlxk {__version__}" "mlxk manual"',
        ".SH NAME",
        f"{_escape(name)} \\- {_escape(summary.rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_escape(ctx.command_path)}",
        _escape(" ".join(command.collect_usage_pieces(ctx))),
    ]
    if description.strip():
        paragraphs = _paragraphs(description)
        lines += paragraphs if paragraphs[0].startswith(".SH") else [".SH DESCRIPTION", *paragraphs]
    options = [each for each in command.get_params(ctx) if isinstance(each, click.Option)]
    lines += _list("OPTIONS", [record for each in options if (record := each.get_help_record(ctx))])
    if isinstance(command, click.Group):
        lines += _list("COMMANDS", _commands(command, ctx))
    lines += _list("ENVIRONMENT", VARIABLES)
    return "\n".join(lines)


def _commands(group: click.Group, ctx: click.Context) -> list[tuple[str, str]]:
    """Return the names of the commands of a group, each with its summary."""
    found = ((name, group.get_command(ctx, name)) for name in group.list_commands(ctx))
    return [(name, command.get_short_help_str(200)) for name, command in found if command is not None]


def _list(heading: str, entries: Sequence[tuple[str, str]]) -> list[str]:
    """Return a section with a paragraph for each entry, its name in bold; nothing without entries."""
    lines = [f".SH {heading}"] if entries else []
    for name, text in entries:
        lines += [".TP", f"\\fB{_escape(name)}\\fR", _escape(text)]
    return lines


def _paragraphs(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        if paragraph.startswith(("\b\nExample:\n", "\b\nExamples:\n")):
            _, _, *examples = paragraph.split("\n")
            lines += [".SH EXAMPLES", ".nf", *(_escape(line.strip()) for line in examples), ".fi"]
        elif paragraph.startswith("\b\n"):
            lines += [".PP", ".nf", *map(_escape, paragraph[2:].split("\n")), ".fi"]
        else:
            lines += [".PP", _escape(" ".join(paragraph.split()))]
    return lines


def _escape(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
