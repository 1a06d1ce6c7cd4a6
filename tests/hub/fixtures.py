"""The local hub as a fixture. A folder of tests takes it by loading this file in its conftest (see tests/pull)."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest


def load(name: str) -> ModuleType:
    """A module of this folder, once: tests are no package, so they cannot be imported by name."""
    full = f"mlxk_tests_hub_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """An empty hub. Processes find it by HF_ENDPOINT, and have no token but the one a test gives them."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = load("server").Hub()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.close()


class Checked:
    """`mlxk`, whose every JSON document has to be as the published schema says."""

    def __init__(self, processes: object) -> None:
        schema = Path(__file__).parents[2] / "docs" / "json-api.schema.json"
        self._processes = processes
        self._schema = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
        self.start, self.command = processes.start, processes.command

    def __call__(self, *args: str, **options: object) -> object:
        result = self._processes(*args, **options)
        if "--json" in args:
            self._schema.validate(result.json)
        return result
