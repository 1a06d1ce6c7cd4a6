"""Loading of an encoder: weights on the engine thread, the tokenizer on another at the same time."""

from __future__ import annotations

from functools import partial
from typing import Any

from mlxk_core.api.backends import EngineContext
from mlxk_core.api.errors import UnsupportedModel
from mlxk_core.api.models import Model
from mlxk_encoders.support import accepts
from mlxk_mlx.loading import runtime
from mlxk_mlx.loading.config_check import check_config
from mlxk_mlx.loading.heartbeat import observe
from mlxk_mlx.loading.load import check_weights, load_tokenizer, read_ahead, translated_errors
from mlxk_mlx.loading.tokenizer_load import TokenizerLoad


def load(model: Model, context: EngineContext) -> Any:
    """Load `model` from its own files, without running code from them. The target of the backend.

    Raises `BrokenModel`, `UnsupportedModel` or `InsufficientMemory`, and `Interrupted` from `context.alive`.
    """
    model.note_versions()
    verdict = accepts(model)
    if not verdict.accepted:  # a backend named by the user was not asked before
        raise UnsupportedModel(f"`{model.name}` cannot be run as an encoder: {verdict.reason}.", model=model.name)
    read_ahead(model.path / name for name in model.weights.headers)
    with TokenizerLoad(partial(load_tokenizer, model)) as tokenizer:  # before the imports, which take as long
        machine = runtime.start_on_engine_thread(context)
        context.alive()
        with translated_errors(model):
            from mlxk_encoders.engine import EncoderEngine
            from mlxk_encoders.weights import read_network
            from mlxk_mlx.loading.weight_layout import materialize

            check_weights(model)
            check_config(model)
            with observe(context.alive):
                network = read_network(model)
            materialize(network, context.alive, context.memory)
            model.check_unchanged()
            return EncoderEngine(
                model.name,
                network,
                tokenizer.result(context.alive),
                machine,
                first_errors=lambda: translated_errors(model),
            )
