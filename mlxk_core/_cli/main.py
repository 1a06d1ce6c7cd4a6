"""The command line: parse argv, run one command, print its result and return an exit code."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from mlxk_core import __version__
from mlxk_core._cli.output import Output, error_message
from mlxk_core._cli.session import ANNOUNCED, JSON, JsonOption, Session, switch_to_json
from mlxk_core._errors import Interrupted, Kind, MlxkError, UsageError, kind_of
from mlxk_core._generation import ENGINE_THREAD
from mlxk_core._host.host import Host
from mlxk_core._host.registry import BUILTIN_COMMANDS
from mlxk_core._isolation.stdout import own_stdout
from mlxk_core._text.control import escape_control

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_CLOSED_PIPE = 141  # what a shell reports for a program killed by SIGPIPE
# click 8.1 has no such error: it prints the help itself.
_NO_ARGUMENTS: type[click.UsageError] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())
_BUILTINS = {
    "completion": ("Print the script that completes mlxk's command line in a shell.", "completion:completion"),
    "help": ("Show help for a command, or the environment variables.", "help:help_command"),
    "plugins": ("List installed plugins, what they provide, and any problems.", "plugins:plugins"),
}
"""Commands of mlxk itself: their summaries, and module in this package and attribute."""
_SETUP = "Setup"
_SECTIONS = ("Run models", "Manage models", "Server", _SETUP)
"""The headings of the help, in this order; those of plugins come after them."""
_OTHER = "Other commands"
_EXAMPLES = (
    ("run", 'mlxk run smollm2 "Why is the sky blue?"'),
    ("run", "mlxk run smollm2"),
    ("pull", "mlxk pull mlx-community/Qwen3-0.6B-4bit"),
    ("serve", "mlxk serve"),
    ("help", "mlxk help run"),
)
"""Examples in the help, each with the command that it needs."""


class _Answered(Exception):
    """Raised to end the run with a result: `text` for a terminal, `data` for --json."""

    def __init__(self, command: str | None, text: str, data: Any) -> None:
        self.command, self.text, self.data = command, text, data


class _NoCommand(UsageError):
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


class LazyCommand(click.Command):
    """A command whose target is imported when it runs.

    click also resolves commands for help and shell completion, which need no more than the name and the summary.
    """

    def __init__(self, name: str, summary: str, root: Root) -> None:
        super().__init__(name, help=summary, short_help=summary)
        self._root = root

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        command = self._root.load(self.name or "")
        json = self._root.json or "--json" in _options(args)
        if json and not extra.get("resilient_parsing"):
            if not any(isinstance(parameter, JsonOption) for parameter in command.params):
                raise UsageError(f"`{self.name}` has no JSON output; leave out --json.", command=self.name)
            with click.Context(command, info_name=info_name, parent=parent) as ctx:
                if set(command.get_help_option_names(ctx)) & set(_options(args)):
                    raise _Answered(self.name, "", {"help": command.get_help(ctx)})
        ctx = command.make_context(info_name, args, parent=parent, **extra)
        self._root.parsed = True
        return ctx


def _complete_plugin(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from mlxk_core._cli.completion import complete_plugin  # not for `mlxk --help`

    return complete_plugin(ctx, param, incomplete)


class Root(click.Group):
    """The group `mlxk` of one run. Its commands come from the host."""

    def __init__(self, output: Output, host: Host | None) -> None:
        super().__init__(
            "mlxk",
            help="Run and serve local language models on Apple's MLX.",
            no_args_is_help=False,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
            params=[
                click.Option(["--json"], is_flag=True, help="Print the result as JSON."),
                click.Option(["--no-plugins"], is_flag=True, help="Load no plugins."),
                click.Option(
                    ["--disable-plugin"],
                    metavar="NAME",
                    multiple=True,
                    shell_complete=_complete_plugin,
                    help="Do not load this plugin or distribution (repeatable).",
                ),
                click.Option(["-V", "--version"], is_flag=True, help="Show the version."),
            ],
        )
        self._output = output
        self._given_host = host
        self.parsed = False
        """Whether the whole command line has been parsed, so that `json` is final."""
        self._meta: dict[str, Any] = {}
        self.running: str | None = None
        """The name of the running command; never an alias."""

    @property
    def json(self) -> bool:
        """Whether standard output gets one JSON document."""
        return bool(self._meta.get(JSON))

    @property
    def announced(self) -> bool:
        """Whether that document has been printed already."""
        return bool(self._meta.get(ANNOUNCED))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Parsed twice: click handles --help first, and the help lists the commands of plugins, so the options that
        # disable plugins must be known before.
        try:
            options, rest, _ = self.make_parser(ctx).parse_args(list(args))
        except click.UsageError:
            if not ctx.resilient_parsing:
                raise
            options, rest = {}, []
        asks_for_help = any(options.get(p.name or "") for p in self.get_params(ctx) if "--help" in p.opts)
        self._meta = ctx.meta
        self._meta[JSON] = bool(options.get("json"))
        if options.get("version"):
            raise _Answered("version", f"mlxk {__version__}\n", {"version": __version__})
        self.host = self._given_host or Host.discover(
            disabled=options.get("disable_plugin") or (), no_plugins=bool(options.get("no_plugins"))
        )
        ctx.obj = Session(self.host, self._output)
        if self.json and not ctx.resilient_parsing:
            switch_to_json(ctx)
            if asks_for_help:
                commands = [{"name": name, "summary": self._summary(name)} for name in self.list_commands(ctx)]
                raise _Answered(None, "", {"help": self.get_help(ctx), "commands": commands})
        if not rest and not asks_for_help and not ctx.resilient_parsing:
            raise _NoCommand(self.get_help(ctx))
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        offered = [spec.name for spec in self.host.commands()]
        names = sorted({*BUILTIN_COMMANDS, *offered, *self.host.contested_commands()})
        if not ctx.resilient_parsing:
            self.host.announce_failures(self._output.note)
        return names

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        names = self.list_commands(ctx)
        width = max(map(len, names))
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in names:
            sections.setdefault(self._section(name), []).append((name.ljust(width), self._summary(name)))
        last = [*sorted(sections.keys() - {*_SECTIONS, _OTHER}), _OTHER]
        for title in (*_SECTIONS, *last):
            if title in sections:
                with formatter.section(title):
                    formatter.write_dl(sections[title])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        names = self.list_commands(ctx)
        with formatter.section("Examples"):
            for command, line in _EXAMPLES:
                if command in names:
                    formatter.write_text(line)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return LazyCommand(name, self._summary(name), self)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in BUILTIN_COMMANDS:
            try:
                name = self.host.command(name).name
            except UsageError as error:
                if _is_model(self.host, name):
                    raise UsageError(
                        f"No such command `{name}`. It is a model: `mlxk run {name}`.", command=name
                    ) from error
                raise
            finally:
                self.host.announce_failures(self._output.note)
        self.running = name
        return name, self.get_command(ctx, name), args[1:]

    def load(self, name: str) -> click.Command:
        """Return the command called `name`."""
        if name in _BUILTINS:
            module, _, attribute = _BUILTINS[name][1].partition(":")
            builtin = getattr(importlib.import_module(f"mlxk_core._cli.{module}"), attribute)
            assert isinstance(builtin, click.Command)
            return _plain(builtin)
        target = self.host.command(name).target
        command = self.host.load(target)
        if not isinstance(command, click.Command):
            raise UsageError(f"`{name}` cannot start: {target} is not a click command.", command=name, target=target)
        return _plain(command)

    def failure_of_command(self, error: BaseException) -> BaseException:
        """Return `error` as a failure of the running command's plugin; unchanged for a built-in command."""
        if self.running is None or self.running in BUILTIN_COMMANDS:
            return error
        spec = self.host.command(self.running)
        failure = self.host.failure_of(spec, f"`{self.running}`", error)
        failure.kind = kind_of(error)
        return failure

    def failure_of_data(self, error: TypeError | ValueError) -> BaseException:
        """Return `error`, raised because the data of the running command is not JSON, as a failure of its plugin."""
        if self.running is None or self.running in BUILTIN_COMMANDS:
            return error
        spec = self.host.command(self.running)
        command = self.host.load(spec.target)
        source = getattr(command, "callback", command)
        what = f"`{self.running}` returned data that is not JSON, and `--json`"
        failure = self.host.failure_of(spec, what, error.with_traceback(None), source=source)
        failure.kind = kind_of(error)
        return failure

    def _section(self, name: str) -> str:
        if name in _BUILTINS:
            return _SETUP
        return (name not in self.host.contested_commands() and self.host.command(name).section) or _OTHER

    def _summary(self, name: str) -> str:
        if name in _BUILTINS:
            return _BUILTINS[name][0]
        if name in self.host.contested_commands():
            return "(claimed by several plugins, see `mlxk plugins`)"
        return self.host.command(name).summary


