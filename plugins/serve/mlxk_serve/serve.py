"""The command serve: its options, their combinations, and the run of the server."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlxk_core.api.commands import Session, complete_model, emit_result, json_option
from mlxk_core.api.errors import Interrupted, InvalidOption, UsageError, raise_system_limit
from mlxk_core.api.models import check_hub_cache
from mlxk_core.api.network import is_loopback
from mlxk_core.api.paths import NoHomeFolder
from mlxk_serve.config import Limits, ServeConfig
from mlxk_serve.options import Alias, Duration, Size, api_keys, origin

if TYPE_CHECKING:
    from mlxk_serve.server import Server

_FILES = 8192
_SWITCH_SECONDS = 0.001
"""How long a thread keeps the interpreter's lock while others wait for it; with Python's 5 ms a busy server answers
`/health` a fifth as fast, since a response takes a dozen turns of several threads."""


class _ServeCommand(click.Command):
    """A command whose options become one value when they are parsed, so are checked also for a service that is
    installed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            ctx.params["config"] = _config(ctx, ctx.params)
        return rest


@click.command("serve", cls=_ServeCommand)
@click.option("--host", "hosts", multiple=True, metavar="ADDRESS", help="Listen here (repeatable) [default: loopback].")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 selects a free port.")
@click.option("--unix", type=click.Path(path_type=Path), metavar="PATH", help="Listen on a Unix socket instead.")
@click.option(
    "--model",
    "models",
    multiple=True,
    shell_complete=complete_model,
    metavar="MODEL",
    help="Load this model at the start (name or path; repeatable).",
)
@click.option(
    "--alias",
    "aliases",
    multiple=True,
    type=Alias(),
    help="Serve MODEL under other names; PATTERN may contain * (repeatable).",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="Token limit of chat requests that set none [default: half of the context].",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    default=32,
    show_default=True,
    metavar="N",
    help="Requests that run at once; the others wait.",
)
@click.option(
    "--queue", type=click.IntRange(min=0), default=256, show_default=True, help="Requests of one client that may wait."
)
@click.option("--ttl", type=Duration(), help="Unload a model after this idle time (15m) [default: never].")
@click.option("--memory", type=Size(), help="Memory budget for loaded models (8GB) [default: 75% of the machine's].")
@click.option("--max-body", type=Size(), help="Largest request body [default: 8MiB].")
@click.option(
    "--thinking-budget",
    type=click.IntRange(min=0),
    metavar="N",
    help="Reasoning tokens of requests that name no budget; then the answer follows.",
)
@click.option(
    "--no-generic-tools", is_flag=True, help="Reject tools for models whose chat template has no place for them."
)
@click.option("--hide-reasoning", is_flag=True, help="Leave reasoning out of every response.")
@click.option(
    "--api-key-file", type=click.Path(path_type=Path), metavar="PATH", help="API keys, one a line; also MLXK_API_KEY."
)
@click.option("--no-auth", is_flag=True, help="Allow non-loopback addresses without an API key.")
@click.option("--allow-origin", "origins", multiple=True, metavar="ORIGIN", help="Allow web pages of ORIGIN.")
@click.option("--allow-pull", is_flag=True, help="Let clients download models (/api/pull).")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Accept this Host name as well (repeatable).")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.option("--log-json", is_flag=True, help="Log one JSON object a line.")
@click.option("--verbose", is_flag=True, help="Same as --log-level debug.")
@click.option("--reload", is_flag=True, help="Restart when the code of mlxk or a plugin changes (development).")
@json_option
@click.pass_context
def serve(ctx: click.Context, /, config: ServeConfig, reload: bool, **options: Any) -> None:
    """Serve models over the OpenAI API.

    Point any OpenAI client at the address shown. A request names a model as GET /v1/models lists it; the first request
    for a model loads it.

    Ctrl-C waits for open responses; a second one cuts them off. With --json one document says where the server
    listens.

    \b
    Examples:
      mlxk serve
      mlxk serve --model smollm2 --port 9000
      mlxk serve --host 0.0.0.0 --api-key-file keys.txt
      mlxk serve --ttl 15m --alias 'gpt-*=smollm2'
    """
    session: Session = ctx.obj
    # Errors of the start, not of the first request.
    _ = session.host.settings
    with contextlib.suppress(NoHomeFolder):  # a model may be given by its path
        check_hub_cache()
    if reload and session.output.json:
        raise UsageError("--reload cannot be used with --json")
    # Imported here: `mlxk serve --help` needs neither Falcon nor waitress.
    from mlxk_serve.observability import log
    from mlxk_serve.reload import Sources, restart_process
    from mlxk_serve.server import End, Server
    from mlxk_serve.signals import SignalHandler

    ctx.with_resource(log.to_stderr(config.log_level, as_json=config.log_json, secrets=config.keys))
    _raise_file_limit()
    sys.setswitchinterval(_SWITCH_SECONDS)
    sources = Sources() if reload else None

    def start() -> Server:
        try:
            return Server(session.host, config)
        except (OSError, RuntimeError) as error:
            raise_system_limit(error)  # no thread or descriptor is left
            raise

    end = SignalHandler().run(
        start,
        ready=lambda server: _announce(ctx, server),
        changed=sources.changed if sources else None,
    )
    if end is End.CHANGED:
        restart_process()
    if end is End.INTERRUPTED:
        raise Interrupted("interrupted; open responses were cut off.")


