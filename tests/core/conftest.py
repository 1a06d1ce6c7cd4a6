"""A zoo of plugins: written as a folder of modules and dist-info, as pip leaves them, and found on `sys.path`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent

import pytest

from mlxk_core._host.host import Host
from mlxk_testing import Processes, Result, run_in_process

IMPORTS = "import click\nfrom mlxk_core.api import *\nfrom mlxk_core.api import hookimpl\n"
COMMAND = """
@hookimpl
def mlxk_commands():
    yield CommandSpec(name="{name}", summary="Say {name}.", target="{module}_command:command")
"""
COMMAND_MODULE = '''
import click
from mlxk_core._cli.session import json_option

@click.command("{name}")
@json_option
@click.pass_obj
def command(session):
    """Say {name}."""
    if not session.output.json:
        session.output.line("{name}!")
    return {{"said": "{name}"}}
'''


class Zoo:
    """Writes plugins and runs `mlxk` among them; the plugins installed beside are left out."""

    def __init__(self, folder: Path, mlxk: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._mlxk = mlxk
        self._monkeypatch = monkeypatch
        installed = {point.dist.name for point in entry_points(group="mlxk") if point.dist}
        self.env = {"PYTHONPATH": str(folder), "MLXK_DISABLE_PLUGINS": ",".join(sorted(installed))}

    def module(self, name: str, source: str) -> None:
        (self.folder / f"{name}.py").write_text(dedent(source), encoding="utf-8")

    def plugin(
        self, name: str, source: str, *, dist: str = "", version: str = "1.0", requires: Sequence[str] = ()
    ) -> None:
        """A distribution `zoo-NAME` whose entry point NAME is a module of `source`."""
        dist = dist or f"zoo-{name}"
        module = dist.replace("-", "_")
        self.module(module, IMPORTS + dedent(source))
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {dist}", f"Version: {version}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[mlxk]\n{name} = {module}\n", encoding="utf-8")

    def command(self, name: str, *, plugin: str = "", **metadata: str) -> None:
        """A good plugin with one command."""
        plugin = plugin or name
        module = f"zoo_{plugin}"
        self.plugin(plugin, COMMAND.format(name=name, module=module), **metadata)
        self.module(f"{module}_command", COMMAND_MODULE.format(name=name))

    def process(self, *args: str, **env: str) -> Result:
        """A real process among these plugins. A variable the test gives comes before the zoo's."""
        return self._mlxk(*args, env={**self.env, **env})

    def start(self, *args: str) -> subprocess.Popen[str]:
        """A real process that the test goes on beside."""
        return self._mlxk.start(*args, env=self.env)

    def mlxk(self, *args: str, **env: str) -> Result:
        """The same in this process, which takes a tenth of the time."""
        with self._inside(env):
            return run_in_process(*args)

    def host(self, *, strict: bool = False) -> Host:
        """What the host of such a run finds."""
        with self._inside({}):
            return Host.discover(strict=strict)

    @contextmanager
    def _inside(self, env: Mapping[str, str]) -> Iterator[None]:
        before = set(sys.modules)
        with self._monkeypatch.context() as patch:
            patch.syspath_prepend(str(self.folder))
            for name, value in {**self.env, **env}.items():
                patch.setenv(name, value)
            try:
                yield
            finally:
                for name in set(sys.modules) - before:
                    if name.startswith("zoo_"):
                        del sys.modules[name]


@pytest.fixture
def zoo(tmp_path: Path, mlxk: Processes, monkeypatch: pytest.MonkeyPatch) -> Zoo:
    return Zoo(tmp_path, mlxk, monkeypatch)


@pytest.fixture
def repository() -> Path:
    """The root of the checkout the tests lie in."""
    return Path(__file__).resolve().parents[2]