def _is_model(host: Host, name: str) -> bool:
    from mlxk_core._models.resolve import Resolver  # for a word that is not a command

    try:
        return Resolver(host).exact(name) is not None
    except MlxkError:
        return False


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
        except _Answered as answer:
            root.running, text, data = answer.command, answer.text, answer.data
        except (Exception, SystemExit, KeyboardInterrupt) as raised:
            if isinstance(raised, BrokenPipeError) and not output.stdout_is_terminal:
                return _CLOSED_PIPE
            error = _as_mlxk_error(raised, root.running)
            if error is not None:
                if root.running and not isinstance(error, MlxkError):
                    error = root.failure_of_command(error)
                data = getattr(error, "data", None)
                output.trace(raised)
    try:
        if root.announced:
            if error is not None:
                _print_error(output, root.running, error)
        elif root.json or (not root.parsed and "--json" in _options(args)):
            error = _print_document(output, root, data, error)
        elif error is None:
            output.write(text)
        else:
            _print_error(output, root.running, error)
    except BrokenPipeError:
        return _CLOSED_PIPE
    except MlxkError as unwritten:  # a full disk, or no standard output at all
        _print_error(output, root.running, unwritten)
        return 1
    except KeyboardInterrupt:
        return kind_of(Interrupted("")).exit_code
    return kind_of(error).exit_code if error else 0


