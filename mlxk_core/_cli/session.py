"""Session of a run: the host and output of its commands, and the switch to JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import click

from mlxk_core._cli.output import Output
from mlxk_core._host.host import Host

JSON = "mlxk_core.json"
"""Key in `ctx.meta`, which all contexts of a run share: whether the run prints one JSON document."""
ANNOUNCED = "mlxk_core.announced"
"""Key in `ctx.meta`: whether that document has been printed already."""
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Session:
    """The `ctx.obj` of every command; `@click.pass_obj` passes it on."""

    host: Host
    output: Output


class JsonOption(click.Option):
    """The `--json` option of a command: `mlxk --json x` and `mlxk x --json` are the same."""


def switch_to_json(ctx: click.Context) -> None:
    """Reserve standard output for the envelope from now on, whatever libraries print."""
    session = ctx.find_object(Session)
    if session is None:
        raise RuntimeError("a command runs under mlxk_core._cli.main, which makes the session")
    if not session.output.json:
        ctx.obj = replace(session, output=session.output.for_json())
        session.output.reserve()  # not for the context: click does not close one whose command line is wrong
    ctx.meta[JSON] = True


def json_option(command: _F) -> _F:
    """Add `--json` to a command. With it, the command prints nothing and returns its data."""

    def chosen(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            switch_to_json(ctx)

    return click.option(
        "--json",
        cls=JsonOption,
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=chosen,
        help="Print the result as JSON.",
    )(command)


def emit_result(ctx: click.Context, data: Any) -> None:
    """With `--json`, print the document now, for a command that keeps running. Later output goes to standard error."""
    session = ctx.find_object(Session)
    if session is not None and session.output.json:
        session.output.envelope(command=ctx.info_name, data=data, error=None)
        ctx.meta[ANNOUNCED] = True
