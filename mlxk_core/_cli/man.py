"""Manual pages in roff, made from a command's help."""

from __future__ import annotations

import inspect

import click

from mlxk_core import __version__
from mlxk_core._cli.environment import VARIABLES


def manual_page(ctx: click.Context) -> str:
    """Return the manual page of the command of `ctx`."""
    command = ctx.command
    name = ctx.command_path.replace(" ", "-")
    help_text = inspect.cleandoc(command.help or "")
    summary, _, description = help_text.partition("\n")
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
    records = [record for each in options if (record := each.get_help_record(ctx))]
    if records:
        lines.append(".SH OPTIONS")
        for option, text in records:
            lines += [".TP", f"\\fB{_escape(option)}\\fR", _escape(text)]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for each in command.list_commands(ctx):
            found = command.get_command(ctx, each)
            if found is not None:
                lines += [".TP", f"\\fB{_escape(each)}\\fR", _escape(found.get_short_help_str(200))]
    lines.append(".SH ENVIRONMENT")
    for variable, text in VARIABLES:
        lines += [".TP", f"\\fB{_escape(variable)}\\fR", _escape(text)]
    return "\n".join(lines)


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
