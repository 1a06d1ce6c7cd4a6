"""What the tests of pull share: a local hub, models to put there, and a look at the cache."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("_hub_fixtures", Path(__file__).parents[1] / "hub" / "fixtures.py")
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)
hub = _fixtures.hub


@pytest.fixture
def model_files(tmp_path):
    """The files of a real tiny model, by name."""
    from mlxk_core.testing.models import random_model

    folder = tmp_path / "model"
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