def _config(ctx: click.Context, options: dict[str, Any]) -> ServeConfig:
    """Return the options as one value. Raises for combinations that contradict each other."""
    hosts = tuple(dict.fromkeys(options["hosts"]))
    _check_unix(ctx, options, hosts)
    keys = api_keys(options["api_key_file"])
    _check_exposure(hosts, keys, options["no_auth"])
    return ServeConfig(
        hosts=hosts,
        port=options["port"],
        unix=options["unix"],
        models=options["models"],
        aliases=options["aliases"],
        max_tokens=options["max_tokens"],
        hide_reasoning=options["hide_reasoning"],
        thinking_budget=options["thinking_budget"],
        generic_tools=not options["no_generic_tools"],
        keys=keys,
        allow_origins=tuple(origin(value) for value in options["origins"]),
        allow_hosts=options["allow_host"],
        allow_pull=options["allow_pull"],
        queue=options["queue"],
        concurrency=options["concurrency"],
        ttl=options["ttl"],
        memory=options["memory"],
        log_level="debug" if options["verbose"] else options["log_level"],
        log_json=options["log_json"],
        limits=Limits() if options["max_body"] is None else Limits(body=options["max_body"]),
    )


def _check_unix(ctx: click.Context, options: dict[str, Any], hosts: tuple[str, ...]) -> None:
    if options["unix"] is None:
        return
    given = ctx.get_parameter_source("port")
    if hosts or given is not click.core.ParameterSource.DEFAULT:
        raise UsageError("--unix cannot be used with --host or --port")


def _check_exposure(hosts: tuple[str, ...], keys: tuple[str, ...], no_auth: bool) -> None:
    from mlxk_serve.http.bind import addresses_of

    if no_auth and keys:
        raise UsageError("--no-auth cannot be used with an API key")
    exposed = [host for host in hosts if not is_loopback(host)]
    if exposed and not keys and not no_auth:
        addresses_of(exposed[0])  # an invalid address is the first thing to fix
        raise InvalidOption(
            "--host",
            f"{exposed[0]} is reachable from outside and requires an API key. Use --api-key-file PATH or MLXK_API_KEY; "
            "--no-auth allows everyone.",
        )


def _announce(ctx: click.Context, server: Server) -> None:
    """Say where the server listens, to a person or a program."""
    session: Session = ctx.obj
    if session.output.json:
        emit_result(ctx, server.info)
        return
    first, *others = server.urls
    also = f" (also at {', '.join(others)})" if others else ""
    session.output.line(f"Listening on {first}{'' if server.config.unix else '/v1'}{also}. Press Ctrl-C to stop.")
    if not server.config.keys and any(not _only_local(url) for url in server.urls):
        session.output.note(
            "warning: authentication is off (--no-auth); anyone who can reach this address can use the server"
        )


def _only_local(url: str) -> bool:
    from urllib.parse import urlsplit

    return url.startswith("unix:") or is_loopback(urlsplit(url).hostname or "")


def _raise_file_limit() -> None:
    """macOS lets a process open 256 files, and every connection is one. mlx-lm sets a limit too when it is imported."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= target:
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
