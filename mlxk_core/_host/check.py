"""The deep check of plugins: every target is loaded, and every function called on made-up models."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlxk_core._errors import ModelError, ModelNotFound, PluginConflict, PluginFailure
from mlxk_core._generation.events import Channel, Delta, ToolCallDelta
from mlxk_core._generation.format_parser import ExtractorContext, PlainText
from mlxk_core._host.contributions import checked
from mlxk_core._host.error_place import describe_error
from mlxk_core._host.extension_recorder import ExtensionRecorder
from mlxk_core._host.plugin import Plugin
from mlxk_core._host.specs import (
    AgentEndpoint,
    AgentSetup,
    AgentSpec,
    BackendSpec,
    CommandSpec,
    ConstraintSpec,
    Evidence,
    ModelSourceSpec,
    Quantization,
    QuantizationDetectorSpec,
    ReasoningExtractorSpec,
    ServerExtensionSpec,
    SettingsSection,
    Verdict,
)
from mlxk_core._models.model import Model
from mlxk_core._models.resolve import Resolver

if TYPE_CHECKING:
    from mlxk_core._host.host import Host

HEAVY_MODULES = frozenset(
    {
        "mlx", "mlx_lm", "transformers", "torch", "numpy", "safetensors", "tokenizers", "huggingface_hub", "requests",
        "httpx", "falcon", "waitress", "msgspec", "rich", "prompt_toolkit", "jinja2",
    }
)  # fmt: skip
"""Libraries that take long to import; the module of an entry point must not import them."""
_SLOW_IMPORT = 0.5
_TEXTS = ("Hello", ", world.", " <think>hm</think>\n", "{}")
_IMPORT = """
import sys, time, io, json
out, sys.stdout = sys.stdout, io.StringIO()
import mlxk_core.api.hooks
before, began = set(sys.modules), time.process_time()
__import__(sys.argv[1])
seconds, printed = time.process_time() - began, bool(sys.stdout.getvalue())
print(json.dumps([sorted({name.partition(".")[0] for name in sys.modules}), seconds, printed]), file=out)
"""
_T = TypeVar("_T")


class PluginCheck:
    """Checks the plugins of one host; `problems` has what was found, by plugin."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.problems: dict[Plugin, list[str]] = {}
        self._host = host
        self._made_up = [_safetensors_model(folder / "safetensors"), _empty_model(folder / "empty")]

    def run(self) -> None:
        """Check everything that the host's plugins offer."""
        for plugin in self._host.loaded_plugins():
            self._check_import(plugin)
        for plugin, spec in self._host.contributions():
            self._check(plugin, spec)
        for plugin, detector in self._host.quantization_detectors():
            for model in self._made_up:
                self._call(plugin, f"detect of {detector.name}", partial(_facts, detector, model))
        for model in self._models():
            self._check_ties(model)

    def _models(self) -> Iterator[Model]:
        yield from self._made_up
        yield from Resolver(self._host).all()

    def _report(self, plugin: Plugin, problem: str) -> None:
        found = self.problems.setdefault(plugin, [])
        if problem not in found:
            found.append(problem)

    def _call(self, plugin: Plugin, what: str, function: Callable[[], _T]) -> _T | None:
        """Return `function()`, or None if it raised. Errors and output are recorded as problems."""
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                return function()
        except (ModelError, PluginFailure):  # a broken model is no failure; what cannot be loaded is on record
            return None
        except (Exception, SystemExit) as error:
            self._report(plugin, f"{what} raised {describe_error(error, plugin.packages)}")
            return None
        finally:
            if printed.getvalue():
                self._report(plugin, f"{what} prints to standard output")

    def _check_import(self, plugin: Plugin) -> None:
        if plugin.module is None:
            return
        done = subprocess.run(
            [sys.executable, "-c", _IMPORT, plugin.module], capture_output=True, text=True, check=False
        )
        try:
            modules, seconds, printed = json.loads(done.stdout)
        except ValueError:
            self._report(plugin, f"importing {plugin.module} ends the process with exit code {done.returncode}")
            return
        heavy = sorted(HEAVY_MODULES & set(modules))
        if heavy:
            self._report(plugin, f"importing {plugin.module} imports {', '.join(heavy)}: name it by a target string")
        elif seconds > _SLOW_IMPORT:
            self._report(
                plugin, f"importing {plugin.module} takes {seconds:.1f} s of CPU time; every run of mlxk waits for it"
            )
        if printed:
            self._report(plugin, f"importing {plugin.module} prints to standard output")

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
                self._expect(plugin, spec, complete, "() -> ConstraintCompiler")
            case AgentSpec():
                self._check_agent(plugin, spec, target)
            case ServerExtensionSpec():
                recorder = ExtensionRecorder(self._host)
                self._call(plugin, f"server extension {spec.name}", lambda: target(recorder))

    def _expect(self, plugin: Plugin, spec: Any, fits: bool, expected: str) -> None:
        if not fits:
            self._report(plugin, f"the target of {spec.name} is not {expected}")

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
            self._report(plugin, f"agent {spec.name}: its setup does not name the server")

    def _check_backend(self, plugin: Plugin, spec: BackendSpec) -> None:
        for model in self._made_up:
            what = f"accepts of {spec.name}"
            verdict = self._call(plugin, what, partial(_verdict, spec, model))
            if spec.estimate is not None and verdict is not None and verdict.accepted:
                self._call(plugin, f"estimate of {spec.name}", partial(self._estimate, spec, model))

    def _estimate(self, spec: BackendSpec, model: Model) -> int:
        assert spec.estimate is not None
        return int(self._host.load(spec.estimate)(model))

    def _check_source(self, plugin: Plugin, spec: ModelSourceSpec, target: Callable[[], Any]) -> None:
        source = self._call(plugin, f"model source {spec.name}", target)
        if source is None:
            return
        names = self._call(plugin, f"names of {spec.name}", lambda: [_string(name) for name in source.names()])
        for name in (*(names or ())[:1], "no model of this name"):
            self._call(plugin, f"find of {spec.name}", partial(_model_or_none, source, name))

    def _check_format(self, plugin: Plugin, spec: ReasoningExtractorSpec, target: Callable[..., Any]) -> None:
        for model in self._made_up:
            self._call(plugin, f"matches of {spec.name}", partial(_evidence, spec, model))
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
                        self._report(plugin, str(conflict))
            except (ModelError, PluginFailure):
                continue


