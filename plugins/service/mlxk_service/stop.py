"""The command `mlxk stop`: unload models from a running server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from mlxk_core.api.commands import Session, escape_control, json_option
from mlxk_core.api.errors import AmbiguousModel, Kind, MlxkError, UsageError
from mlxk_core.api.models import short_name
from mlxk_service.client import post_json
from mlxk_service.server_status import get_status
from mlxk_service.servers import url_option


class ModelNotLoaded(MlxkError):
    """The server has not loaded a model of that name."""

    kind = Kind("model_not_loaded", 1, 404)


def _complete_loaded(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        names = _loaded_names(ctx.params.get("url") or "")
    except MlxkError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command("stop")
@click.argument("models", nargs=-1, metavar="MODEL...", shell_complete=_complete_loaded)
@click.option("--all", "everything", is_flag=True, help="Unload every model.")
@url_option
@json_option
@click.pass_obj
def stop(session: Session, models: tuple[str, ...], everything: bool, url: str) -> Any:
    """Unload models from a running server.

    MODEL is a name that `mlxk ps` shows, or a unique part of it. The server keeps running, and loads the model again
    when a request names it; a model that answers a request is not unloaded.

    \b
    Examples:
      mlxk stop smollm2
      mlxk stop --all
    """
    if everything == bool(models):
        raise UsageError("Name the models to unload, or use --all. `mlxk ps` lists them.")
    loaded = _loaded_names(url)
    chosen = loaded if everything else list(dict.fromkeys(_find_loaded(name, loaded) for name in models))
    stopped: list[str] = []
    for name in chosen:
        try:
            post_json(url, "/v1/models/unload", {"model": name})
        except MlxkError as error:
            raise error.with_data({"stopped": stopped}) from error
        stopped.append(name)
        session.output.line(f"Unloaded {escape_control(name)}.")
    if not chosen and not session.output.json:
        session.output.note("No model is loaded.")
    return {"stopped": stopped}


def _loaded_names(url: str) -> list[str]:
    status, _ = get_status(url)
    return [model.full_name for model in status.models]


def _find_loaded(reference: str, loaded: Sequence[str]) -> str:
    """Return the loaded model that `reference` names. Raises `ModelNotLoaded` and `AmbiguousModel`."""
    folded = reference.casefold()
    exact = [name for name in loaded if folded in (name.casefold(), short_name(name).casefold())]
    owned = [name for name in loaded if name.casefold().rpartition("/")[2] == folded]
    found = exact or owned or [name for name in loaded if folded in name.casefold()]
    if len(found) > 1:
        raise AmbiguousModel(reference, found)
    if not found:
        names = ", ".join(escape_control(name) for name in loaded)
        raise ModelNotLoaded(f"`{reference}` is not loaded. {f'Loaded: {names}.' if loaded else 'No model is.'}")
    return found[0]
