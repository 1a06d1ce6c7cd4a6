"""`mlxk show`: everything that is known of one model without loading it."""

from __future__ import annotations

import json
import math
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import click

from mlxk_core.api import Quantization
from mlxk_core.api.commands import Session, escape_control, json_option
from mlxk_core.api.errors import PluginConflict
from mlxk_core.api.generation import CHAT_STOP_STRINGS
from mlxk_core.api.models import Resolver, listed_stop_tokens, model_context_length, weight_format
from mlxk_models import humanize
from mlxk_models.entry import Entry, installed_mlx, satisfied
from mlxk_models.table import Column, Row, show_table

_PLAIN_MODES = (None, "affine")
_LABEL_WIDTH = 16


@click.command("show")
@click.argument("model")
@click.option("--files", is_flag=True, help="Also every file with its size and what it is.")
@click.option("--config", is_flag=True, help="Also config.json.")
@json_option
@click.pass_obj
def show(session: Session, model: str, files: bool, config: bool) -> dict[str, Any] | None:
    """Show what is known of a model.

    What MODEL is, how its weights are stored, whether it is whole, and what runs it.
    """
    entry = Entry(Resolver(session.host).find(model), session.host)
    if session.output.json:
        data: dict[str, Any] = {"model": _as_json(entry)}
        if files:
            data["files"] = [{"name": f.name, "size_bytes": f.size, "kind": _kind(f.name)} for f in entry.model.files]
        if config:
            data["config"] = _finite(entry.model.config)
        return data
    out = session.output
    out.line(escape_control(entry.model.name))
    for label, text in _lines(entry):
        for first, line in _wrapped(label, escape_control(text), terminal=out.stdout_is_terminal):
            out.line(f"  {first:<{_LABEL_WIDTH}}{line}".rstrip())
    if files:
        out.line()
        rows = [Row([f.name, humanize.size(f.size), _kind(f.name)]) for f in entry.model.files]
        show_table(out, [Column("File", wraps=20), Column("Size", right=True), Column("Kind")], rows)
    if config:
        out.line()
        out.line(json.dumps(dict(entry.model.config), indent=2, ensure_ascii=False))
    return None


# What is shown


def _wrapped(label: str, text: str, *, terminal: bool) -> Iterator[tuple[str, str]]:
    """Long sentences stay in their column on a terminal; a pipe gets them whole, and so does who copies a path."""
    width = shutil.get_terminal_size().columns - _LABEL_WIDTH - 2
    lines = textwrap.wrap(text, max(width, 20), break_long_words=False, break_on_hyphens=False) if terminal else [text]
    for line in lines:
        yield label, line
        label = ""


def _lines(entry: Entry) -> Iterator[tuple[str, str]]:
    """Labels and texts; a line that goes on with the one above has no label."""
    model = entry.model
    if model.revision:
        yield "Revision", model.revision
    if model.source:
        yield "Source", model.source
    yield "Path", str(model.path)
    yield "Size", humanize.size(model.size)
    if entry.modified:
        yield "Modified", f"{humanize.timestamp(entry.modified)} ({humanize.age(entry.modified, datetime.now(tz=UTC))})"
    yield "Framework", entry.facts.framework
    yield "Type", entry.facts.type
    yield "Architecture", entry.facts.architecture or "unknown"
    yield "Capabilities", ", ".join(entry.facts.capabilities) or "none"
    context = model_context_length(model)
    yield "Context", f"{context:,} tokens" if context else "unknown"
    yield "Chat template", "yes" if entry.facts.chat_template else "none"
    stops = listed_stop_tokens(model, entry.host.stop_policies(model))
    yield "Stop tokens", ", ".join(token.text or f"#{token.id}" for token in stops) or "none named"
    yield "Reasoning", _reasoning_text(entry)
    yield from _weights(entry)
    yield "Files", "healthy" if entry.health.healthy else entry.health.problems[0].message
    for problem in entry.health.problems[1:]:
        yield "", problem.message
    yield "Runs with", entry.runs_with or "nothing here"
    if entry.reason and entry.reason != entry.health.reason:
        yield "", entry.reason


