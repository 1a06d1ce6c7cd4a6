"""A trial of a network in a process of its own, before this process builds it.

mlx-lm's code builds a network from a config and renames its weights. What the model's author wrote decides how often
its loops pass and how large its lists become, in over a hundred architectures, and some of it ends the process. The
trial does the same within limits: what takes too long, takes too much memory, keeps the interpreter locked or ends the
process does so there.
"""

from __future__ import annotations

import base64
import pickle
import signal
from dataclasses import dataclass

from mlxk_core.api.backends import EngineContext
from mlxk_core.api.errors import BrokenModel, InsufficientMemory, SystemLimit
from mlxk_core.api.models import Model
from mlxk_core.api.processes import ChildProcess
from mlxk_mlx.engine.step_costs import StepCosts
from mlxk_mlx.support.architectures import module_name

_MODULE = "mlxk_mlx.loading.trial_worker"
_SECONDS = 300.0
"""Until the response, on a busy machine; the process itself has less of CPU time."""
_PLAIN = frozenset({"gemma", "gemma3_text", "llama", "phi3", "qwen2", "qwen3", "smollm3"})
"""Modules of mlx-lm whose loops pass once for each layer or tensor, which `check_config` limits. Their steps make
arrays that are as wide as weights, and those of MLX's own attention."""
_MOST_TRIED = 256


@dataclass(frozen=True, slots=True)
class _Tried:
    files: bytes
    """Their `Model.files_digest`."""
    costs: StepCosts | None


_tried: dict[str, _Tried] = {}
"""The models whose trial went well, by path, the latest last; of the engine thread."""


class NetworkTrial:
    """A trial of the network of `model`, as a context manager. It begins at once, and ends with the block.

    There is none for a command of one user, for networks that need none, and for files that were tried. Raises
    `ProcessNotStarted`.
    """

    def __init__(self, model: Model, context: EngineContext) -> None:
        self._model = model
        self._alive = context.alive
        needed = context.shared and not is_plain(model)
        self._earlier = _earlier(model) if needed else None
        begins = needed and self._earlier is None
        self._process = ChildProcess(_MODULE, task=self._task) if begins else None

    def __enter__(self) -> NetworkTrial:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()

    def wait(self) -> StepCosts | None:
        """Wait for the end of the trial, with calls of `alive`, and return what steps cost, None if that is not known.

        An error of Python in the code of the network does not count: it will be raised again where the network is
        built. Raises `BrokenModel`, `InsufficientMemory` and `SystemLimit`, and what `alive` raises.
        """
        if self._process is None:
            return self._earlier.costs if self._earlier else None
        request = {"model": base64.b64encode(pickle.dumps(self._model)).decode("ascii")}
        try:
            response = self._process.request(request, _SECONDS, waiting=self._alive)
        except TimeoutError as error:
            raise self._error(str(error)) from None
        if response is None:
            raise self._ended(-(self._process.exit_status or 0))
        match response["limit"]:
            case None:
                costs = None if response["costs"] is None else StepCosts.of_json(response["costs"])
                _remember(self._model, costs)
                return costs
            case "system":
                raise SystemLimit(str(response["message"]))
            case _:
                raise self._error(str(response["message"]))

    @property
    def _task(self) -> str:
        return f"the network of `{self._model.name}`"

    def _ended(self, number: int) -> Exception:
        if number == signal.SIGKILL:
            return InsufficientMemory(f"Not enough memory for {self._task}.", model=self._model.name)
        if number == signal.SIGPROF:
            return self._error("it takes too long")
        return self._error(f"it ends the process ({signal.Signals(number).name})" if number else "it ends the process")

    def _error(self, reason: str) -> BrokenModel:
        return BrokenModel(
            f"config.json of `{self._model.name}` makes a network that cannot be built: {reason}.",
            model=self._model.name,
        )


def is_plain(model: Model) -> bool:
    """Return whether building the network of `model` takes no longer than its layers and tensors do."""
    config = model.config
    settings = config.get("quantization") is not None or "quantization_config" not in config
    return settings and module_name(config) in _PLAIN


def _earlier(model: Model) -> _Tried | None:
    """Return the trial of the same files."""
    earlier = _tried.get(str(model.path))
    return earlier if earlier is not None and earlier.files == model.files_digest else None


def _remember(model: Model, costs: StepCosts | None) -> None:
    try:
        model.check_unchanged()
    except BrokenModel:
        return  # what was tried is gone; the load will say so
    _tried.pop(str(model.path), None)
    _tried[str(model.path)] = _Tried(model.files_digest, costs)
    if len(_tried) > _MOST_TRIED:
        del _tried[next(iter(_tried))]
