"""The commands `mlxk ps` and `mlxk status`: what a running server has loaded and is doing."""

from __future__ import annotations

from typing import Any

import click

from mlxk_core.api.commands import Session, escape_control, json_option
from mlxk_core.api.text import human_size
from mlxk_service.client import DEFAULT_URL, get_json
from mlxk_service.durations import duration

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
    found = get_json(url, "/v1/status")
    models = found.get("models", [])
    if session.output.json:
        return {"models": models, "count": len(models)}
    if not models:
        session.output.note("No model is loaded.")
        return None
    rows = [_HEADINGS, *map(_row, models)]
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
    found = get_json(url, "/v1/status")
    if session.output.json:
        return found
    models = found.get("models", [])
    loaded = ", ".join(map(escape_control, loaded_names(found))) or "none"
    lines = [
        ("server", f"mlxk {found.get('version', '?')} at {url}, up {duration(found.get('uptime_seconds', 0))}"),
        ("state", "shutting down" if found.get("draining") else "running"),
        ("models", loaded + (f"; loading {found['loading']}" if found.get("loading") else "")),
        (
            "memory",
            f"{human_size(sum(model.get('memory', 0) for model in models))} of {human_size(found.get('memory', 0))}",
        ),
        ("requests", f"{found.get('active', 0)} running, {found.get('waiting', 0)} waiting"),
    ]
    for name, text in lines:
        session.output.line(f"{name.ljust(9)} {text}")
    return None


def loaded_names(status: dict[str, Any]) -> list[str]:
    """Return the names of the loaded models in a server's status."""
    return [_name(model) for model in status.get("models", [])]


def _name(model: dict[str, Any]) -> str:
    variant = model.get("variant")
    return f"{model.get('name')}:{variant}" if variant else str(model.get("name"))


def _row(model: dict[str, Any]) -> tuple[str, ...]:
    return (
        escape_control(_name(model)),
        str(model.get("backend")),
        human_size(model.get("memory", 0)),
        str(model.get("running", 0)),
        "-" if model.get("running") else duration(model.get("idle_seconds", 0)),
    )