def _weights(entry: Entry) -> Iterator[tuple[str, str]]:
    label = "Quantization"
    if not entry.quantizations:
        yield label, "unknown"
    for each in entry.quantizations:
        text = each.label
        if len(entry.quantizations) > 1:
            text = f"{each.format}: {text}"
        if each.bits_per_weight:
            text += f", {each.bits_per_weight:g} bits per weight"
        if not entry.format_runs(each):
            text += "; does not run here"
        yield label, text
        label = ""
        yield from (("", line) for line in _requirements(each))
        yield from (("", note) for note in each.notes)
        if len(each.variants) > 1 or any(variant.shards > 1 for variant in each.variants):
            yield from (("", line) for line in _variants(each))


def _requirements(each: Quantization) -> Iterator[str]:
    if each.format == "gguf":
        return
    needed = f" (requires MLX ≥{each.requires_mlx})" if each.requires_mlx else ""
    if each.mode not in _PLAIN_MODES and each.requires_mlx:
        yield f"Advanced mode '{each.mode}'{needed}"
    elif each.requires_mlx:
        yield f"Needs a later MLX than the first ones{needed}"
    if each.requires_mlx:
        installed = installed_mlx()
        verdict = "that is enough" if satisfied(each) else "that is too old"
        yield f"MLX {installed} is installed: {verdict}." if installed else "MLX is not installed."


def _variants(each: Quantization) -> Iterator[str]:
    width = max(len(variant.name) for variant in each.variants)
    for variant in each.variants:
        shards = f", {len(variant.files)} of {variant.shards} files" if variant.shards > 1 else ""
        missing = "" if variant.complete else " (incomplete)"
        yield f"{variant.name:<{width}}  {humanize.size(variant.size):>9}{shards}{missing}"


def _reasoning_text(entry: Entry) -> str:
    format_ = _reasoning(entry)
    if format_["name"] is None:
        return format_["reason"] or "none"
    return f"{format_['name']}, because {format_['reason']}"


def _reasoning(entry: Entry) -> dict[str, str | None]:
    """The format that is taken for this model and why; where several fit equally, the sentence that says so."""
    try:
        found = entry.host.reasoning_format(entry.model)
    except PluginConflict as conflict:
        return {"name": None, "reason": str(conflict)}
    if found is None:
        return {"name": None, "reason": None}
    spec, evidence = found
    return {"name": spec.name, "reason": evidence.detail if evidence else None}


# JSON


def _as_json(entry: Entry) -> dict[str, Any]:
    model = entry.model
    policy = entry.host.stop_policies(model)
    return {
        **entry.as_json(),
        "architecture": entry.facts.architecture,
        "context_length": model_context_length(model),
        "chat_template": entry.facts.chat_template is not None,
        "stop_tokens": [{"id": token.id, "text": token.text} for token in listed_stop_tokens(model, policy)],
        "stop_strings": list(dict.fromkeys((*CHAT_STOP_STRINGS, *policy.stop_strings))),
        "reasoning_format": _reasoning(entry),
        "mlx_version": installed_mlx(),
        "notes": [note for each in entry.quantizations for note in each.notes],
    }


def _finite(value: Any) -> Any:
    """JSON knows no `Infinity`, which transformers writes into configs all the same (Mamba 2's time_step_limit)."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _kind(name: str) -> str:
    """What a file is for."""
    last = name.rpartition("/")[2].lower()
    if weight_format(name):
        return "weights"
    if "token" in last or last in ("vocab.json", "vocab.txt", "merges.txt", "spiece.model"):
        return "tokenizer"
    if last.startswith("chat_template"):
        return "template"
    if last.endswith(".json"):
        return "config"
    if last.startswith(("readme", "license", "licence")) or last.endswith(".md"):
        return "document"
    return "other"
