"""The house: names agree, who imports whom, what is light, and what must not stand in any file."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import tomllib
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import mlxk_core.api
from mlxk_core import __version__
from mlxk_core._host.hints import known
from mlxk_core._host.host import Host
from mlxk_testing import HEAVY, assert_light, modules_after

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/pyproject.toml"))
PACKAGES = [ROOT / "mlxk_core", ROOT / "testing" / "mlxk_testing", *(f / f"mlxk_{f.name}" for f in PLUGINS)]
LIBRARIES = {"openblas", "hub", "protocol"}  # no entry point, no command: imported by other plugins
FEATURES = {
    "config",
    "convert",
    "embeddings",
    "launch",
    "messages",
    "models",
    "ollama",
    "pull",
    "push",
    "reasoning",
    "responses",
    "run",
    "serve",
    "service",
    "smollm2",
    "structured",
}
# Beyond `plugins/* -> mlxk_core`: an engine may stand on an engine, and one looks for a library.
MAY_IMPORT = {
    "convert": {"mlxk_mlx"},
    "gguf": {"mlxk_mlx"},
    "encoders": {"mlxk_mlx"},
    "mlx": {"mlxk_openblas"},
    "models": {"mlxk_hub"},
    "pull": {"mlxk_hub"},
    "push": {"mlxk_hub"},
    "responses": {"mlxk_protocol"},
    "serve": {"mlxk_protocol"},
    "messages": {"mlxk_protocol"},
    "ollama": {"mlxk_protocol"},
    "embeddings": {"mlxk_protocol"},
}


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def names(paths):
    return [path.name for path in paths]


def tracked():
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


def imports(source):
    """The names of all modules that `source` imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""


