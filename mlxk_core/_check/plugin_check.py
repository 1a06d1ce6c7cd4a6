"""The deep check of plugins: every target is loaded, and every function called on made-up models."""

from __future__ import annotations

import contextlib
import inspect
import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlxk_core._check.extension_recorder import Claims, additions
from mlxk_core._check.import_check import import_problems
from mlxk_core._check.made_up_models import empty_model, safetensors_model
from mlxk_core._errors import ModelError, PluginConflict, PluginFailure
from mlxk_core._generation.events import Channel
from mlxk_core._generation.extractor import ExtractorContext, PlainText
from mlxk_core._host.backend_selection import verdict_on
from mlxk_core._host.format_selection import evidence_for
from mlxk_core._host.model_facts import detect_with
from mlxk_core._host.plugin import Plugin, PluginRecord
from mlxk_core._host.specs import (
    AgentEndpoint,
    AgentSetup,
    AgentSpec,
    BackendSpec,
    CommandSpec,
    ConstraintSpec,
    ModelSourceSpec,
    ReasoningExtractorSpec,
    ServerExtensionSpec,
    SettingsSection,
)
from mlxk_core._isolation.finding import Finding
from mlxk_core._isolation.isolated_format import check_event
from mlxk_core._isolation.isolated_source import find_in, names_of
from mlxk_core._models.model import Model
from mlxk_core._models.resolve import Resolver

if TYPE_CHECKING:
    from mlxk_core._host.host import Host

_TEXTS = ("Hello", ", world.", " <think>hm</think>\n", "{}")
_T = TypeVar("_T")


