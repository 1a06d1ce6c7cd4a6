"""Standard output of `mlxk run` has the answer, whatever the code of a backend prints."""

from __future__ import annotations

import os

import pytest

from mlxk_testing import install_entry_points
from mlxk_testing.fake_engine import fake_model

LOUD = """
import os
import subprocess
from mlxk_testing.fake_engine import FakeBackend, FakeEngine, Script

class Loud(FakeEngine):
    def step(self):
        print("print")
        os.write(1, b"descriptor\\n")
        subprocess.run(["echo", "child"])
        return super().step()

class Backend(FakeBackend):
    def load(self, model, context):
        return Loud(self.script)

backend = Backend(Script(answer=lambda prompt: "Hello."), "loud", {})
mlxk_backends = backend.mlxk_backends
"""


@pytest.fixture
def loud(tmp_path, monkeypatch):
    """A model whose backend prints in every step, in every way."""
    (tmp_path / "loud_backend.py").write_text(LOUD)
    install_entry_points(tmp_path, {"loud": "loud_backend"})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return str(fake_model(tmp_path / "model", kind="loud").path)


def test_what_c_code_and_children_print_in_a_step_is_not_in_the_answer(mlxk, loud):
    done = mlxk("run", loud, "Hi")
    assert (done.code, done.stdout) == (0, "Hello.\n"), done.stderr
    for word in ("print", "descriptor", "child"):
        assert word in done.stderr.split()