def main() -> None:
    """Run `mlxk` with the arguments of the process, and exit."""
    if "_MLXK_COMPLETE" in os.environ:
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(Root(Output(), None), {}, "mlxk", "_MLXK_COMPLETE", os.environ["_MLXK_COMPLETE"]))
    code = 1

    def end() -> None:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    # Registered first, so called last, after all other exit handlers. It replaces the teardown of the interpreter,
    # which takes 0.2 s with MLX and transformers loaded.
    atexit.register(end)
    _open_standard_streams()
    code = run(sys.argv[1:], output=Output(stdout=own_stdout()))
    _close_standard_output()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the run is over; Ctrl-C must not print a traceback now
    if code == _CLOSED_PIPE:
        # Otherwise Python reports an error on exit, when it flushes what is still buffered for the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _leave(code)


def _open_standard_streams() -> None:
    """Open /dev/null in place of each closed standard stream.

    Otherwise the next file opened gets the stream's number: MLX treats descriptor 0 as a failed open, and libraries
    write their messages into the file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one


def _close_standard_output() -> None:
    """Send what exit handlers of plugins and libraries print to standard error, since the result is complete."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stdout is not None:
            sys.stdout.flush()
    sys.stdout = sys.stderr
    with contextlib.suppress(OSError):
        os.dup2(2, 1)


def _leave(code: int) -> NoReturn:
    """End the process.

    An engine thread that is still alive hangs in foreign code, and Python would abort while tearing down the
    interpreter under it. Nothing is lost: all output is flushed.
    """
    if any(thread.name == ENGINE_THREAD for thread in threading.enumerate()):
        os._exit(code)
    sys.exit(code)


def _plain(command: click.Command) -> click.Command:
    from mlxk_core._cli.plain_words import use_plain_words  # not for `mlxk --help`

    use_plain_words(command)
    return command


def _print_document(output: Output, root: Root, data: Any, error: BaseException | None) -> BaseException | None:
    try:
        output.envelope(command=root.running, data=data, error=error)
    except (TypeError, ValueError) as unfit:  # the command's data is not JSON: print one document all the same
        blamed = root.failure_of_data(unfit)
        output.envelope(command=root.running, data=None, error=blamed)
        return blamed
    return error


def _print_error(output: Output, command: str | None, error: BaseException) -> None:
    if isinstance(error, _NoCommand):
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


def _as_mlxk_error(error: BaseException, command: str | None = None) -> BaseException | None:
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
        return _NoCommand(error.ctx.get_help(), error.ctx.command_path)
    if isinstance(error, click.UsageError):
        from mlxk_core._cli.usage import usage_error  # only for a wrong command line

        return usage_error(error, command)
    if isinstance(error, click.ClickException):
        return _Ended(error.exit_code, error.format_message())
    return error


def _options(args: Sequence[str]) -> Sequence[str]:
    """Return the words of `args` that may be options: those before `--`."""
    return args[: args.index("--")] if "--" in args else args
