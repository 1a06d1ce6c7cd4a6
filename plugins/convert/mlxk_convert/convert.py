"""The command `mlxk convert`: quantize a model with mlx-lm."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from mlxk_convert.destination import Destination
from mlxk_convert.weight_form import DTYPES, MODES, RECIPES, DType, WeightForm
from mlxk_core.api.commands import Session, complete_model, find_or_pull, json_option
from mlxk_core.api.errors import BrokenModel, Interrupted, UnsupportedModel
from mlxk_core.api.models import Model, check_health, short_name
from mlxk_core.api.text import human_size, plural

_BITS = sorted({str(bits) for mode in MODES.values() for bits in mode.bits}, key=int)
_GROUP_SIZES = sorted({str(size) for mode in MODES.values() for size in mode.group_sizes}, key=int)


@click.command("convert")
@click.argument("model", shell_complete=complete_model)
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[FOLDER]")
@click.option("-n", "--name", metavar="NAME", help="Name in the local cache [default: the model's, and `-4bit`].")
@click.option("-b", "--bits", type=click.Choice(_BITS), help="Bits of a weight [default: 4].")
@click.option(
    "--group-size", type=click.Choice(_GROUP_SIZES), help="Weights that share a scale [default: 64 for affine]."
)
@click.option("--mode", type=click.Choice(tuple(MODES)), help="Number format of the weights [default: affine].")
@click.option("--recipe", type=click.Choice(RECIPES), help="Fewer and more bits, by the kind of layer.")
@click.option(
    "--dtype", type=click.Choice(DTYPES), help="Type of the weights that are not quantized [default: the model's]."
)
@click.option("--no-quantize", is_flag=True, help="Write the weights in MLX form, without quantizing them.")
@click.option("--dequantize", is_flag=True, help="Turn quantized weights into plain ones.")
@json_option
@click.pass_context
def convert(
    ctx: click.Context,
    model: str,
    folder: Path | None,
    name: str | None,
    bits: str | None,
    group_size: str | None,
    mode: str | None,
    recipe: str | None,
    dtype: DType | None,
    no_quantize: bool,
    dequantize: bool,
) -> dict[str, Any]:
    """Quantize a model, or change the form of its weights.

    MODEL is a name that `mlxk list` shows, a name on the hub, or a folder with safetensors. The result is a new model
    in the local cache, or in FOLDER. Nothing is overwritten, and an interrupted conversion leaves nothing.

    \b
    Examples:
      mlxk convert Qwen/Qwen3-0.6B
      mlxk convert Qwen/Qwen3-0.6B --bits 8 --group-size 32
      mlxk convert Qwen/Qwen3-0.6B --mode mxfp4 --name qwen-small
      mlxk convert ./my-model ./my-model-4bit
      mlxk convert ./my-model-4bit ./plain --dequantize --dtype bfloat16
    """
    session: Session = ctx.obj
    form = WeightForm.parse(
        bits=int(bits) if bits else None,
        group_size=int(group_size) if group_size else None,
        mode=mode,
        recipe=recipe,
        dtype=dtype,
        quantize=not no_quantize,
        dequantize=dequantize,
    )
    if folder is not None and name is not None:
        raise click.UsageError("--name cannot be used with FOLDER: a folder is not in the local cache.", ctx)
    destination = Destination.folder(folder) if folder is not None else None
    source = find_or_pull(ctx, model)
    _check(source)
    if destination is None:
        default = short_name(source.name).rpartition("/")[2] + form.suffix
        destination = Destination.in_cache(name or default, content=f"{source.name} {source.revision} {form}")
    destination.check_free()
    try:
        return _convert(session, source, form, destination)
    except KeyboardInterrupt:
        raise Interrupted("Stopped. Nothing was written.") from None


def _check(source: Model) -> None:
    from mlxk_mlx.support.architectures import accepts

    if source.gguf_path is not None:
        raise UnsupportedModel(
            f"`{source.name}` cannot be converted: it is a GGUF file. mlxk runs it unchanged; only models in "
            "safetensors form can be converted.",
            model=source.name,
        )
    verdict = accepts(source)
    if not verdict.accepted:
        raise UnsupportedModel(f"`{source.name}` cannot be converted: {verdict.reason}.", model=source.name)
    if problems := check_health(source).problems:
        raise BrokenModel(
            f"`{source.name}` cannot be converted: {' '.join(problem.message for problem in problems)}",
            model=source.name,
        )


def _convert(session: Session, source: Model, form: WeightForm, destination: Destination) -> dict[str, Any]:
    from mlxk_mlx.loading import runtime

    runtime.start()  # before any other import of MLX
    from mlxk_convert.network import convert_weights
    from mlxk_convert.writer import copied_files, write

    copied = sum(file.size for file in copied_files(source))
    result = convert_weights(source, form)
    size = result.size
    destination.check_space(size + copied)
    if not session.output.json:
        session.output.note(f"Converting {source.name}: {human_size(size)} to write.")
    if result.unquantized and form.quantization is not None:
        session.output.note(
            f"warning: {plural(result.unquantized, 'layer')} cannot be quantized with group size "
            f"{form.quantization.group_size} and stay as they are."
        )
    with destination.stage() as files, _progress(session, size) as done:
        write(files, source, result, done)
        if problems := check_health(Model(name=source.name, path=files)).problems:
            raise BrokenModel(f"The written files are damaged: {' '.join(each.message for each in problems)}")
    label = destination.name or str(destination.path)
    if not session.output.json:
        session.output.line(f"Converted {source.name} to {label}: {result.bits_per_weight:.2f} bits per weight.")
    return {
        "model": label,
        "revision": destination.commit or None,
        "path": str(destination.path),
        "source": source.name,
        "source_revision": source.revision,
        "size_bytes": Model(name=label, path=destination.path).size,
        "bits_per_weight": result.bits_per_weight,
        "quantization": _quantization(result.config),
        "dtype": result.dtype,
    }


def _quantization(config: dict[str, Any]) -> dict[str, Any] | None:
    declared = config.get("quantization")
    if not declared:
        return None
    return {
        "mode": declared.get("mode", "affine"),
        "bits": declared.get("bits"),
        "group_size": declared.get("group_size"),
        "mixed": any(isinstance(value, dict) for value in declared.values()),
    }


@contextlib.contextmanager
def _progress(session: Session, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar at a terminal."""
    if session.output.json or not session.output.stderr_is_terminal:
        yield lambda size: None
        return
    with click.progressbar(length=total, file=sys.stderr, show_eta=True, width=30) as bar:
        bar.render_progress()
        yield bar.update
