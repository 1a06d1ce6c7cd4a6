"""What the tests of pull share: a local hub, models to put there, and a look at the cache."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.hub.server import etag


@pytest.fixture(scope="session")
def model_files(tmp_path_factory):
    """The files of a real tiny model, by name."""
    from mlxk_testing.tiny_models import random_model

    folder = tmp_path_factory.mktemp("made") / "model"
    random_model(folder)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def listing(hub_cache):
    """Everything under HF_HOME, as a picture to compare: paths, sizes, and where links go."""

    def picture():
        home = Path(os.environ["HF_HOME"])
        found = {}
        for path in sorted(home.rglob("*")):
            name = path.relative_to(home).as_posix()
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            else:
                found[name] = path.stat().st_size if path.is_file() else "folder"
        return found

    return picture


@pytest.fixture
def snapshot(hub_cache):
    """The files of a pulled revision, by name."""

    def files(repository, commit):
        folder = hub_cache / f"models--{repository.replace('/', '--')}" / "snapshots" / commit
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return files


@pytest.fixture(scope="session")
def large(model_files):
    """A healthy model whose weights are more than huggingface_hub writes at once (10 MiB): it can be caught midway."""
    size = 16 << 20
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(range(256)) * (size // 256)
    return {**model_files, "model.safetensors": weights}


@pytest.fixture
def cached(hub_cache):
    """Puts a repository's files into the cache as a pull of them would have: blobs, and links to them."""

    def put(repository, *, branch="main"):
        commit = repository.branches[branch]
        folder = hub_cache / f"models--{repository.name.replace('/', '--')}"
        for path in (folder / "blobs", folder / "refs", folder / "snapshots" / commit):
            path.mkdir(parents=True, exist_ok=True)
        for name, content in repository.commits[commit].items():
            if "/" in name or name.endswith((".bin", ".py")):
                continue
            blob = folder / "blobs" / etag(name, content)
            blob.write_bytes(content)
            link = folder / "snapshots" / commit / name
            link.symlink_to(os.path.relpath(blob, link.parent))
        (folder / "refs" / branch).write_text(commit)
        return commit

    return put
