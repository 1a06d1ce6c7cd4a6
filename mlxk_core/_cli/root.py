"""The group `mlxk`: its options, its help, and the commands that the host offers, each imported when it runs."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mlxk_core import __version__
from mlxk_core._cli.failures import NoCommand
from mlxk_core._cli.output import Output
from mlxk_core._cli.session import ANNOUNCED, JSON, JsonOption, Session, switch_to_json
from mlxk_core._errors import MlxkError, PluginConflict, UsageError, kind_of
from mlxk_core._host.host import Host
from mlxk_core._host.registry import BUILTIN_COMMANDS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

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


class Answered(Exception):
    """Raised to end the run with a result: `text` for a terminal, `data` for --json."""

    def __init__(self, command: str | None, text: str, data: Any) -> None:
        self.command, self.text, self.data = command, text, data


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
        json = self._root.json or "--json" in option_words(args)
        if json and not extra.get("resilient_parsing"):
            if not any(isinstance(parameter, JsonOption) for parameter in command.params):
                raise UsageError(f"`{self.name}` has no JSON output; leave out --json.", command=self.name)
            with click.Context(command, info_name=info_name, parent=parent) as ctx:
                if set(command.get_help_option_names(ctx)) & set(option_words(args)):
                    raise Answered(self.name, "", {"help": command.get_help(ctx)})
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
            raise Answered("version", f"mlxk {__version__}\n", {"version": __version__})
        self.host = self._given_host or Host.discover(
            disabled=options.get("disable_plugin") or (), no_plugins=bool(options.get("no_plugins"))
        )
        ctx.obj = Session(self.host, self._output)
        if self.json and not ctx.resilient_parsing:
            switch_to_json(ctx)
            if asks_for_help:
                commands = [{"name": name, "summary": self._summary(name)} for name in self.list_commands(ctx)]
                raise Answered(None, "", {"help": self.get_help(ctx), "commands": commands})
        if not rest and not asks_for_help and not ctx.resilient_parsing:
            raise NoCommand(self.get_help(ctx))
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
                if _is_sentence(args) and not _is_known(error):
                    raise UsageError(
                        f'No such command `{name}`. To ask a model, write `mlxk run MODEL "PROMPT"`.', command=name
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

    def failure_of_data(self, error: TypeError | ValueError | RecursionError) -> BaseException:
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


def _is_known(error: UsageError) -> bool:
    """Return whether `error` says what to do about the command: it is off, contested, not installed or misspelled."""
    return isinstance(error, PluginConflict) or bool(error.details.get("reason") or error.details.get("explained"))


def _is_sentence(args: Sequence[str]) -> bool:
    """Return whether the command line looks like a prompt, with or without quotes, for which a model is missing."""
    words = " ".join(args).split()
    return (len(words) > 2 and not any(word.startswith("-") for word in words)) or len(args[0].split()) > 1


def _is_model(host: Host, name: str) -> bool:
    from mlxk_core._models.resolve import Resolver  # for a word that is not a command

    try:
        return Resolver(host).exact(name) is not None
    except MlxkError:
        return False


def _plain(command: click.Command) -> click.Command:
    from mlxk_core._cli.option_types import use_plain_words  # not for `mlxk --help`

    use_plain_words(command)
    return command


def option_words(args: Sequence[str]) -> Sequence[str]:
    """Return the words of `args` that may be options: those before `--`."""
    return args[: args.index("--")] if "--" in args else args
