"""The published JSON schema, and the kit's `mlxk` with every document held to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mlxk_testing import Processes, Result

_SCHEMA = Path(__file__).parents[1] / "docs" / "reference" / "json-api.schema.json"


@pytest.fixture(scope="session")
def schema() -> jsonschema.Draft202012Validator:
    """The published schema of every command's JSON."""
    return jsonschema.Draft202012Validator(json.loads(_SCHEMA.read_text(encoding="utf-8")))


class _CheckedProcesses(Processes):
    """Real processes, as in the kit; every JSON document one prints has to be as the published schema says."""

    def __init__(self, schema: jsonschema.Draft202012Validator) -> None:
        super().__init__()
        self._schema = schema

    def __call__(self, *args: str, **options: Any) -> Result:
        result = super().__call__(*args, **options)
        if "--json" in args and result.stdout:
            self._schema.validate(result.json)
        return result


@pytest.fixture
def mlxk(schema: jsonschema.Draft202012Validator) -> Iterator[Processes]:
    processes = _CheckedProcesses(schema)
    yield processes
    processes.close()
