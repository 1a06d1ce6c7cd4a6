"""`mlxk embed`: print the embeddings of texts."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from mlxk_core.api.commands import Session, complete_model, json_option
from mlxk_core.api.embeddings import EmbeddingRequest
from mlxk_core.api.embeddings import embed as embed_texts
from mlxk_core.api.errors import UsageError
from mlxk_core.api.generation import GenerationService
from mlxk_core.api.models import Resolver


@click.command("embed")
@click.argument("model", metavar="MODEL", shell_complete=complete_model)
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("--prompt-name", metavar="NAME", help="Prefix of the model to use, such as `query`.")
@click.option("--dimensions", type=click.IntRange(min=1), metavar="N", help="Keep only the first N numbers.")
@click.option("--truncate", is_flag=True, help="Cut texts that are too long instead of failing.")
@json_option
@click.pass_obj
def embed(
    session: Session,
    /,
    model: str,
    texts: tuple[str, ...],
    prompt_name: str | None,
    dimensions: int | None,
    truncate: bool,
) -> Any:
    """Print the embeddings of texts.

    Each is a JSON array on a line of its own. Without TEXT, every line of standard input is a text.

    \b
    Examples:
      mlxk embed Qwen3-Embedding-0.6B "The weather is nice today."
      mlxk embed Qwen3-Embedding-0.6B --prompt-name query --json < questions.txt
    """
    inputs = list(texts) or _lines()
    found = Resolver(session.host).resolve(model)
    with session.output.exclusive(), GenerationService(session.host) as service:
        request = EmbeddingRequest(
            model=found, inputs=inputs, prompt_name=prompt_name, dimensions=dimensions, truncate=truncate, option="text"
        )
        result = embed_texts(service, request)
    if not session.output.json:
        for vector in result.vectors:
            session.output.line(json.dumps(list(vector)))
    return {"model": found.name, "embeddings": [list(vector) for vector in result.vectors], "tokens": result.tokens}


def _lines() -> list[str]:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError('No text given. Usage: mlxk embed MODEL "TEXT".')
    lines = [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not lines:
        raise UsageError("Standard input is empty.")
    return lines
