"""The commands `mlxk ps` and `mlxk status`: what a running server has loaded and is doing."""

from __future__ import annotations

from typing import Any

import click

from mlxk_core.api.commands import Session, escape_control, json_option
from mlxk_core.api.text import human_size
from mlxk_service.client import DEFAULT_URL
from mlxk_service.durations import duration
from mlxk_service.server_status import LoadedModel, get_status

_HEADINGS = ("MODEL", "BACKEND", "MEMORY", "RUNNING", "IDLE")
url_option = click.option("--url", default=DEFAULT_URL, show_default=True, help="Address of the server.")


@click.command("ps")
@url_option
@json_option
@click.pass_obj
def ps(session: Session, url: str) -> Any:
    """List the models a running server has loaded.

    \b
    Examples:
      mlxk ps
      mlxk ps --url 127.0.0.1:9000
    """
    status, document = get_status(url)
    if session.output.json:
        return {"models": document["models"], "count": len(status.models)}
    if not status.models:
        session.output.note("No model is loaded.")
        return None
    rows = [_HEADINGS, *map(_row, status.models)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        session.output.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return None


@click.command("status")
@url_option
@json_option
@click.pass_obj
def status(session: Session, url: str) -> Any:
    """Show what a running server is doing.

    \b
    Examples:
      mlxk status
      mlxk status --json
    """
    found, document = get_status(url)
    if session.output.json:
        return document
    loaded = ", ".join(model.full_name for model in found.models) or "none"
    used = sum(model.memory for model in found.models)
    lines = [
        ("server", f"mlxk {found.version} at {url}, up {duration(found.uptime_seconds)}"),
        ("state", "shutting down" if found.draining else "running"),
        ("models", loaded + (f"; loading {found.loading}" if found.loading else "")),
        ("memory", f"{human_size(used)} of {human_size(found.memory)}"),
        ("requests", f"{found.active} running, {found.waiting} waiting"),
    ]
    for name, text in lines:
        session.output.line(f"{name.ljust(9)} {escape_control(text)}")
    return None


def _row(model: LoadedModel) -> tuple[str, ...]:
    return (
        escape_control(model.full_name),
        escape_control(model.backend),
        human_size(model.memory),
        str(model.running),
        "-" if model.running else duration(model.idle_seconds),
    )
