"""Survives … mutated examples of everything that others send; `tools/fuzz.py` does it for longer."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

import pytest

from mlxk_protocol.decode import InvalidJson

_SPEC = importlib.util.spec_from_file_location("fuzz", Path(__file__).parents[2] / "tools" / "fuzz.py")
fuzz = importlib.util.module_from_spec(_SPEC)
sys.modules["fuzz"] = fuzz
_SPEC.loader.exec_module(fuzz)

NAMES = [
    "http", "chat", "completion", "weight", "schema", "regex", "lark", "gbnf", "template", "config.json",
    "tokenizer.json", "tokenizer_config.json", "generation_config.json", "model.safetensors", "gguf",
]  # fmt: skip


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return fuzz.targets(tmp_path_factory.mktemp("fuzz"))


def test_every_target_is_fuzzed(targets):
    assert sorted(targets) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_survives_mutated_input(targets, name):
    found = fuzz.attack(targets[name], random.Random(14), inputs=150, until=None)
    assert found is None, found


def test_a_target_that_fails_is_found():
    """The fuzzer itself notices what it looks for."""

    def run(data):
        if b"[" in data:
            raise KeyError

    broken = fuzz.Target("broken", [b"{}"], run, ())
    assert "KeyError" in fuzz.attack(broken, random.Random(1), inputs=2000, until=None)[1]


def test_survives_bytes_that_are_no_text_in_a_field_that_was_skipped():
    body = b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "lora": "\xf2"}'
    with pytest.raises(InvalidJson) as caught:
        fuzz.decode(body, fuzz.ChatRequest)
    assert caught.value.kind.http_status == 400
