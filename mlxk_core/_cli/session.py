"""What a command is given: the host and the output of this run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import click

from mlxk_core._cli.output import Output
from mlxk_core._host.host import Host
from mlxk_core._host.isolation import quiet_stdout

JSON = "mlxk_core.json"
"""In `ctx.meta`, which all contexts of a run share: this run prints one JSON document."""
ANNOUNCED = "mlxk_core.announced"
"""In `ctx.meta`: that document is printed already."""
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Session:
    """`ctx.obj` of every command; `@click.pass_obj` hands it over."""

    host: Host
    output: Output


class JsonOption(click.Option):
    """The `--json` of a command that has it: `mlxk --json x` and `mlxk x --json` are the same."""


def switch_to_json(ctx: click.Context) -> None:
    """From here on standard output holds the envelope only, whatever a library may print."""
    session = ctx.find_object(Session)
    if session is None:
        raise RuntimeError("a command runs under mlxk_core._cli.main, which makes the session")
    if not session.output.json:
        ctx.obj = replace(session, output=session.output.for_json())
        ctx.with_resource(quiet_stdout())
    ctx.meta[JSON] = True


def json_option(command: _F) -> _F:
    """Gives a command `--json`: then it prints nothing and returns its data."""

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
    """With `--json`, prints the document of a command that goes on running now, and not at its end. What happens later
    goes to standard error only."""
    session = ctx.find_object(Session)
    if session is not None and session.output.json:
        session.output.envelope(command=ctx.info_name, data=data, error=None)
        ctx.meta[ANNOUNCED] = True
