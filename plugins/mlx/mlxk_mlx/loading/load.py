"""Loading of a model: weights on the engine thread, the tokenizer on another at the same time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mlxk_core.api.backends import EngineContext
from mlxk_core.api.errors import (
    BrokenModel,
    InsufficientMemory,
    MlxkError,
    UnsupportedModel,
    raise_system_limit,
)
from mlxk_core.api.models import Model, native_stop_tokens, open_file, parse_json, read_small_file
from mlxk_mlx.engine.step_costs import StepCosts
from mlxk_mlx.engine.tokenizer import LoadedTokenizer
from mlxk_mlx.engine.tokenizer_process import load_in_process
from mlxk_mlx.loading import headless_weights, runtime
from mlxk_mlx.loading.block_scales import oversized_scales
from mlxk_mlx.loading.config_check import check_config
from mlxk_mlx.loading.config_fields import check_fields
from mlxk_mlx.loading.copied_files import copied_files
from mlxk_mlx.loading.heartbeat import WatchedWeights, observe
from mlxk_mlx.loading.network_trial import NetworkTrial
from mlxk_mlx.loading.tensor_names import deep_name, missing_numbers
from mlxk_mlx.loading.tokenizer_load import TokenizerLoad
from mlxk_mlx.loading.tokenizer_size import check_size
from mlxk_mlx.support.architectures import accepts

_MODELOPT_FILE = "hf_quant_config.json"
_SETTINGS_FILES = ("config.json", "generation_config.json", _MODELOPT_FILE)
_LONGEST_REASON = 200
_LARGEST_INDEX = 32 << 20  # bytes
_LARGEST_SETTINGS = 16 << 20  # bytes; as for `Model.config`
_MOST_LOGITS = 1 << 19
"""Of a network; published ones have up to 262,144. Sampling looks at all of them, for each token of each row."""
_MISSING_KEYS = re.compile(r"__init__\(\) missing \d+ required (?:positional|keyword-only) arguments?: (.+)$")


def load(model: Model, context: EngineContext) -> Any:
    """Load `model` from its own files, without running code from them. The target of the backend.

    Raises `BrokenModel`, `UnsupportedModel` or `InsufficientMemory`, and `Interrupted` from `context.alive`.
    """
    model.note_versions()
    check_supported(model)  # a backend named by the user was not asked before
    read_ahead(model.path / name for name in model.weights.headers)
    with TokenizerLoad(partial(load_tokenizer, model)) as tokenizer:
        with NetworkTrial(model, context) as trial:  # before the imports, which take as long
            runtime.start_on_engine_thread(context)
            context.alive()
            costs = trial.wait()
        with translated_errors(model), observe(context.alive):
            network, _ = read_network(model, context.alive)
        return prepare(model, network, lambda: tokenizer.result(context.alive), context, costs)


def check_supported(model: Model) -> None:
    """Raise `UnsupportedModel` unless mlx-lm has a network for `model` and reads its weights."""
    verdict = accepts(model)
    if not verdict.accepted:
        raise UnsupportedModel(f"`{model.name}` cannot be run by MLX: {verdict.reason}.", model=model.name)


def prepare(
    model: Model,
    network: Any,
    tokenizer: Callable[[], LoadedTokenizer],
    context: EngineContext,
    costs: StepCosts | None = None,
) -> Any:
    """Return the engine of a network that was read from any kind of file. Other backends use it as well.

    `network` is an mlx-lm model with its weights set, possibly lazily; they are brought into the form that runs fastest
    on this machine. `tokenizer` returns the tokenizer; it is called after that, when one that is read in another thread
    (`TokenizerLoad`) is ready. Stop tokens and chat templates are those of `model`. `costs` are those of its steps if
    they were measured.
    """
    from mlxk_mlx.engine.batch_engine import MlxEngine, logit_count
    from mlxk_mlx.loading.chat_template_files import chat_template
    from mlxk_mlx.loading.release import release_network
    from mlxk_mlx.loading.weight_layout import check_indices, materialize

    with translated_errors(model):
        materialize(network, context.alive, context.memory)
        try:
            model.check_unchanged()
            loaded = tokenizer()
            logits = logit_count(network)
            if logits > _MOST_LOGITS:
                raise ValueError(f"it has logits for {logits:,} tokens (at most {_MOST_LOGITS:,})")
            check_indices(network, logits)
            return MlxEngine(
                network,
                loaded.adapt(logits),
                tokenizer_bytes=loaded.memory,
                native_stops=_native_stops(model, loaded),
                template=chat_template(model, loaded.special_tokens),
                context=context,
                costs=costs,
                first_steps=lambda: translated_errors(model),
            )
        except BaseException:
            release_network(network)
            raise


def _native_stops(model: Model, tokenizer: LoadedTokenizer) -> frozenset[int]:
    """Return the ids of the stop tokens in the model's files, and the one that its tokenizer ends a text with."""
    ids = {token.id for token in native_stop_tokens(model)} | {tokenizer.eos_token_id}
    return frozenset(token for token in ids if isinstance(token, int))


def load_tokenizer(model: Model, waiting: Callable[[], None] = lambda: None) -> LoadedTokenizer:
    """Return the tokenizer in the folder of `model`, in a process of its own.

    `waiting` is called now and then. Raises `BrokenModel`, and what `waiting` raises.
    """
    check_config(model)
    check_size(model)
    waiting()
    return load_in_process(model, "mlxk_mlx.loading.tokenizer_files:read_tokenizer", waiting)


def read_ahead(paths: Iterable[Path]) -> None:
    """Tell the system to read files from disk while Python imports MLX and transformers, for more than a second."""
    advise = getattr(os, "posix_fadvise", None)
    if advise is None:
        return
    for path in paths:
        try:
            with open_file(path) as file:
                advise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
        except OSError:
            return  # reading it will raise