def private_imports(folder):
    """`file: module` for everything under `folder` that imports a module of core outside `mlxk_core.api`."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module == "mlxk_core":
                modules = [f"mlxk_core.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                continue
            found |= {f"{path.name}: {name}" for name in modules if re.match(r"mlxk_core\._(?!_version__)", name)}
    return found


# Names


@pytest.mark.parametrize("folder", PLUGINS, ids=names(PLUGINS))
def test_folder_distribution_package_and_entry_point_have_one_name(folder):
    data = project(folder)
    package = f"mlxk_{folder.name}"
    assert data["project"]["name"] == f"mlxk-{folder.name}"
    assert (folder / package / "__init__.py").is_file()
    assert (folder / package / "py.typed").is_file()
    points = data["project"].get("entry-points", {}).get("mlxk", {})
    assert points == ({} if folder.name in LIBRARIES else {folder.name: f"{package}.plugin"})


@pytest.mark.parametrize("folder", PLUGINS, ids=names(PLUGINS))
def test_a_plugin_stands_on_its_own_and_asks_for_this_core(folder):
    data = project(folder)["project"]
    major, minor, _ = __version__.split(".")
    assert data["version"] == __version__
    assert data["requires-python"] == project(ROOT)["project"]["requires-python"]
    if folder.name not in LIBRARIES:
        bound = f"mlxk-core>={major}.{minor},<{major}.{int(minor) + 1}"
        assert any(line.startswith((bound, f"mlxk-core[hub]{bound[9:]}")) for line in data["dependencies"])
    assert (folder / "README.md").is_file()
    assert (folder / "LICENSE").read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("folder", [*PLUGINS, *EXAMPLES], ids=names([*PLUGINS, *EXAMPLES]))
def test_the_workspace_knows_every_distribution(folder):
    name = project(folder)["project"]["name"]
    root = project(ROOT)
    assert root["tool"]["uv"]["sources"][name] == {"workspace": True}
    group = "examples" if folder in EXAMPLES else "test"
    assert any(str(line).partition(" ")[0] == name for line in root["dependency-groups"][group])


@pytest.mark.parametrize("folder", [ROOT / "plugins", ROOT / "examples", ROOT / "tests"], ids=lambda path: path.name)
def test_there_is_no_namespace_package(folder):
    assert not (folder / "__init__.py").exists()


def test_tests_are_no_packages():
    assert list((ROOT / "tests").rglob("__init__.py")) == []


# Pins


def test_there_is_no_lock_file():
    assert {path.name for path in tracked()} & {"uv.lock", "poetry.lock", "pylock.toml", "Pipfile.lock"} == set()


def test_no_file_names_a_registry_or_a_path_of_a_machine():
    # Spelled apart, so that this file does not find itself.
    forbidden = re.compile(
        "|".join(["pypi" + r"\.org", "pythonhosted" + r"\.org", "/ro" + "ot/", "/wo" + "rk/", "index" + "-url"])
    )
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in forbidden.finditer(text)]
    assert found == []


def test_pip_and_uv_have_the_same_pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    assert pins == project(ROOT)["tool"]["uv"]["constraint-dependencies"]
    assert pins, "the file holds the pins"
    assert all(re.match(r"[a-z0-9._-]+==\S+( ; .+)?$", pin, re.IGNORECASE) for pin in pins)


def test_people_without_uv_get_every_distribution_too():
    lines = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    editable = {line.split()[1] for line in lines if line.startswith("-e ")}
    assert editable == {".", "testing", *(folder.relative_to(ROOT).as_posix() for folder in PLUGINS)}


# Who imports whom


@pytest.mark.parametrize("folder", PLUGINS, ids=names(PLUGINS))
def test_a_plugin_imports_core_and_no_other_plugin(folder):
    allowed = {"mlxk_core", f"mlxk_{folder.name}", *MAY_IMPORT.get(folder.name, ())}
    strangers = {
        f"{path.name}: {module}"
        for path in (folder / f"mlxk_{folder.name}").rglob("*.py")
        for module in imports(path.read_text(encoding="utf-8"))
        if module.startswith("mlxk_") and module.partition(".")[0] not in allowed
    }
    assert strangers == set()


@pytest.mark.parametrize("folder", PLUGINS, ids=names(PLUGINS))
def test_a_plugin_uses_no_private_module_of_core(folder):
    assert private_imports(folder) == set()


def test_the_test_kit_uses_no_private_module_of_core():
    assert private_imports(ROOT / "testing") == set()


def test_a_private_import_is_found(tmp_path):
    (tmp_path / "x.py").write_text(
        "from mlxk_core._models import cache\nimport mlxk_core.api\nfrom mlxk_core import _errors"
    )
    assert private_imports(tmp_path) == {"x.py: mlxk_core._models", "x.py: mlxk_core._errors"}


def test_the_public_api_has_the_same_names_for_type_checkers_and_at_runtime():
    tree = ast.parse((ROOT / "mlxk_core" / "api" / "__init__.py").read_text(encoding="utf-8"))
    [for_types] = [node for node in tree.body if isinstance(node, ast.If)]
    listed = {alias.name: node.module for node in for_types.body for alias in node.names}
    assert sorted(listed) == sorted(mlxk_core.api.__all__)
    for name, module in listed.items():
        assert getattr(mlxk_core.api, name) is getattr(importlib.import_module(module), name)


def test_core_imports_no_plugin_and_no_engine():
    forbidden = {f"mlxk_{folder.name}" for folder in PLUGINS} | {"mlx", "mlx_lm", "transformers", "torch", "falcon"}
    found = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in (ROOT / "mlxk_core").rglob("*.py")
        for module in imports(path.read_text(encoding="utf-8"))
        if module.partition(".")[0] in forbidden
    }
    assert found == set()


def test_only_the_plugin_set_and_the_markers_touch_pluggy():
    users = {
        path.relative_to(ROOT).as_posix()
        for path in [*(ROOT / "mlxk_core").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
        if "pluggy" in set(imports(path.read_text(encoding="utf-8")))
    }
    assert users == {
        "mlxk_core/api/hooks.py",
        "mlxk_core/_host/hookspecs.py",
        "mlxk_core/_host/loader.py",
    }


def import_graph(package):
    """For each module of `package` the modules of the same package that it imports, anywhere in it."""
    paths = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in package.rglob("*.py")
    }
    graph = {name: set() for name in paths}
    for name, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                graph[name] |= inside & paths.keys() or {node.module}
        graph[name] = (graph[name] & paths.keys()) - {name}
    return graph


def cycle_in(graph):
    """The modules that cannot be put in an order; empty when there is no cycle."""
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("package", PACKAGES, ids=names(PACKAGES))
def test_no_import_between_files_goes_in_a_circle(package):
    assert cycle_in(import_graph(package)) == []


def test_a_circle_is_found(tmp_path):
    package = tmp_path / "round"
    package.mkdir()
    (package / "a.py").write_text("import typing\nif typing.TYPE_CHECKING:\n    from round.b import x")
    (package / "b.py").write_text("def f():\n    from round import a")
    assert set(cycle_in(import_graph(package))) == {"round.a", "round.b"}


def test_features_are_all_accounted_for():
    assert FEATURES | LIBRARIES | {"mlx", "gguf", "encoders"} == {folder.name for folder in PLUGINS}


# Light


def test_every_plugin_module_is_light():
    modules = sorted(point.value for point in entry_points(group="mlxk"))
    if not modules:
        pytest.skip("no plugin is installed")
    if {name.partition(".")[0] for name in modules_after(f"import {', '.join(modules)}")} & HEAVY:
        assert_light(*modules)  # says which


def test_the_modules_plugins_import_are_light():
    assert_light("mlxk_core.api.hooks, mlxk_core.api.commands, mlxk_core.api.errors")


def test_the_help_does_without_paths():
    own = modules_after("import mlxk_core._cli.main, mlxk_core._host.host") - modules_after("pass")
    assert not {"pathlib", "urllib.parse", "subprocess"} & own  # 6 ms of its 100


def test_the_check_for_lightness_sees_what_is_heavy(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("")
    (tmp_path / "light.py").write_text("import json")
    (tmp_path / "heavy.py").write_text("import numpy; raise SystemExit")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert_light("light")
    with pytest.raises(AssertionError, match="heavy imports numpy"):
        assert_light("light", "heavy")


# Core's own modules open with what they answer for


def test_every_module_opens_with_one_sentence():
    found = []
    for path in [*(ROOT / "mlxk_core").rglob("*.py"), *(ROOT / "plugins").glob("*/mlxk_*/**/*.py")]:
        first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]
        if not first.rstrip().endswith((".", ":", "!")):
            found.append(path.relative_to(ROOT).as_posix())
    assert found == []


def test_hints_know_which_distribution_brings_each_command_backend_and_constraint():
    host = Host.discover(strict=True)
    offered = {
        "commands": [spec for spec in host.commands() if "hello" not in spec.name],
        "backends": host.backends(),
        "constraints": host.constraints(),
    }
    for table, specs in offered.items():
        for spec in specs:
            for name in (spec.name, *getattr(spec, "aliases", ())):
                assert known(table).get(name) == host.owner_of(spec).record.distribution, (table, name)


# Tests


def test_every_folder_of_tests_runs_by_default_or_is_one_of_those_that_are_named():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    folders = {f"tests/{path.parent.name}" for path in ROOT.glob("tests/*/test_*.py")}
    named = {"tests/acceptance", "tests/clients", "tests/packaging", "tests/survival"}
    assert folders - set(options["testpaths"]) == named
