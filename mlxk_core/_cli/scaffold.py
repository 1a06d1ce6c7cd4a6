"""The project that `mlxk plugins new` writes for a new plugin."""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from mlxk_core import __version__
from mlxk_core._errors import InvalidOption, UsageError
from mlxk_core._host.hookspecs import HookSpecs
from mlxk_core._paths import path_exists

KINDS: Mapping[str, str] = {
    "command": "mlxk_commands",
    "backend": "mlxk_backends",
    "source": "mlxk_model_sources",
    "format": "mlxk_reasoning_extractors",
    "detector": "mlxk_quantization_detectors",
    "stop-policy": "mlxk_stop_policies",
    "constraint": "mlxk_constraints",
    "server-extension": "mlxk_server_extensions",
    "lifecycle": "mlxk_lifecycle",
    "agent": "mlxk_agents",
    "settings": "mlxk_settings",
}
"""Kinds of plugins, and the hook whose documented example each project starts from."""
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

_PYPROJECT = """\
[build-system]
requires = ["flit_core>=3.11,<4"]
build-backend = "flit_core.buildapi"

[project]
name = "mlxk-{name}"
version = "0.1.0"
description = "{article} {kind} for mlxk."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["mlxk-core>={major}.{minor},<{major}.{next}"]

[project.optional-dependencies]
tests = ["pytest>=8", "mlxk-testing"]

[project.entry-points.mlxk]
{name} = "{module}"

[tool.flit.module]
name = "{module}"
"""
_README = """\
# mlxk-{name}

{article} {kind} for [mlxk](https://github.com/mlxk/mlxk).

    pip install -e '.[tests]'
    mlxk plugins --check
    pytest
"""
_TEST = '''\
"""The plugin loads, provides what it says, and does not slow down `mlxk --help`."""

import {module}
from mlxk_testing import assert_light


def test_it_provides_a_{identifier}(host):
    host.register({module}, name="{name}")
    [record] = host.plugins()
    assert record.status == "loaded"
    assert record.reason is None
    assert record.provides == ("{provides}",)


def test_it_is_light():
    assert_light("{module}")
'''
_BACKEND_TEST = """

def test_the_engine_does_what_it_claims(tmp_path):
    (tmp_path / "config.json").write_text('{{"model_type": "{name}"}}')
    check_engine({module}.SPEC, Model(name="tiny", path=tmp_path))
"""
_PROVIDES = {
    "command": "command {name}",
    "backend": "backend {name}",
    "source": "model source {name}",
    "format": "reasoning format {name}",
    "detector": "quantization detector {name}",
    "stop-policy": "stop policy",
    "constraint": "constraint {name}",
    "server-extension": "server extension {name}",
    "lifecycle": "lifecycle listener {name}",
    "agent": "agent {name}",
    "settings": "settings section {name}",
}


def write_project(kind: str, name: str, parent: Path) -> Path:
    """Write the project `mlxk-NAME` into a new folder of `parent` and return that folder.

    Raises `InvalidOption` for an invalid name, `UsageError` if the folder exists or cannot be written.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise InvalidOption("NAME", f"`{name}` must be lower-case letters and digits, with single hyphens between")
    folder = parent / f"mlxk-{name}"
    if path_exists(folder):
        raise UsageError(f"{folder} exists. Choose another name, or remove it.", path=str(folder))
    texts = project_files(kind, name)
    try:
        folder.mkdir(parents=True)
        for path, text in texts.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"Cannot write {folder}: {error.strerror or error}.", path=str(folder)) from error
    return folder


def project_files(kind: str, name: str) -> dict[str, str]:
    """Return the files of the project: text by path."""
    module = f"mlxk_{name.replace('-', '_')}"
    major, minor = (int(part) for part in __version__.split(".")[:2])
    fields = {
        "kind": _label(kind),
        "article": _article(kind),
        "identifier": kind.replace("-", "_"),
        "name": name,
        "module": module,
        "major": major,
        "minor": minor,
        "next": minor + 1,
        "provides": _PROVIDES[kind].format(name=name),
    }
    return {
        "pyproject.toml": _PYPROJECT.format(**fields),
        "README.md": _README.format(**fields),
        f"{module}.py": _source(kind, name, module),
        f"tests/test_{module.removeprefix('mlxk_')}.py": _test(kind, fields),
    }


def _test(kind: str, fields: Mapping[str, object]) -> str:
    if kind != "backend":
        return _TEST.format(**fields)
    text = (_TEST + _BACKEND_TEST).format(**fields)
    imports = "from mlxk_core.api.models import Model\nfrom mlxk_testing import assert_light, check_engine\n"
    return text.replace("from mlxk_testing import assert_light\n", imports)


def _source(kind: str, name: str, module: str) -> str:
    """Return the documented example of the hook with this plugin's names. A backend, whose example has no engine, has a
    file of its own."""
    if kind == "backend":
        text = files(__package__).joinpath("new_backend.txt").read_text(encoding="utf-8")
        return text.replace("NAME", name).replace("MODULE", module)
    documentation = inspect.getdoc(getattr(HookSpecs, KINDS[kind])) or ""
    found = re.search(r"```python\n(.*?)```", documentation, re.DOTALL)
    assert found is not None
    source = re.sub(r'"mlxk_\w+((?:\.\w+)*:)', rf'"{module}\1', found[1])
    source = re.sub(r'\b(name|kind)="[\w-]+"', rf'\1="{name}"', source, count=1)
    if kind == "command":
        source = source.replace('click.command("hello")', f'click.command("{name}")')
    if kind == "server-extension":  # two new projects must not take each other's route and metric
        source = source.replace("/ping", f"/{name}").replace("ping_total", f"{name.replace('-', '_')}_total")
    if kind == "source":
        source = source.replace('source="shelf"', f'source="{name}"').replace(
            "The models in /srv/models.", f"Models of {name}."
        )
    return f'"""{_article(kind)} {_label(kind)} for mlxk."""\n\n{source}'


def _label(kind: str) -> str:
    return "settings section" if kind == "settings" else kind.replace("-", " ")


def _article(kind: str) -> str:
    return "An" if kind[0] in "aeiou" else "A"