def read_network(model: Model, alive: Callable[[], None] = lambda: None) -> tuple[Any, dict[str, Any]]:
    """Return mlx-lm's network of `model` with lazy weights, and its config. Call `runtime.start` before, and this
    within `translated_errors`. `alive` is called now and then."""
    from mlx_lm.utils import load_model

    from mlxk_mlx.loading.weight_files import with_weights

    def classes(config: dict[str, Any]) -> Any:
        network, arguments = headless_weights.classes(model, config)
        check_fields(arguments, config)
        return with_weights(network, model, lambda weights: WatchedWeights(weights, alive)), arguments

    native_stop_tokens(model)  # reads the small files, so that an error names the damaged one
    files = _settings_files(model)
    check_weights(model)
    check_config(model)
    _check_tensors(model, alive)
    model.check_unchanged()
    with copied_files(files) as folder:
        network, config = load_model(
            folder,
            lazy=True,
            strict=False,
            model_config=headless_weights.settings(model),
            get_model_classes=classes,
        )
    return network, config


def _settings_files(model: Model) -> dict[str, bytes]:
    """Return the files that mlx-lm reads, other than the weights, by name.

    Raises `BrokenModel`, also for one of ModelOpt that is not JSON: mlx-lm reads it even where MLX's own settings make
    it superfluous.
    """
    found = {}
    for name in _SETTINGS_FILES:
        try:
            found[name] = read_small_file(model.path / name, _LARGEST_SETTINGS)
            if name == _MODELOPT_FILE:
                parse_json(found[name])
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BrokenModel(
                f"{name} of `{model.name}` cannot be read: {reason}", model=model.name, file=name
            ) from error
    return found


def _check_tensors(model: Model, alive: Callable[[], None]) -> None:
    """Raise `BrokenModel` for a name of a tensor that is too deep, for a number in one that the others do not lead up
    to, and for scales of far more weights than there are."""
    names = model.weights.tensors
    if name := deep_name(names):
        raise BrokenModel(
            f"`{model.name}` is damaged: the name of the tensor {_shown(name)} has too many parts.", model=model.name
        )
    if name := missing_numbers(names, alive):
        raise BrokenModel(
            f"`{model.name}` is damaged: the tensors before {_shown(name)} are missing.", model=model.name
        )
    if name := oversized_scales(names):
        raise BrokenModel(
            f"`{model.name}` is damaged: {_shown(name)} has more scales than there are weights.", model=model.name
        )


def _shown(name: str) -> str:
    return name if len(name) <= _LONGEST_REASON else f"{name[:_LONGEST_REASON]}…"


@contextmanager
def translated_errors(model: Model) -> Iterator[None]:
    """Turn what MLX and mlx-lm raise while they read a model into errors about the model."""
    try:
        yield
    except MlxkError:
        raise
    except FileNotFoundError as error:
        raise BrokenModel(f"`{model.name}` is incomplete: {_brief(error)}", model=model.name) from error
    except (RuntimeError, OSError) as error:
        raise_system_limit(error)
        text = _brief(error)
        if "allocate" in text:
            raise InsufficientMemory(f"Not enough memory to load `{model.name}`: {text}.") from error
        raise BrokenModel(f"The weights of `{model.name}` cannot be read: {text}", model=model.name) from error
    except SystemExit as error:  # a module of mlx-lm ends the program where a package is missing
        raise UnsupportedModel(
            f"`{model.name}` cannot be run by MLX: its network needs another package.", model=model.name
        ) from error
    except MemoryError as error:
        raise InsufficientMemory(f"Not enough memory to load `{model.name}`.") from error
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError) as error:
        text = _brief(error)
        if "not supported" in text.lower() or "unsupported" in text.lower():
            raise UnsupportedModel(f"`{model.name}` cannot be run by MLX: {text}", model=model.name) from error
        missing = _MISSING_KEYS.search(text)
        names = re.findall(r"'(\w+)'", missing[1]) if missing else _missing_key(error)
        if names:
            raise BrokenModel(
                f"config.json of `{model.name}` is incomplete: {', '.join(names)} missing.", model=model.name
            ) from error
        raise BrokenModel(
            f"config.json of `{model.name}` does not fit its weights: {text}", model=model.name
        ) from error


def _missing_key(error: BaseException) -> list[str]:
    """Return the key that a config lacks: mlx-lm looks up the settings of `rope_scaling` and others without a check."""
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    return [key] if isinstance(key, str) and key.isidentifier() else []


def check_weights(model: Model) -> None:
    """Raise `BrokenModel` for files that are missing or too short: MLX does not always notice the end of a file."""
    for problem in model.weights.unreadable.values():
        raise BrokenModel(f"`{model.name}` is damaged: {problem}", model=model.name)
    sizes = {file.name: file.size for file in model.files}
    for name, header in model.weights.headers.items():
        if sizes.get(name, 0) < header.length:
            raise BrokenModel(
                f"`{model.name}` is damaged: {name} has {sizes.get(name, 0):,} of {header.length:,} bytes. "
                "Pull the model again.",
                model=model.name,
                file=name,
            )
    index = model.path / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = set(parse_json(read_small_file(index, _LARGEST_INDEX))["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return  # MLX reads the files it finds; tensors they lack are an error then
        if missing := sorted(shards - model.weights.headers.keys()):
            names = ", ".join(missing)
            shown = names if len(names) <= _LONGEST_REASON else f"{names[:_LONGEST_REASON]}…"
            raise BrokenModel(f"`{model.name}` is incomplete: {shown} missing. Pull the model again.", model=model.name)


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())[:_LONGEST_REASON]
    return f"{type(error).__name__}: {text}" if isinstance(error, LookupError) or not text else text
