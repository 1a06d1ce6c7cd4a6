"""Messages for a wrong command line: the likely meaning, and the right usage."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

import click

from mlxk_core._cli.option_types import value_problem
from mlxk_core._errors import UsageError

# Names that other tools use; the first replacement that the command has is suggested.
_OPTION_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "--temp": ("--temperature",),
    "--max-length": ("--max-tokens",),
    "--num-predict": ("--max-tokens",),
    "--n-predict": ("--max-tokens",),
    "--max-new-tokens": ("--max-tokens",),
    "--no-reasoning": ("--hide-reasoning",),
    "--no-think": ("--no-thinking", "--hide-reasoning"),
    "--hidethinking": ("--hide-reasoning",),
    "--think": ("--thinking",),
    "--system-prompt": ("--system",),
    "--repeat-penalty": ("--repetition-penalty",),
    "--random-seed": ("--seed",),
    "--raw": ("--no-chat-template",),
    "--no-markdown": ("--plain",),
    "--nowordwrap": ("--plain",),
    "--attachment": ("--file",),
    "--engine": ("--backend",),
    "--format": ("--schema",),
    "--json-schema": ("--schema",),
    "--response-format": ("--schema",),
    "--fragment": ("--file",),
    "--no-log": ("--no-save",),
    "--conversation": ("--continue",),
    "--keepalive": ("--ttl",),
    "--quantize": ("--bits",),
    "--q-bits": ("--bits",),
    "--q-group-size": ("--group-size",),
    "--q-mode": ("--mode",),
    "--quant-predicate": ("--recipe",),
    "--mlx-path": ("--name",),
    "--yes": ("--force",),
    "-y": ("--force",),
    "-n": ("--max-tokens",),
    "-p": ("--port",),
    "--bind": ("--host",),
    "--listen": ("--host",),
    "--address": ("--host",),
    "--token": ("--api-key",),
    "-v": ("--version",),
}
# Options of other tools that have another form in mlxk.
_OPTION_ADVICE: Mapping[str, str] = {
    "--model": "The model is the first argument",
    "--revision": "Write the revision after the name: MODEL@REVISION",
    "--quant": "Write the variant after the name: MODEL:Q4_K_M",
    "--prompt": 'The prompt is an argument: mlxk run MODEL "PROMPT"',
    "--token": "mlxk uses HF_TOKEN, or the token saved by `hf auth login`",
    "-p": 'The prompt is an argument: mlxk run MODEL "PROMPT"',
    "-o": "Every option has a name of its own, such as --temperature 0",
    "--option": "Every option has a name of its own, such as --temperature 0",
    "--force-resume": "An interrupted download is always resumed",
    "--resume": "An interrupted download is always resumed",
    "--trust-remote-code": "mlxk never runs code from a model's repository",
    "--local-dir": "Set HF_HUB_CACHE to use another cache",
    "--hf-path": "The model is the first argument",
    "--cache-dir": "Set HF_HUB_CACHE to use another cache",
    "--offline": "Set HF_HUB_OFFLINE=1 to stay offline",
}
# What other tools call the command of a group; the first that the group has is suggested.
_SUBCOMMAND_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "list": ("show",),
    "ls": ("list", "show"),
    "rm": ("delete", "unset", "uninstall"),
    "remove": ("delete", "unset", "uninstall"),
    "find": ("search",),
    "add": ("set", "install"),
    "enable": ("install",),
    "disable": ("uninstall",),
}
_NOT_AN_OPTION = re.compile(r"-[\s.\d]|--?\S*\s")


def usage_error(error: click.UsageError, command: str | None = None) -> UsageError:
    """Return a click error as a `UsageError`: one line with the message, a hint and the usage of the command.

    `command` is the running command, for errors that do not name one.
    """
    text = error.format_message().rstrip(".")
    ctx = error.ctx
    hint = ""
    if isinstance(error, click.NoSuchOption):
        text = f"No such option: {error.option_name}"
        hint = _option_hint(error, [] if ctx is None else _options_of(ctx))
        if ctx is not None and ctx.parent is None and "Did you mean" not in hint:
            hint = f"Options of a command follow its name: `mlxk COMMAND {error.option_name}`."
    elif isinstance(error, click.BadParameter):
        text = _bad_value(error)
    elif text.startswith("No such command"):
        text = text.replace("'", "`")
        hint = _subcommand_hint(text, ctx)
    elif text.startswith("Got unexpected extra argument") and ctx is not None and "--model" in _options_of(ctx):
        hint = "The model is an option: `--model NAME`."
    parts = [_sentence(text), hint]
    if ctx is not None:
        if ctx.parent is not None:
            parts.append(f"Usage: `{_usage(ctx)}`.")
        parts.append(f"See `{ctx.command_path} --help`.")
    else:
        parts.append(f"See `mlxk {command} --help`." if command else "See `mlxk --help`.")
    return UsageError(" ".join(part for part in parts if part))


def _option_hint(error: click.NoSuchOption, known: Sequence[str]) -> str:
    name = error.option_name
    if _NOT_AN_OPTION.match(name):
        return "Write `--` before a text that begins with a dash."
    for other in _OPTION_SYNONYMS.get(name, ()):
        if other in known:
            return f"Did you mean `{other}`?"
    if name in _OPTION_ADVICE:
        return f"{_OPTION_ADVICE[name]}."
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    beginning = [other for other in known if other.startswith(name)] if name.startswith("--") else []
    if found := [*beginning[:1], *close]:
        return f"Did you mean `{found[0]}`?"
    return ""


def _subcommand_hint(text: str, ctx: click.Context | None) -> str:
    """The command of a group that is meant by ``No such command `ls```, or those it has; click names close ones."""
    if ctx is None or not isinstance(ctx.command, click.Group) or "Did you mean" in text:
        return ""
    known, name = ctx.command.list_commands(ctx), text.split("`")[1]
    for other in _SUBCOMMAND_SYNONYMS.get(name, ()):
        if other in known:
            return f"Did you mean `{other}`?"
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean `{close[0]}`?" if close else f"Commands: {', '.join(known)}."


def _options_of(ctx: click.Context) -> list[str]:
    return [
        name
        for each in ctx.command.get_params(ctx)
        if isinstance(each, click.Option) and not each.hidden
        for name in (*each.opts, *each.secondary_opts)
    ]


def _bad_value(error: click.BadParameter) -> str:
    """Return click's `Invalid value for '--seed': 'abc' is not a valid integer range` as `--seed: must be …`."""
    if isinstance(error, click.MissingParameter) and isinstance(error.param, click.Argument):
        return f"Missing argument {error.param.make_metavar(error.ctx).strip('[]') if error.ctx else error.param.name}"
    if isinstance(error, click.MissingParameter) or error.param is None:
        return error.format_message().rstrip(".")
    option = error.param
    name = option.opts[-1] if isinstance(option, click.Option) else option.human_readable_name
    return f"{name}: {value_problem(error)}"


def _usage(ctx: click.Context) -> str:
    pieces = [piece for piece in ctx.command.collect_usage_pieces(ctx) if piece]
    return " ".join([ctx.command_path, *pieces])


def _sentence(text: str) -> str:
    return text if text.endswith(("?", ".", "!")) else f"{text}."
