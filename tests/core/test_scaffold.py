"""`mlxk plugins new`: the project it writes loads, passes its own test and the deep check."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mlxk_core._cli.scaffold import KINDS


@pytest.mark.packaging
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_project_passes_its_own_test(cli, tmp_path, kind):
    done = cli("plugins", "new", kind, "my-first", "--folder", str(tmp_path), "--json")
    assert done.code == 0
    project = tmp_path / "mlxk-my-first"
    assert done.json["data"]["path"] == str(project)
    assert set(done.json["data"]["files"]) == {
        "README.md",
        "mlxk_my_first.py",
        "pyproject.toml",
        "tests/test_my_first.py",
    }
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(project), str(project)],
        capture_output=True,
        text=True,
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        check=False,
    )
    assert tested.returncode == 0, tested.stdout
    assert f"{3 if kind == 'backend' else 2} passed" in tested.stdout


def test_a_new_project_of_every_kind_passes_the_deep_check(cli, tmp_path, zoo):
    projects = [*((kind, f"my-{kind}") for kind in KINDS), ("server-extension", "my-other")]
    for kind, name in projects:
        cli("plugins", "new", kind, name, "--folder", str(tmp_path / "projects"))
        module = f"mlxk_{name.replace('-', '_')}"
        source = (tmp_path / "projects" / f"mlxk-{name}" / f"{module}.py").read_text()
        assert "/srv/models." not in source
        zoo.module(module, source)
        zoo.plugin(name, f"from {module} import *\nfrom {module} import {KINDS[kind]}")
    checked = zoo.process("plugins", "--check", "--json")
    assert checked.code == 0, checked.json.get("error")
    loaded = [entry for entry in checked.json["data"]["plugins"] if entry["status"] != "disabled"]
    assert [entry["problems"] for entry in loaded] == [[]] * len(projects)


def test_a_new_command_runs_under_its_name(cli, tmp_path, zoo):
    cli("plugins", "new", "command", "greet", "--folder", str(tmp_path))
    source = (tmp_path / "mlxk-greet" / "mlxk_greet.py").read_text()
    zoo.plugin("greet", source)
    zoo.module("mlxk_greet", source)
    assert zoo.mlxk("greet").stdout == "Hello, world!\n"


@pytest.mark.parametrize("name", ["Greet", "two words", "-x", "a--b", "class", ""])
def test_a_name_that_cannot_be_one_is_refused(cli, tmp_path, name):
    done = cli("plugins", "new", "command", "--folder", str(tmp_path), "--json", "--", name)
    assert done.code == 2
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(cli, tmp_path):
    (tmp_path / "mlxk-greet").mkdir()
    done = cli("plugins", "new", "command", "greet", "--folder", str(tmp_path), "--json")
    assert (done.code, done.json["error"]["type"]) == (2, "usage_error")
    assert list((tmp_path / "mlxk-greet").iterdir()) == []
