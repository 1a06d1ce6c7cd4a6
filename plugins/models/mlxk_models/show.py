"""The command `mlxk show`: details of one model, without loading it."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import click

from mlxk_core.api import Quantization
from mlxk_core.api.commands import Session, complete_model, escape_control, json_option
from mlxk_core.api.errors import PluginConflict
from mlxk_core.api.generation import CHAT_STOP_STRINGS
from mlxk_core.api.models import Resolver, model_context_length, short_name, weight_format
from mlxk_core.api.text import human_size
from mlxk_models import humanize
from mlxk_models.effective import (
    EffectiveValue,
    declared_sampling,
    effective_values,
    other_value,
    sampling_values,
    settings_values,
)
from mlxk_models.entry import Entry, has_required_mlx, installed_mlx
from mlxk_models.table import Column, Row, show_table

_PLAIN_MODES = (None, "affine")
_LABEL_WIDTH = 16


@click.command("show")
@click.argument("model", shell_complete=complete_model)
@click.option("--files", is_flag=True, help="Show every file with its size and kind.")
@click.option("--config", is_flag=True, help="Show config.json.")
@click.option("--template", is_flag=True, help="Show the chat template.")
@json_option
@click.pass_obj
def show(session: Session, model: str, files: bool, config: bool, template: bool) -> dict[str, Any] | None:
    """Show details of a model.

    Type, context length, quantization, sampling, settings and where each value comes from, stop tokens, the state of
    its files, and what runs it.

    \b
    Examples:
      mlxk show smollm2
      mlxk show smollm2 --template
      mlxk show smollm2 --files --json
    """
    entry = Entry(Resolver(session.host).find(model), session.host)
    if session.output.json:
        data: dict[str, Any] = {"model": _as_json(entry)}
        if files:
            data["files"] = [{"name": f.name, "size_bytes": f.size, "kind": _kind(f.name)} for f in entry.model.files]
        if config:
            data["config"] = _finite(entry.model.config)
        if template:
            data["template"] = entry.facts.chat_template
        return data
    out = session.output
    out.line(escape_control(short_name(entry.model.name)))
    for label, text in _lines(entry):
        for first, line in _wrap(label, escape_control(text), terminal=out.stdout_is_terminal):
            out.line(f"  {first:<{_LABEL_WIDTH}}{line}".rstrip())
    if files:
        out.line()
        rows = [Row([f.name, human_size(f.size), _kind(f.name)]) for f in entry.model.files]
        show_table(out, [Column("File", wraps=20), Column("Size", right=True), Column("Kind")], rows)
    if config:
        out.line()
        out.line(json.dumps(dict(entry.model.config), indent=2, ensure_ascii=False))
    if template:
        out.line()
        lines = (entry.facts.chat_template or "The model has no chat template.").split("\n")
        out.line("\n".join(map(escape_control, lines)))
    return None


def _wrap(label: str, text: str, *, terminal: bool) -> Iterator[tuple[str, str]]:
    """Yield label and text of each line: wrapped in its column on a terminal, in one piece in a pipe."""
    width = shutil.get_terminal_size().columns - _LABEL_WIDTH - 2
    lines = textwrap.wrap(text, max(width, 20), break_long_words=False, break_on_hyphens=False) if terminal else [text]
    for line in lines:
        yield label, line
        label = ""


def _lines(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield labels and texts; a line that continues the one above has no label."""
    model = entry.model
    if short_name(model.name) != model.name:
        yield "Full name", model.name
    if model.revision:
        yield "Revision", model.revision
    if model.source:
        yield "Source", model.source
    yield "Path", str(model.path)
    yield "Size", human_size(model.size)
    if entry.modified:
        yield "Modified", f"{humanize.timestamp(entry.modified)} ({humanize.age(entry.modified, datetime.now(tz=UTC))})"
    yield "Framework", entry.framework
    yield "Type", entry.type
    yield "Architecture", entry.facts.architecture or "unknown"
    yield "Capabilities", ", ".join(entry.facts.capabilities) or "none"
    context = other_value(entry, "context_length")
    yield "Context", f"{context.value:,} tokens ({context.origin})" if context else "unknown"
    yield "Chat template", _template_text(entry)
    yield from _values("Sampling", sampling_values(entry))
    yield from _values("Settings", settings_values(entry))
    yield "Stop tokens", ", ".join(token.text or f"#{token.id}" for token in entry.stop_tokens) or "unknown"
    yield "Reasoning", _reasoning_text(entry)
    yield from _weights(entry)
    yield "Files", entry.health.state
    for problem in entry.health.problems:
        yield "", problem.message
    for note in entry.notes:
        yield "", note
    yield "Runs with", _backend_text(entry)
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
        yield f"Requires MLX ≥{each.requires_mlx}."
    if each.requires_mlx:
        installed = installed_mlx()
        verdict = "sufficient" if has_required_mlx(each) else "too old"
        yield f"Installed MLX: {installed} ({verdict})." if installed else "MLX is not installed."