def check_plugins(host: Host) -> dict[Plugin, list[str]]:
    """Return the problems of each plugin of `host`, beyond those that are on its record afterwards."""
    with tempfile.TemporaryDirectory(prefix="mlxk-check-") as folder:
        check = PluginCheck(host, Path(folder))
        check.run()
        return check.problems


def _facts(detector: QuantizationDetectorSpec, model: Model) -> list[Quantization]:
    return [checked(fact, Quantization) for fact in detector.detect(model) or ()]


def _verdict(spec: BackendSpec, model: Model) -> Verdict:
    return checked(spec.accepts(model), Verdict)


def _evidence(spec: ReasoningExtractorSpec, model: Model) -> Evidence | None:
    evidence = spec.matches(model)
    return None if evidence is None else checked(evidence, Evidence)


def _string(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"it returns {type(name).__name__}, not str")
    return name


def _model_or_none(source: Any, name: str) -> None:
    try:
        found = source.find(name)
    except ModelNotFound:
        return
    if found is not None and not isinstance(found, Model):
        raise TypeError(f"it returns {type(found).__name__}, not Model")


def _parse(make: Callable[[ExtractorContext], Any], context: ExtractorContext) -> None:
    """Feed a few texts to an extractor, and raise `TypeError` for events of another type."""
    extractor = make(context)
    for events in (*(extractor.feed(text) for text in _TEXTS), extractor.close()):
        for event in events:
            if not isinstance(event, (Delta, ToolCallDelta)):
                raise TypeError(f"it returns {type(event).__name__}, not Delta or ToolCallDelta")
        if extractor.channel is not None and not isinstance(extractor.channel, Channel):
            raise TypeError(f"its channel is {type(extractor.channel).__name__}, not Channel or None")


def _safetensors_model(folder: Path) -> Model:
    """Return a model with every file that functions of descriptions usually read."""
    folder.mkdir()
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 128}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text('{"added_tokens": [], "model": {"vocab": {}}}')
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    header = b'{"model.embed_tokens.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return Model(name="mlxk-check/safetensors", path=folder)


def _empty_model(folder: Path) -> Model:
    """Return a model without files."""
    folder.mkdir()
    return Model(name="mlxk-check/empty", path=folder)
