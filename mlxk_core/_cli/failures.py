"""What ends a run without a result: exceptions of click, Python and plugins as errors, and how they are printed."""

from __future__ import annotations

import click

from mlxk_core._cli.output import Output, error_message
from mlxk_core._errors import Interrupted, Kind, MlxkError, UsageError
from mlxk_core._text.control_characters import escape_control

# click 8.1 has no such error: it prints the help itself.
_NO_ARGUMENTS: type[click.UsageError] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())


class NoCommand(UsageError):
    """`mlxk` or a group was given no command. `help` is the help to show instead."""

    def __init__(self, help: str, group: str = "mlxk") -> None:
        super().__init__(f"No command given. `{group} --help` lists them.")
        self.help = help


class _Ended(MlxkError):
    """A command exited with a code of its own. It has printed everything but `message`."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message or f"The command ended with exit code {code}.")
        self.kind = Kind("error", code, 500)
        self.silent = not message


def as_mlxk_error(error: BaseException, command: str | None = None) -> BaseException | None:
    """Return what click, a plugin or Python raised as an `MlxkError` where one fits; None for a clean exit."""
    if isinstance(error, click.exceptions.Exit):
        return _Ended(error.exit_code) if error.exit_code else None
    if isinstance(error, SystemExit):
        if isinstance(error.code, str):
            return _Ended(1, error.code)
        return _Ended(error.code) if error.code else None
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return error if isinstance(error, MlxkError) else Interrupted("interrupted")
    if isinstance(error, click.Abort):
        return MlxkError("Aborted.")
    if isinstance(error, _NO_ARGUMENTS) and error.ctx is not None:
        return NoCommand(error.ctx.get_help(), error.ctx.command_path)
    if isinstance(error, click.UsageError):
        from mlxk_core._cli.usage_errors import usage_error  # only for a wrong command line

        return usage_error(error, command)
    if isinstance(error, click.ClickException):
        return _Ended(error.exit_code, error.format_message())
    return error


def print_error(output: Output, command: str | None, error: BaseException) -> None:
    if isinstance(error, NoCommand):
        output.note(error.help)
    elif isinstance(error, _Ended) and error.silent:
        return
    else:
        program = f"mlxk {command}" if command else "mlxk"
        lines = error.lines if isinstance(error, MlxkError) else ()
        text = error.headline if isinstance(error, MlxkError) and lines else error_message(error)
        output.note(f"{program}: {'' if isinstance(error, Interrupted) else 'error: '}{escape_control(text)}")
        for line in lines:
            output.note(f"  {escape_control(line)}")
