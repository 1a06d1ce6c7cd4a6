"""What the tests of models share: a hub cache, a host's stand-in, and files that look like weights."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxk_core._errors import ModelNotFound
from mlxk_core._host.specs import BackendSpec, CommandSpec, ModelSourceSpec, Verdict
from mlxk_core._models.cache import cache_folder_name
from mlxk_core._models.model import Model
from mlxk_core.api.settings import Settings

MAIN = "a1b2c3d4" * 5


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Callable[..., Path]:
    """`hub(name, files, commit=…, ref=…)` puts a snapshot there as huggingface_hub does: links to blobs."""
    root = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(root))

    def add(name: str, files: dict[str, bytes] | None = None, *, commit: str = MAIN, ref: str | None = "main") -> Path:
        repository = root / cache_folder_name(name)
        snapshot = repository / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (repository / "blobs").mkdir(exist_ok=True)
        for number, (path, data) in enumerate((files or {"config.json": b"{}"}).items()):
            blob = repository / "blobs" / f"{commit[:8]}-{number}"
            blob.write_bytes(data)
            (snapshot / path).parent.mkdir(parents=True, exist_ok=True)
            (snapshot / path).symlink_to(os.path.relpath(blob, (snapshot / path).parent))
        if ref:
            (repository / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
            (repository / "refs" / ref).write_text(commit)
        return snapshot

    return add


class Source:
    """A model source with some models, and names it knows but does not have."""

    def __init__(self, models: dict[str, Path], missing: tuple[str, ...] = ()) -> None:
        self.models, self.missing = models, missing

    def names(self):
        return [*self.models, *self.missing]

    def find(self, name):
        if name in self.missing:
            raise ModelNotFound(name, hint="Run `pip install it`.")
        return Model(name=name, path=self.models[name], origin="source") if name in self.models else None


class StandIn:
    """As much of a host as resolution asks for."""

    def __init__(self, *sources: Source, accepts: Callable[[Model], bool] = lambda model: True) -> None:
        self._sources, self._accepts = sources, accepts

    settings = Settings()

    def commands(self):
        return [CommandSpec(name=name, summary="", target="a:b") for name in ("list", "pull")]

    def model_sources(self):
        return [(ModelSourceSpec(name=f"s{i}", summary="", target="a:b"), s) for i, s in enumerate(self._sources)]

    def verdicts(self, model):
        def accepts(model):
            return Verdict.yes() if self._accepts(model) else Verdict.no(f"{model.variant} is not supported")

        return [(BackendSpec(name="b", summary="", accepts=accepts, target="a:b"), accepts(model))]


@pytest.fixture
def source():
    return Source


@pytest.fixture
def stand_in():
    return StandIn


@pytest.fixture
def folder(tmp_path) -> Callable[..., Model]:
    """`folder({name: bytes | dict}, …)` is a model of those files."""

    def make(files: dict[str, bytes | dict], *, name: str = "model", variant: str | None = None) -> Model:
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        for file, data in files.items():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            (path / file).write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
        return Model(name=name, path=path, variant=variant)

    return make


@pytest.fixture
def safetensors() -> Callable[..., bytes]:
    """`safetensors(size, **metadata)`: a whole file with one tensor of that many bytes."""

    def make(size: int = 16, **metadata: str) -> bytes:
        header: dict = {"__metadata__": metadata} if metadata else {}
        header["weight"] = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + bytes(size)

    return make


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _value(value) -> bytes:
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + _text(value)
        case [str(), *_]:
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_text(each) for each in value)
        case [int(), *_]:
            return struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)
    raise TypeError(value)


@pytest.fixture
def gguf() -> Callable[..., bytes]:
    """`gguf(metadata, tensors={name: (shape, type number, bytes)}, alignment=32)`: a whole file."""

    def make(metadata: dict | None = None, tensors: dict[str, tuple] | None = None, alignment: int = 32) -> bytes:
        metadata = {"general.architecture": "llama", **(metadata or {})}
        tensors = {"token_embd.weight": ((32, 2), 2, 36)} if tensors is None else tensors
        data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
        data += b"".join(_text(key) + _value(value) for key, value in metadata.items())
        offset = 0
        for name, (shape, kind, size) in tensors.items():
            data += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
            last, offset = offset + size, -(-(offset + size) // alignment) * alignment
        return data + bytes(-len(data) % alignment) + bytes(last if tensors else 0)

    return make
