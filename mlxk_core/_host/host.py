"""The host: one method for each hook, and the selection among what the plugins contribute."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from mlxk_core._errors import InvalidOption, MlxkError, ModelError, PluginFailure, UsageError
from mlxk_core._host import hints, selection
from mlxk_core._host.contributions import TARGETS, Contributions, Named, checked, collect
from mlxk_core._host.error_place import describe_error
from mlxk_core._host.isolated_compiler import IsolatedCompiler
from mlxk_core._host.isolated_source import IsolatedSource
from mlxk_core._host.isolation import Isolation, quiet_stdout
from mlxk_core._host.loader import Loader
from mlxk_core._host.plugin import Plugin, PluginRecord
from mlxk_core._host.selection import Judgement
from mlxk_core._host.specs import (
    RESERVED_SECTIONS,
    AgentSpec,
    BackendSpec,
    CommandSpec,
    ConstraintSpec,
    Evidence,
    LifecycleListener,
    ModelSource,
    ModelSourceSpec,
    Quantization,
    QuantizationDetectorSpec,
    ReasoningExtractorSpec,
    ServerExtensionSpec,
    SettingsSection,
    StopPolicy,
    Target,
    Verdict,
)

if TYPE_CHECKING:
    from mlxk_core._generation.constraint import ConstraintCompiler
    from mlxk_core._models.model import Model
    from mlxk_core._settings.settings import Settings

BUILTIN_COMMANDS = ("completion", "help", "plugins")
_T = TypeVar("_T")
_D = TypeVar("_D")


class Host:
    """The plugins of one process. `Host()` has none, `Host.discover()` the installed ones.

    A plugin that fails is recorded (`plugins()`) and left out; a strict host raises `PluginFailure`.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.isolation = Isolation(strict=strict)
        self._loader = Loader(self.isolation)

    @property
    def strict(self) -> bool:
        """Whether a plugin's failure is raised."""
        return self.isolation.strict

    @classmethod
    def discover(cls, *, disabled: Iterable[str] = (), no_plugins: bool = False, strict: bool | None = None) -> Host:
        """Return a host of the installed plugins.

        `disabled` are names of plugins or distributions; so is `MLXK_DISABLE_PLUGINS` (`a,b`, or `*` for all), whose
        names need not be installed. `strict` None means `MLXK_STRICT_PLUGINS`.
        """
        if strict is None:
            strict = os.environ.get("MLXK_STRICT_PLUGINS", "") not in ("", "0")
        host = cls(strict=strict)
        tolerated = [name for name in os.environ.get("MLXK_DISABLE_PLUGINS", "").split(",") if name.strip()]
        host._loader.discover(disabled=disabled, tolerated=tolerated, no_plugins=no_plugins)
        return host

    def register(self, implementation: object, *, name: str) -> None:
        """Add a plugin: a module or any object with hook implementations."""
        self._loader.add(implementation, name)
        for key in tuple(vars(self)):
            if isinstance(getattr(type(self), key, None), cached_property):
                del vars(self)[key]

    def plugins(self) -> list[PluginRecord]:
        """Return one record for each plugin, with everything it provides. Calls every hook."""
        detectors = self.quantization_detectors()
        self.settings_sections()  # their types are checked when they are loaded
        return [self._complete(plugin, detectors) for plugin in self._loader.plugins]

    def announce_failures(self, note: Callable[[str], None]) -> None:
        """Report the plugins that have failed in one line to `note`, and from now on each one when it fails."""
        self.isolation.announce(note)

    # Hook mlxk_commands

    def commands(self) -> list[CommandSpec]:
        """Return the commands that can be typed, sorted by name."""
        return [spec for plugin, spec in self._commands if self._off(plugin, spec) is None]

    def command_names(self) -> set[str]:
        """Return every word that is a command, aliases and mlxk's own included."""
        aliases = {alias for spec in self.commands() for alias in spec.aliases}
        return {*BUILTIN_COMMANDS, *(spec.name for spec in self.commands()), *aliases}

    def contested_commands(self) -> Mapping[str, str]:
        """Return the command names that several plugins claim, each with its error message."""
        return {name: str(conflict) for name, conflict in self._commands.contested.items()}

    def command(self, name: str) -> CommandSpec:
        """Return the command called `name`, possibly by an alias. Raises `PluginConflict`, or `UsageError` if it is
        unknown or off."""
        found = self._commands.get(name)
        if found is None:
            names = [*BUILTIN_COMMANDS, *(spec.name for spec in self.commands())]
            hint = hints.unknown_command(name, names, self._records)
            distribution = hints.known("commands").get(name)
            raise UsageError(f"No such command `{name}`. {hint}", command=name, distribution=distribution)
        reason = self._off(*found)
        if reason is not None:
            raise UsageError(f"`{name}` is off: {reason}", command=name, reason=reason)
        return found[1]

    # Hook mlxk_backends

    def backends(self) -> list[BackendSpec]:
        """Return every backend, sorted by name."""
        return self._backends.specs()

    def verdicts(self, model: Model) -> list[tuple[BackendSpec, Verdict]]:
        """Return the verdict of each backend on `model`: `no` if the model's files cannot be read."""
        return [(spec, self._judge(plugin, spec, model).verdict) for plugin, spec in self._backends]

    def backend_for(self, model: Model, name: str | None = None) -> BackendSpec:
        """Return the backend of that name, else the only one that accepts `model`. Raises `InvalidOption`,
        `UnsupportedModel`, `PluginConflict`, or the `ModelError` met while reading the model's files."""
        if name is None:
            judgements = [self._judge(plugin, spec, model) for plugin, spec in self._backends]
            return selection.only_accepting(
                model, judgements, hint=partial(self._backend_hint, model, bool(judgements))
            )
        found = self._backends.get(name)
        if found is None:
            distribution = hints.known("backends").get(name)
            hint = f". {hints.comes_with(distribution, self._records)}" if distribution else ""
            raise hints.unknown_option("--backend", name, (spec.name for spec in self.backends()), hint)
        return selection.named_backend(model, self._judge(*found, model))

    # Hook mlxk_model_sources

    def model_sources(self) -> list[tuple[ModelSourceSpec, ModelSource]]:
        """Return every model source, created once. One that cannot be created is left out."""
        return self._sources

    # Hook mlxk_stop_policies

    def stop_policies(self, model: Model) -> StopPolicy:
        """Return every plugin's policy for `model`, merged."""
        return selection.merged([policy for _, policy in self._collect("mlxk_stop_policies", StopPolicy, model=model)])

    # Hook mlxk_reasoning_extractors

    def reasoning_extractors(self) -> list[ReasoningExtractorSpec]:
        """Return every reasoning format, sorted by name."""
        return [spec for spec in self._extractors.specs() if spec.tool_calls != "around"]

    def reasoning_format(
        self, model: Model, name: str | None = None
    ) -> tuple[ReasoningExtractorSpec, Evidence | None] | None:
        """Return the format of that name (`none`: no format), else the one with the strongest evidence for `model`;
        None without any. Raises `InvalidOption`, and `PluginConflict` on a tie."""
        if name == "none":
            return None
        if name is None:
            return self._strongest(model, around=False)
        found = self._extractors.get(name)
        if found is None or found[1].tool_calls == "around":
            names = [*(spec.name for spec in self.reasoning_extractors()), "none"]
            raise hints.unknown_option("--reasoning-format", name, names)
        return found[1], None

    def tool_format(self, model: Model) -> ReasoningExtractorSpec | None:
        """Return the extractor with the strongest evidence among those that find tool calls around another format."""
        best = self._strongest(model, around=True)
        return best[0] if best else None

    def finds_tool_calls(self, model: Model) -> bool:
        """Return whether a plugin reads the tool calls that `model` writes."""
        if self.tool_format(model) is not None:
            return True
        chosen = self.reasoning_format(model)
        return chosen is not None and chosen[0].tool_calls == "own"

    # Hook mlxk_quantization_detectors

    def quantization_detectors(self) -> list[tuple[Plugin, QuantizationDetectorSpec]]:
        """Return every detector with its plugin."""
        return self._collect("mlxk_quantization_detectors", QuantizationDetectorSpec)

    def quantizations(self, model: Model) -> list[Quantization]:
        """Return the results of every detector for `model`, sorted by format."""
        found: list[tuple[str, Quantization]] = []
        for plugin, spec in self.quantization_detectors():
            detect = partial(_results, spec.detect, model, Quantization)
            what = f"detect of {spec.name}"
            facts: list[Quantization] = self._ask(plugin, what, detect, default=[], source=spec.detect)
            found += [(f"{spec.name} of plugin {plugin.label}", fact) for fact in facts]
        return selection.annotated(found)

    # Hook mlxk_constraints

    def constraints(self) -> list[ConstraintSpec]:
        """Return every kind of constraint, sorted by kind."""
        return self._constraints.specs()

    def constraint_compiler(self, kind: str, option: str) -> ConstraintCompiler:
        """Return the compiler of `kind`. Raises `InvalidOption`, which names `option`, if no plugin compiles that kind,
        and `PluginConflict` if several do."""
        found = self._constraints.get(kind)
        if found is None:
            distribution = hints.known("constraints").get(kind, "a plugin for it")
            state = hints.state_of(distribution, self._records) if distribution.startswith("mlxk-") else ""
            raise InvalidOption(option, f"structured output of kind {kind} needs {distribution}{state}")
        return IsolatedCompiler(partial(self.failure_of, found[1]), kind, self.load(found[1].target))

    # Hook mlxk_server_extensions

    def server_extensions(self) -> list[ServerExtensionSpec]:
        """Return every server extension, sorted by name."""
        return self._server_extensions.specs()

    # Hook mlxk_lifecycle

    def lifecycle(self) -> list[tuple[Plugin, LifecycleListener]]:
        """Return every listener with its plugin."""
        return self._listeners

    # Hook mlxk_agents

    def agents(self) -> list[AgentSpec]:
        """Return the programs that `mlxk launch` can start, sorted by name."""
        return self._agents.specs()

    # Hook mlxk_settings

    def settings_sections(self) -> list[SettingsSection]:
        """Return the sections that plugins add to the settings file, sorted by name, with their types loaded. One whose
        type is not a section is left out and recorded as a failure of its plugin."""
        return [spec for _, spec in self._sections]

    @property
    def knows_all_sections(self) -> bool:
        """Whether every section of the settings file is known. A plugin that is turned off or failed cannot say which
        are its own."""
        self.settings_sections()  # first: a section may fail
        return all(record.status == "loaded" for record in self._records)

    @cached_property
    def settings(self) -> Settings:
        """The settings file, read once. Raises `SettingsError` with the line of a wrong key or value."""
        from mlxk_core._settings.settings import read_settings, settings_file  # not for `mlxk --help`

        return read_settings(settings_file(), self.settings_sections(), complete=self.knows_all_sections)

    # Running what the plugins have described

    def load(self, target: Target, *, source: object = None) -> Any:
        """Import the object that `package.module:attribute` names; a callable is returned as it is. Raises
        `PluginFailure` naming the plugin it belongs to. An error without a frame in the plugin is placed at `source`,
        the function that named the target."""
        if not isinstance(target, str):
            return target
        try:
            module, _, attributes = target.partition(":")
            with quiet_stdout():
                loaded: Any = importlib.import_module(module)
            for attribute in attributes.split("."):
                loaded = getattr(loaded, attribute)
            return loaded
        except MlxkError:
            raise
        except (Exception, SystemExit) as error:
            owner = self.owner_of(target)
            reason = f"{target} cannot be loaded: {describe_error(error, owner.packages, source)}"
            raise self.isolation.record(owner, reason, error, source=source) from error

    def attempt(self, spec: Named, function: Callable[[], None]) -> bool:
        """Run `function`; an error in it is recorded as a failure of the plugin that provided `spec`. Returns whether
        it succeeded; raises `PluginFailure` in strict mode."""

        def succeeded() -> bool:
            function()
            return True

        kind = next((each.kind for each in self._kinds if each.owner_of(lambda one: one is spec)), "contribution")
        return self.isolation.guard(self.owner_of(spec), f"{kind} {spec.name}", succeeded, default=False)

    def failure_of(
        self, spec: Named | Target, what: str, error: BaseException, *, source: object = None
    ) -> PluginFailure:
        """Return `error`, raised by code of a contribution, as a failure of its plugin, with the plugin's name
        and version, and the file and line of its deepest frame (else of `source`, the function that was called).
        `what` begins the reason: `load()`."""
        owner = self.owner_of(spec)
        reason = f"{what} raised {describe_error(error, owner.packages, source)}"
        return self.isolation.record(owner, reason, error, source=source)

    def loaded_plugins(self) -> list[Plugin]:
        """Return the plugins that are neither disabled nor failed at import."""
        return [plugin for plugin in self._loader.plugins if plugin.record.status == "loaded" or plugin.hooks]

    def contributions(self) -> list[tuple[Plugin, Any]]:
        """Return every description that has a target, with its plugin."""
        return [entry for kind in self._kinds for entry in kind]

    def owner_of(self, spec: Named | Target) -> Plugin:
        """Return the plugin that provided this description, or a description with this target."""

        def is_meant(one: Named) -> bool:
            return one is spec or any(getattr(one, field, None) == spec for field in TARGETS)

        for contributions in self._kinds:
            owner = contributions.owner_of(is_meant)
            if owner is not None:
                return owner
        name = spec.partition(".")[0].partition(":")[0] if isinstance(spec, str) else str(spec)
        return Plugin(PluginRecord(name=name), packages={name})

    # Private

    @property
    def _records(self) -> list[PluginRecord]:
        return [plugin.record for plugin in self._loader.plugins]

    @cached_property
    def _commands(self) -> Contributions[CommandSpec]:
        claims = self._collect("mlxk_commands", CommandSpec)
        return Contributions("command", claims, aliases=lambda spec: spec.aliases, reserved=BUILTIN_COMMANDS)

    @cached_property
    def _backends(self) -> Contributions[BackendSpec]:
        return Contributions("backend", self._collect("mlxk_backends", BackendSpec))

    @cached_property
    def _source_specs(self) -> Contributions[ModelSourceSpec]:
        return Contributions("model source", self._collect("mlxk_model_sources", ModelSourceSpec))

    @cached_property
    def _extractors(self) -> Contributions[ReasoningExtractorSpec]:
        claims = self._collect("mlxk_reasoning_extractors", ReasoningExtractorSpec)
        return Contributions("reasoning format", claims, reserved=("none",))

    @cached_property
    def _constraints(self) -> Contributions[ConstraintSpec]:
        return Contributions("constraint", self._collect("mlxk_constraints", ConstraintSpec))

    @cached_property
    def _server_extensions(self) -> Contributions[ServerExtensionSpec]:
        return Contributions("server extension", self._collect("mlxk_server_extensions", ServerExtensionSpec))

    @cached_property
    def _listeners(self) -> list[tuple[Plugin, LifecycleListener]]:
        return self._collect("mlxk_lifecycle", LifecycleListener)

    @cached_property
    def _agents(self) -> Contributions[AgentSpec]:
        return Contributions("agent", self._collect("mlxk_agents", AgentSpec))

    @cached_property
    def _settings_sections(self) -> Contributions[SettingsSection]:
        claims = self._collect("mlxk_settings", SettingsSection)
        return Contributions("settings section", claims, reserved=RESERVED_SECTIONS)

    @cached_property
    def _sections(self) -> list[tuple[Plugin, SettingsSection]]:
        made = []
        for plugin, spec in self._settings_sections:
            source = plugin.hooks["mlxk_settings"][0].function
            load, what = partial(self._load_section, spec, source), f"settings section {spec.name}"
            found = self.isolation.guard(plugin, what, load, default=None, source=source)
            if found is not None:
                made.append((plugin, found))
        return made

    def _load_section(self, spec: SettingsSection, source: object) -> SettingsSection:
        from mlxk_core._settings.sections import fields_of  # not for `mlxk --help`

        loaded = replace(spec, type=self.load(spec.type, source=source))
        fields_of(loaded.type)
        return loaded

    @property
    def _kinds(self) -> tuple[Contributions[Any], ...]:
        return (
            self._commands,
            self._backends,
            self._source_specs,
            self._extractors,
            self._constraints,
            self._server_extensions,
            self._agents,
            self._settings_sections,
        )

    @cached_property
    def _sources(self) -> list[tuple[ModelSourceSpec, ModelSource]]:
        made: list[tuple[ModelSourceSpec, ModelSource]] = []
        for plugin, spec in self._source_specs:
            source = self.isolation.guard(plugin, f"model source {spec.name}", partial(self._make, spec), default=None)
            if source is not None:
                made.append((spec, IsolatedSource(self.isolation, plugin, source)))
        return made

    def _make(self, spec: ModelSourceSpec) -> ModelSource:
        source: ModelSource = self.load(spec.target)()
        return source

    def _collect(self, hook: str, of: type[_T], **arguments: object) -> list[tuple[Plugin, _T]]:
        return collect(self._loader.plugins, self.isolation, hook, of, **arguments)

    def _ask(self, plugin: Plugin, what: str, function: Callable[[], _T], *, default: _D, source: object) -> _T | _D:
        """Call a function of a description. Unreadable files of the model are not a failure of the plugin."""

        def asked() -> _T | _D:
            try:
                return function()
            except ModelError:
                return default

        return self.isolation.guard(plugin, what, asked, default=default, source=source)

    def _judge(self, plugin: Plugin, spec: BackendSpec, model: Model) -> Judgement:
        errors: list[ModelError] = []

        def accepts() -> Verdict:
            try:
                return checked(spec.accepts(model), Verdict)
            except ModelError as error:
                errors.append(error)
                return Verdict.no(str(error))

        what = f"accepts of {spec.name}"
        verdict = self.isolation.guard(plugin, what, accepts, default=None, source=spec.accepts)
        if verdict is None:
            verdict = Verdict.no(f"plugin {plugin.label} failed: {plugin.record.reason}")
        return Judgement(plugin, spec, verdict, errors[0] if errors else None)

    def _strongest(self, model: Model, *, around: bool) -> tuple[ReasoningExtractorSpec, Evidence] | None:
        found = []
        for plugin, spec in self._extractors:
            if (spec.tool_calls == "around") is around:
                matches = partial(_optional_result, spec.matches, model, Evidence)
                what = f"matches of {spec.name}"
                evidence = self._ask(plugin, what, matches, default=None, source=spec.matches)
                if evidence is not None:
                    found.append((plugin, spec, evidence))
        return selection.strongest(model, found)

    def _backend_hint(self, model: Model, any_installed: bool) -> str:
        """Return which distribution has the backend for such files; empty if it is installed."""
        gguf = model.gguf_path is not None or (bool(model.variants) and not model.has_other_weights)
        files = hints.known("files")["gguf" if gguf else "safetensors"]
        name = files["backend"]
        if self._backends.contested and not any_installed:
            return " ".join(map(str, self._backends.contested.values()))
        if name in self._backends.contested or self._backends.get(name):
            return ""
        distribution = hints.known("backends")[name]
        return f"{files['what']} run with {distribution}{hints.state_of(distribution, self._records)}"

    def _off(self, plugin: Plugin, spec: CommandSpec) -> str | None:
        if spec.requires is None:
            return None
        requires = partial(_reason, spec.requires)
        failed = "its check failed; `mlxk plugins` shows why"
        what = f"requires of {spec.name}"
        return self.isolation.guard(plugin, what, requires, default=failed, source=spec.requires)

    def _complete(self, plugin: Plugin, detectors: Iterable[tuple[Plugin, QuantizationDetectorSpec]]) -> PluginRecord:
        provides = [f"command {spec.name}" for p, spec in self._commands if p is plugin and not self._off(p, spec)]
        for kind in self._kinds[1:-1]:
            provides += [f"{kind.kind} {spec.name}" for owner, spec in kind if owner is plugin]
        provides += [f"settings section {spec.name}" for owner, spec in self._sections if owner is plugin]
        provides += [f"quantization detector {spec.name}" for owner, spec in detectors if owner is plugin]
        provides += [f"lifecycle listener {listener.name}" for owner, listener in self._listeners if owner is plugin]
        if "mlxk_stop_policies" in plugin.hooks:
            provides.append("stop policy")
        lost = [sentence for kind in self._kinds for sentence in kind.names_lost_by(plugin)]
        reason = plugin.record.reason or plugin.needs_other_core()
        return replace(plugin.record, provides=tuple(provides), reason=reason, conflicts=tuple(lost))


def _optional_result(function: Callable[[Model], Any], model: Model, of: type[_T]) -> _T | None:
    result = function(model)
    return None if result is None else checked(result, of)


def _results(function: Callable[[Model], Iterable[Any] | None], model: Model, of: type[_T]) -> list[_T]:
    return [checked(each, of) for each in function(model) or ()]


def _reason(requires: Callable[[], Any]) -> str | None:
    reason = requires()
    if reason is not None and not isinstance(reason, str):
        raise TypeError(f"it returns {type(reason).__name__}, not str or None")
    return reason