def _variants(each: Quantization) -> Iterator[str]:
    width = max(len(variant.name) for variant in each.variants)
    for variant in each.variants:
        shards = f", {len(variant.files)} of {variant.shards} files" if variant.shards > 1 else ""
        missing = "" if variant.complete else " (incomplete)"
        yield f"{variant.name:<{width}}  {human_size(variant.size):>9}{shards}{missing}"


def _reasoning_text(entry: Entry) -> str:
    if (found := other_value(entry, "reasoning_format")) and found.source == "settings":
        return f"{found.value} ({found.origin})"
    format_ = _reasoning(entry)
    if format_["name"] is None:
        return format_["reason"] or "none"
    return f"{format_['name']} ({format_['reason']})"


def _reasoning(entry: Entry) -> dict[str, str | None]:
    """Return the model's reasoning format and the evidence for it; a conflict in place of the evidence."""
    try:
        found = entry.host.reasoning_format(entry.model)
    except PluginConflict as conflict:
        return {"name": None, "reason": str(conflict)}
    if found is None:
        return {"name": None, "reason": None}
    spec, evidence = found
    return {"name": spec.name, "reason": evidence.detail if evidence else None}


def _values(label: str, values: Iterable[EffectiveValue]) -> Iterator[tuple[str, str]]:
    """Yield a line for each value: `temperature 0.6 (generation_config.json)`."""
    for each in values:
        greedy = ", greedy" if each.name == "temperature" and each.value == 0 else ""
        yield label, f"{each.name} {each.text}{greedy} ({each.origin})"
        label = ""


def _template_text(entry: Entry) -> str:
    found = other_value(entry, "chat_template")
    if found is not None and found.source == "settings":
        missing = "" if entry.facts.chat_template else "; cannot be read"
        return f"{found.value} ({found.origin}{missing})"
    return f"{found.value} (--template shows it)" if found else "none"


def _backend_text(entry: Entry) -> str:
    found = other_value(entry, "backend")
    if found is not None and found.source == "settings":
        return f"{found.value} ({found.origin})"
    return entry.runs_with or "no installed backend"


def _as_json(entry: Entry) -> dict[str, Any]:
    model = entry.model
    policy = entry.host.stop_policies(model)
    return {
        **entry.as_json(),
        "architecture": entry.facts.architecture,
        "context_length": model_context_length(model),
        "chat_template": entry.facts.chat_template is not None,
        "sampling": dict(declared_sampling(model)),
        "settings": [each.as_json() for each in effective_values(entry)],
        "stop_tokens": [{"id": token.id, "text": token.text} for token in entry.stop_tokens],
        "stop_strings": list(dict.fromkeys((*CHAT_STOP_STRINGS, *policy.stop_strings))),
        "reasoning_format": _reasoning(entry),
        "mlx_version": installed_mlx(),
        "notes": [note for each in entry.quantizations for note in each.notes],
    }


def _finite(config: Mapping[str, Any]) -> Any:
    """Return `config` with text for numbers that JSON lacks, such as `Infinity` in Mamba 2's time_step_limit."""
    return json.loads(json.dumps(dict(config)), parse_constant=str)


def _kind(name: str) -> str:
    """Return what a file is for."""
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