class PluginCheck:
    """Checks the plugins of one host. `findings` has what was found, and `additions` what server extensions add."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.findings: dict[Plugin, list[Finding]] = {}
        self.additions: dict[Plugin, list[str]] = {}
        self._host = host
        self._claims = Claims()
        self._made_up = [safetensors_model(folder / "safetensors"), empty_model(folder / "empty")]

    def run(self) -> None:
        """Check everything that the host's plugins offer."""
        for plugin in self._host.loaded_plugins():
            for problem in import_problems(plugin.module) if plugin.module else ():
                self._report(plugin, Finding(problem))
        for plugin, spec in self._host.contributions():
            self._check(plugin, spec)
        for plugin, detector in self._host.quantization_detectors():
            for model in self._made_up:
                self._call(plugin, f"detect of {detector.name}", partial(detect_with, detector, model))
        for model in self._models():
            self._check_ties(model)

    def _models(self) -> Iterator[Model]:
        yield from self._made_up
        yield from Resolver(self._host).all()

    def _report(self, plugin: Plugin, finding: Finding) -> None:
        found = self.findings.setdefault(plugin, [])
        if finding not in found:
            found.append(finding)

    @contextlib.contextmanager
    def _silence(self, plugin: Plugin, what: str) -> Iterator[None]:
        """Report if something is printed during the `with` block."""
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                yield
        finally:
            if printed.getvalue():
                self._report(plugin, Finding(f"{what} prints to standard output"))

    def _call(self, plugin: Plugin, what: str, function: Callable[[], _T]) -> _T | None:
        """Return `function()`, or None if it raised. Errors and output are recorded as problems."""
        try:
            with self._silence(plugin, what):
                return function()
        except (ModelError, PluginFailure):  # a broken model is no failure; what cannot be loaded is on record
            return None
        except (Exception, SystemExit) as error:
            self._report(plugin, Finding.of_error(f"{what} raised", error, plugin.packages))
            return None

    def _check(self, plugin: Plugin, spec: Any) -> None:
        if isinstance(spec, SettingsSection):
            self._call(plugin, f"settings section {spec.name}", self._host.settings_sections)
            return
        target = self._call(plugin, f"loading {spec.target}", lambda: self._host.load(spec.target))
        if target is None:
            return
        match spec:
            case CommandSpec():
                self._expect(plugin, spec, isinstance(target, click.Command), "a click command")
            case BackendSpec():
                self._expect(plugin, spec, callable(target), "(Model, EngineContext) -> Engine")
                self._check_backend(plugin, spec)
            case ModelSourceSpec():
                self._check_source(plugin, spec, target)
            case ReasoningExtractorSpec():
                self._check_format(plugin, spec, target)
            case ConstraintSpec():
                compiler = self._call(plugin, f"constraint {spec.kind}", target)
                complete = all(callable(getattr(compiler, name, None)) for name in ("check", "compile"))
                if complete and hasattr(compiler, "may_take_long"):
                    complete = all(_takes(getattr(compiler, name), "waiting") for name in ("check", "compile"))
                    self._expect(plugin, spec, complete, "() -> SlowConstraintCompiler")
                else:
                    self._expect(plugin, spec, complete, "() -> ConstraintCompiler")
            case AgentSpec():
                self._check_agent(plugin, spec, target)
            case ServerExtensionSpec():
                around = self._silence(plugin, f"server extension {spec.name}")
                added = additions(self._host, spec, self._claims, around=around)
                self.additions.setdefault(plugin, []).extend(added)

    def _expect(self, plugin: Plugin, spec: Any, fits: bool, expected: str) -> None:
        if not fits:
            self._report(plugin, Finding(f"the target of {spec.name} is not {expected}"))

    def _check_agent(self, plugin: Plugin, spec: AgentSpec, target: Callable[[AgentEndpoint], Any]) -> None:
        """Call the target for a made-up server. The agent itself need not be installed."""
        endpoint = AgentEndpoint(url="http://127.0.0.1:8000", model="mlx-community/Example-4bit", context=8192)
        setup = self._call(plugin, f"agent {spec.name}", lambda: target(endpoint))
        if setup is None:
            return
        fits = isinstance(setup, AgentSetup)
        self._expect(plugin, spec, fits, "(AgentEndpoint) -> AgentSetup")
        given = [*setup.arguments, *setup.variables.values(), *setup.files.values()] if fits else []
        if fits and not any(endpoint.url in text for text in given):
            self._report(plugin, Finding(f"agent {spec.name}: its setup does not name the server"))

    def _check_backend(self, plugin: Plugin, spec: BackendSpec) -> None:
        for model in self._made_up:
            what = f"accepts of {spec.name}"
            verdict = self._call(plugin, what, partial(verdict_on, spec, model))
            if spec.estimate is not None and verdict is not None and verdict.accepted:
                self._call(plugin, f"estimate of {spec.name}", partial(self._estimate, spec, model))

    def _estimate(self, spec: BackendSpec, model: Model) -> int:
        assert spec.estimate is not None
        return int(self._host.load(spec.estimate)(model))

    def _check_source(self, plugin: Plugin, spec: ModelSourceSpec, target: Callable[[], Any]) -> None:
        source = self._call(plugin, f"model source {spec.name}", target)
        if source is None:
            return
        names = self._call(plugin, f"names of {spec.name}", partial(names_of, source))
        for name in (*(names or ())[:1], "no model of this name"):
            self._call(plugin, f"find of {spec.name}", partial(find_in, source, name))

    def _check_format(self, plugin: Plugin, spec: ReasoningExtractorSpec, target: Callable[..., Any]) -> None:
        for model in self._made_up:
            self._call(plugin, f"matches of {spec.name}", partial(evidence_for, spec, model))
            inner = PlainText() if spec.tool_calls == "around" else None
            context = ExtractorContext(model=model, inner=inner)
            self._call(plugin, f"reasoning format {spec.name}", partial(_parse, target, context))

    def _check_ties(self, model: Model) -> None:
        for choose in (self._host.backend_for, self._host.reasoning_format, self._host.tool_format):
            try:
                choose(model)
            except PluginConflict as conflict:
                names = (*conflict.details.get("backends", ()), *conflict.details.get("formats", ()))
                for plugin, spec in self._host.contributions():
                    if spec.name in names and isinstance(spec, (BackendSpec, ReasoningExtractorSpec)):
                        self._report(plugin, Finding(str(conflict)))
            except (ModelError, PluginFailure):
                continue


def check_plugins(host: Host) -> list[PluginRecord]:
    """Return the records of the plugins, with what server extensions add and with every problem that was found."""
    with tempfile.TemporaryDirectory(prefix="mlxk-check-") as folder:
        check = PluginCheck(host, Path(folder))
        check.run()
    additions = {plugin.label: found for plugin, found in check.additions.items()}
    problems = {
        plugin.label: [str(finding) for finding in found if finding != plugin.failure]  # that one is on its record
        for plugin, found in check.findings.items()
    }
    return [
        replace(
            record,
            provides=(*record.provides, *additions.get(record.label, ())),
            problems=tuple(problems.get(record.label, ())),
        )
        for record in host.plugins()
    ]


def _takes(function: Callable[..., Any], name: str) -> bool:
    """Return whether `function` has a keyword argument `name`."""
    parameters = inspect.signature(function).parameters
    return name in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def _parse(make: Callable[[ExtractorContext], Any], context: ExtractorContext) -> None:
    """Feed a few texts to an extractor. Raises `TypeError` for an event or a channel of another type."""
    extractor = make(context)
    for events in (*(extractor.feed(text) for text in _TEXTS), extractor.close()):
        for event in events:
            check_event(event)
        if extractor.channel is not None and not isinstance(extractor.channel, Channel):
            raise TypeError(f"its channel is {type(extractor.channel).__name__}, not Channel or None")
