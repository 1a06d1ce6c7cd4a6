"""The command serve: its options, which of them go together, and the run of the server."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

from mlxk_core.api.commands import Session, emit_result, json_option
from mlxk_core.api.errors import Interrupted, InvalidOption, UsageError
from mlxk_serve.config import ServeConfig
from mlxk_serve.options import Duration, Size, api_keys, origin

_FILES = 4096


@click.command("serve")
@click.option("--host", "hosts", multiple=True, metavar="ADDRESS", help="Listen here (repeatable) [default: loopback].")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--unix", type=click.Path(path_type=Path), metavar="PATH", help="Listen on a Unix socket instead.")
@click.option(
    "--model", "models", multiple=True, metavar="MODEL", help="Load this model at once (repeatable); a path is fine."
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="Most tokens of a chat answer that names no number [default: half of the context].",
)
@click.option("--queue", type=click.IntRange(min=0), default=128, show_default=True, help="How many requests may wait.")
@click.option("--ttl", type=Duration(), help="Unload a model that was not used for so long (15m) [default: never].")
@click.option("--memory", type=Size(), help="Budget for loaded models (8GB) [default: 75% of the machine's].")
@click.option("--hide-reasoning", is_flag=True, help="Leave reasoning out of every answer.")
@click.option(
    "--api-key-file", type=click.Path(path_type=Path), metavar="PATH", help="Keys, one a line; so does MLXK_API_KEY."
)
@click.option("--no-auth", is_flag=True, help="Listen beyond loopback without a key. Everybody who gets there gets in.")
@click.option("--allow-origin", "origins", multiple=True, metavar="ORIGIN", help="Web pages of ORIGIN may use it.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Answer to this Host name, too (repeatable).")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.option("--log-json", is_flag=True, help="Log one JSON object a line.")
@click.option("--verbose", is_flag=True, help="The same as --log-level debug.")
@click.option("--reload", is_flag=True, help="Start anew when the code of mlxk or a plugin changes (development).")
@json_option
@click.pass_context
def serve(ctx: click.Context, /, **options: Any) -> None:
    """Serve models over the OpenAI API.

    Point any OpenAI client at the address shown. A request names a model as GET /v1/models lists it; it is loaded
    when it is first asked for.

    Ctrl-C waits for the answers under way; a second one cuts them. With --json one document says where the server
    listens.
    """
    session: Session = ctx.obj
    config = _config(ctx, options)
    if options["reload"] and session.output.json:
        raise UsageError("--reload and --json exclude each other: a server that starts again would say so again.")
    # Here and not above: `mlxk serve --help` needs neither Falcon nor waitress.
    from mlxk_serve.lifecycle import End, Lifetime
    from mlxk_serve.observability import log
    from mlxk_serve.reload import Sources, start_anew
    from mlxk_serve.server import Server

    ctx.with_resource(log.to_stderr(config.log_level, as_json=config.log_json, secrets=config.keys))
    _raise_file_limit()
    sources = Sources() if options["reload"] else None
    lifetime = Lifetime(lambda: Server(session.host, config), changed=sources.changed if sources else None)
    end = lifetime.run(ready=lambda server: _announce(ctx, server))
    if end is End.CHANGED:
        start_anew()
    if end is End.INTERRUPTED:
        raise Interrupted("interrupted; the answers under way were cut.")


def _config(ctx: click.Context, options: dict[str, Any]) -> ServeConfig:
    """The options as one value; refuses those that do not go together."""
    hosts = tuple(dict.fromkeys(options["hosts"]))
    _check_unix(ctx, options, hosts)
    keys = api_keys(options["api_key_file"])
    _check_exposure(hosts, keys, options["no_auth"])
    return ServeConfig(
        hosts=hosts,
        port=options["port"],
        unix=options["unix"],
        models=options["models"],
        max_tokens=options["max_tokens"],
        hide_reasoning=options["hide_reasoning"],
        keys=keys,
        allow_origins=tuple(origin(value) for value in options["origins"]),
        allow_hosts=options["allow_host"],
        queue=options["queue"],
        ttl=options["ttl"],
        memory=options["memory"],
        log_level="debug" if options["verbose"] else options["log_level"],
        log_json=options["log_json"],
    )


def _check_unix(ctx: click.Context, options: dict[str, Any], hosts: tuple[str, ...]) -> None:
    if options["unix"] is None:
        return
    given = ctx.get_parameter_source("port")
    if hosts or given is not click.core.ParameterSource.DEFAULT:
        raise UsageError("--unix excludes --host and --port: one server listens in one way.")


def _check_exposure(hosts: tuple[str, ...], keys: tuple[str, ...], no_auth: bool) -> None:
    from mlxk_serve.http.sockets import addresses_of, is_loopback

    if no_auth and keys:
        raise UsageError("--no-auth and an API key exclude each other.")
    exposed = [host for host in hosts if not is_loopback(host)]
    if exposed and not keys and not no_auth:
        addresses_of(exposed[0])  # a key would not help what is no address
        raise InvalidOption(
            "--host",
            f"{exposed[0]} can be reached from outside, so a key is needed: --api-key-file PATH or MLXK_API_KEY. "
            "--no-auth lets everybody in.",
        )


def _announce(ctx: click.Context, server: Any) -> None:
    """Where the server listens, for a person or for a program."""
    session: Session = ctx.obj
    if session.output.json:
        emit_result(ctx, server.info)
        return
    first, *others = server.urls
    also = f" (also at {', '.join(others)})" if others else ""
    session.output.line(f"mlxk serves at {first}{'' if server.config.unix else '/v1'}{also}. Ctrl-C ends it.")
    if not server.config.keys and any(not _only_here(url) for url in server.urls):
        session.output.note("mlxk: there is no key (--no-auth): everybody who can reach this address can use it.")


def _only_here(url: str) -> bool:
    from urllib.parse import urlsplit

    from mlxk_serve.http.sockets import is_loopback

    return url.startswith("unix:") or is_loopback(urlsplit(url).hostname or "")


def _raise_file_limit() -> None:
    """macOS lets a process open 256 files. A connection is one; mlx-lm, too, sets its own limit when it is imported."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
