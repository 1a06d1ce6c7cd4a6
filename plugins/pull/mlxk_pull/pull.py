"""The command `mlxk pull`: its options, and several models in one run."""

from __future__ import annotations

from typing import Any

import click

from mlxk_core.api.commands import Session, complete_model, json_option
from mlxk_core.api.errors import Interrupted, MlxkError, kind_of
from mlxk_hub.settings import check_settings


@click.command("pull")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, shell_complete=complete_model)
@click.option("--include", metavar="GLOB", multiple=True, help="Download the files that match instead (repeatable).")
@click.option("--exclude", metavar="GLOB", multiple=True, help="Skip the files that match (repeatable).")
@click.option("--dry-run", is_flag=True, help="Show what would be downloaded; write nothing.")
@click.option("--verify", is_flag=True, help="Compare every file with the hub's checksum, and repair what differs.")
@click.option("--force", is_flag=True, help="Download every file again.")
@click.option("--progress-json", is_flag=True, help="Write the progress as JSON lines to standard error.")
@json_option
@click.pass_obj
def pull(
    session: Session,
    models: tuple[str, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    dry_run: bool,
    verify: bool,
    force: bool,
    progress_json: bool,
) -> dict[str, Any]:
    """Download models from the hub, or repair them.

    MODEL is `org/name` or the address of a model's page, with `@REVISION` (branch, tag or full commit) and `:VARIANT`
    (of GGUF files) where needed. Without an owner it is one of mlx-community. Downloaded are the MLX or safetensors
    weights, or one GGUF variant, with config and tokenizer. An interrupted download is resumed. `SOURCE:NAME` asks the
    model source of a plugin, if it can download.

    \b
    Examples:
      mlxk pull mlx-community/Qwen3-0.6B-4bit
      mlxk pull bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M
      mlxk pull https://huggingface.co/org/name
      mlxk pull org/name@main --dry-run
    """
    check_settings()
    # Imported here: it imports huggingface_hub, which reads the settings.
    from mlxk_pull.puller import Options, Puller
    from mlxk_pull.selection import Filter
    from mlxk_pull.source_fetch import source_fetch
    from mlxk_pull.target import Target, parse_target

    options = Options(
        Filter(include, exclude), dry_run=dry_run, verify=verify, force=force, progress_json=progress_json
    )
    puller = Puller(session, options)
    given = {"--include": include, "--exclude": exclude, "--dry-run": dry_run, "--verify": verify, "--force": force}
    names = list(dict.fromkeys(map(session.host.settings.expand, models)))
    fetches = {name: source_fetch(session, name, [each for each, value in given.items() if value]) for name in names}
    targets = [(name, parse_target(name)) for name in names if fetches[name] is None]

    def pull_one(name: str, target: Target | None) -> dict[str, Any]:
        if fetch := fetches[name]:
            return fetch.run(session, progress_json=progress_json)
        assert target is not None
        return puller.pull(name, target)

    if len(names) == 1:
        return pull_one(names[0], targets[0][1] if targets else None)
    by_name = dict(targets)
    results: list[dict[str, Any]] = []
    failures: list[MlxkError] = []
    for name in names:
        target = by_name.get(name)
        try:
            results.append(pull_one(name, target))
        except Interrupted:
            raise
        except MlxkError as error:
            failures.append(error)
            repository = target.repository if target else name
            results.append({"model": repository, "status": "failed", "error": _as_json(error)})
            if not session.output.json:
                session.output.note(f"error: {target.reference if target else name}: {error}")
    if failures:
        failed = [each["model"] for each in results if each["status"] == "failed"]
        raise MlxkError(
            f"{len(failed)} of {len(names)} models could not be pulled: {', '.join(failed)}.",
            kind=kind_of(failures[0]),
            data={"models": results},
            models=failed,
        )
    return {"models": results}


def _as_json(error: MlxkError) -> dict[str, Any]:
    return {"type": kind_of(error).type, "message": str(error), "details": dict(error.details)}
