"""The command line: parse argv, run one command, print its result and return an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from mlxk_core._cli.failures import as_mlxk_error, print_error
from mlxk_core._cli.output import Output
from mlxk_core._cli.root import Answered, Root, option_words
from mlxk_core._cli.run_process import CLOSED_PIPE, run_process
from mlxk_core._errors import Interrupted, MlxkError, kind_of
from mlxk_core._host.host import Host
from mlxk_core._isolation.stdout import own_stdout


@dataclass(frozen=True)
class _Outcome:
    """What a command has come to: its result as text and as data, or an error, which may have data too."""

    text: str = ""
    data: Any = None
    error: BaseException | None = None


def run(args: Sequence[str], *, host: Host | None = None, output: Output | None = None) -> int:
    """Run `mlxk` with `args` and return the exit code.

    `host` None: the installed plugins. `output` None: the standard streams of the process.
    """
    output = output or Output()
    root = Root(output, host)
    try:
        error = _print(output, root, args, _invoke(output, root, args))
    except BrokenPipeError:
        return CLOSED_PIPE
    except MlxkError as unwritten:  # a full disk, or no standard output at all
        print_error(output, root.running, unwritten)
        return 1
    except KeyboardInterrupt:
        error = Interrupted("")
    return kind_of(error).exit_code if error else 0


def main() -> NoReturn:
    """Run `mlxk` with the arguments of the process, and exit."""
    if "_MLXK_COMPLETE" in os.environ:
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(Root(Output(), None), {}, "mlxk", "_MLXK_COMPLETE", os.environ["_MLXK_COMPLETE"]))
    run_process(lambda: run(sys.argv[1:], output=Output(stdout=own_stdout())))


def _invoke(output: Output, root: Root, args: Sequence[str]) -> _Outcome:
    """Run the command that `args` name. Raises `BrokenPipeError` if the reader of its output has gone."""
    with contextlib.redirect_stdout(sys.stdout):  # undoes whatever a command or a library does to sys.stdout
        try:
            _check_working_folder()
            with root.make_context("mlxk", list(args)) as ctx:
                return _Outcome(data=root.invoke(ctx))
        except Answered as answer:
            root.running = answer.command
            return _Outcome(text=answer.text, data=answer.data)
        except (Exception, SystemExit, KeyboardInterrupt) as raised:
            if isinstance(raised, BrokenPipeError) and not output.stdout_is_terminal:
                raise
            error = as_mlxk_error(raised, root.running)
            if error is None:
                return _Outcome()
            if root.running and not isinstance(error, MlxkError):
                error = root.failure_of_command(error)
            output.trace(raised)
            return _Outcome(data=getattr(error, "data", None), error=error)
        finally:
            output.release()


def _check_working_folder() -> None:
    """Raise `MlxkError` if the working folder was deleted: every relative path and some imports would fail."""
    try:
        os.getcwd()  # noqa: PTH109 - the help does without pathlib
    except OSError as error:
        reason = error.strerror or error
        raise MlxkError(f"The working folder cannot be used: {reason}. Change to another folder.") from error


def _print(output: Output, root: Root, args: Sequence[str], outcome: _Outcome) -> BaseException | None:
    """Print what the command has not printed itself, and return the error that the run ends with."""
    wants_json = root.json or (not root.parsed and "--json" in option_words(args))
    if wants_json and not root.announced:
        return _print_document(output, root, outcome.data, outcome.error)
    if outcome.error is not None:
        print_error(output, root.running, outcome.error)
    elif not root.announced:
        output.write(outcome.text)
    return outcome.error


def _print_document(output: Output, root: Root, data: Any, error: BaseException | None) -> BaseException | None:
    try:
        output.envelope(command=root.running, data=data, error=error)
    except (TypeError, ValueError, RecursionError) as unfit:  # the data is not JSON: print one document all the same
        blamed = root.failure_of_data(unfit)
        output.envelope(command=root.running, data=None, error=blamed)
        return blamed
    return error
