"""The command line: parse argv, run one command, print its result and return an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from mlxk_core._cli.failures import as_mlxk_error, print_error
from mlxk_core._cli.output import Output
from mlxk_core._cli.process import CLOSED_PIPE, run_process
from mlxk_core._cli.root import Answered, Root, option_words
from mlxk_core._errors import Interrupted, MlxkError, kind_of
from mlxk_core._host.host import Host
from mlxk_core._isolation.stdout import own_stdout


def run(args: Sequence[str], *, host: Host | None = None, output: Output | None = None) -> int:
    """Run `mlxk` with `args` and return the exit code.

    `host` None: the installed plugins. `output` None: the standard streams of the process.
    """
    output = output or Output()
    root = Root(output, host)
    data: Any = None
    text = ""
    error: BaseException | None = None
    # Undoes whatever a command or a library does to sys.stdout.
    with contextlib.redirect_stdout(sys.stdout):
        try:
            with root.make_context("mlxk", list(args)) as ctx:
                data = root.invoke(ctx)
        except Answered as answer:
            root.running, text, data = answer.command, answer.text, answer.data
        except (Exception, SystemExit, KeyboardInterrupt) as raised:
            if isinstance(raised, BrokenPipeError) and not output.stdout_is_terminal:
                return CLOSED_PIPE
            error = as_mlxk_error(raised, root.running)
            if error is not None:
                if root.running and not isinstance(error, MlxkError):
                    error = root.failure_of_command(error)
                data = getattr(error, "data", None)
                output.trace(raised)
    try:
        if root.announced:
            if error is not None:
                print_error(output, root.running, error)
        elif root.json or (not root.parsed and "--json" in option_words(args)):
            error = _print_document(output, root, data, error)
        elif error is None:
            output.write(text)
        else:
            print_error(output, root.running, error)
    except BrokenPipeError:
        return CLOSED_PIPE
    except MlxkError as unwritten:  # a full disk, or no standard output at all
        print_error(output, root.running, unwritten)
        return 1
    except KeyboardInterrupt:
        return kind_of(Interrupted("")).exit_code
    return kind_of(error).exit_code if error else 0


def main() -> NoReturn:
    """Run `mlxk` with the arguments of the process, and exit."""
    if "_MLXK_COMPLETE" in os.environ:
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(Root(Output(), None), {}, "mlxk", "_MLXK_COMPLETE", os.environ["_MLXK_COMPLETE"]))
    run_process(lambda: run(sys.argv[1:], output=Output(stdout=own_stdout())))


def _print_document(output: Output, root: Root, data: Any, error: BaseException | None) -> BaseException | None:
    try:
        output.envelope(command=root.running, data=data, error=error)
    except (TypeError, ValueError) as unfit:  # the command's data is not JSON: print one document all the same
        blamed = root.failure_of_data(unfit)
        output.envelope(command=root.running, data=None, error=blamed)
        return blamed
    return error
