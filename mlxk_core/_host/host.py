"""The host: one method for each hook, and the selection among what the plugins contribute."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlxk_core._errors import PluginFailure
from mlxk_core._host import backend_selection, command_selection, format_selection, model_facts
from mlxk_core._host.contributions import Named
from mlxk_core._host.implementations import Implementations
from mlxk_core._host.loader import Loader
from mlxk_core._host.plugin import Plugin, PluginRecord
from mlxk_core._host.plugin_records import complete_records
from mlxk_core._host.registry import BUILTIN_COMMANDS, Registry
from mlxk_core._host.specs import (
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
from mlxk_core._isolation.isolation import Isolation

if TYPE_CHECKING:
    from mlxk_core._generation.constraint import SlowConstraintCompiler
    from mlxk_core._models.model import Model
    from mlxk_core._settings.settings import Settings


class Host:
    """The plugins of one process. `Host()` has none, `Host.discover()` the installed ones.

    A plugin that fails is recorded (`plugins()`) and left out; a strict host raises `PluginFailure`.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.isolation = Isolation(strict=strict)
        self._loader = Loader(self.isolation)
        self._reset()

    def _reset(self) -> None:
        """Forget what the hooks returned: they are called again when they are needed."""
        self._registry = Registry(self._loader.plugins, self.isolation)
        self._implementations = Implementations(self._registry)
        self.__dict__.pop("settings", None)  # clears the cached property; absent until it is first read

    @classmethod
    def discover(cls, *, disabled: Iterable[str] = (), no_plugins: bool = False, strict: bool | None = None) -> Host:
        """Return a host of the installed plugins.

        `disabled` are names of plugins or distributions; so is `MLXK_DISABLE_PLUGINS` (`a,b`, or `*` for all), whose
        names need not be installed. `strict` None means `MLXK_STRICT_PLUGINS`.
        """
        if strict is None:
            strict = os.environ.get("MLXK_STRICT_PLUGINS", "") not in ("", "0")
        host = cls(strict=strict)
        disabled_by_environment = [
            name for name in os.environ.get("MLXK_DISABLE_PLUGINS", "").split(",") if name.strip()
        ]
        host._loader.discover(disabled=disabled, disabled_by_environment=disabled_by_environment, no_plugins=no_plugins)
        return host

    def register(self, implementation: object, *, name: str) -> None:
        """Add a plugin: a module or any object with hook implementations."""
        self._loader.add(implementation, name)
        self._reset()

    # The plugins

    @property
    def strict(self) -> bool:
        """Whether a plugin's failure is raised."""
        return self.isolation.strict

    def plugins(self) -> list[PluginRecord]:
        """Return one record for each plugin, with everything it provides. Calls every hook."""
        return complete_records(self._registry, self._implementations.settings_sections)

    def loaded_plugins(self) -> list[Plugin]:
        """Return the plugins that were imported: those without a failure, and those that failed later, in a hook or a
        function of theirs."""
        return [plugin for plugin in self._loader.plugins if plugin.record.status == "loaded" or plugin.hooks]

    def announce_failures(self, note: Callable[[str], None]) -> None:
        """Report the plugins that have failed in one line to `note`, and from now on each one when it fails."""
        self.isolation.announce(note)

    # Hook mlxk_commands

    def commands(self) -> list[CommandSpec]:
        """Return the commands that can be typed, sorted by name."""
        return [spec for _, spec in command_selection.available(self._registry)]

    def command(self, name: str) -> CommandSpec:
        """Return the command with that name or alias. Raises `PluginConflict`, or `UsageError` if unknown or off."""
        return command_selection.command_called(self._registry, name)

    def command_names(self) -> set[str]:
        """Return every word that is a command, aliases and mlxk's own included."""
        return {*BUILTIN_COMMANDS, *(name for spec in self.commands() for name in (spec.name, *spec.aliases))}

    def contested_commands(self) -> Mapping[str, str]:
        """Return the command names that several plugins claim, each with its error message."""
        return {name: str(conflict) for name, conflict in self._registry.commands.contested.items()}

    # Hook mlxk_backends

    def backends(self) -> list[BackendSpec]:
        """Return every backend, sorted by name."""
        return self._registry.backends.specs()

    def verdicts(self, model: Model) -> list[tuple[BackendSpec, Verdict]]:
        """Return the verdict of each backend on `model`: `no` if the model's files cannot be read."""
        judgements = backend_selection.judgements(self._registry, model)
        return [(judgement.spec, judgement.verdict) for judgement in judgements]

    def backend_for(self, model: Model, name: str | None = None) -> BackendSpec:
        """Return the backend of that name, else the only one that accepts `model`. Raises `InvalidOption`,
        `UnsupportedModel`, `PluginConflict`, or the `ModelError` met while reading the model's files."""
        return backend_selection.backend_for(self._registry, model, name)

    # Hook mlxk_model_sources

    def model_sources(self) -> list[tuple[ModelSourceSpec, ModelSource]]:
        """Return every model source, created once. One that cannot be created is left out."""
        return self._implementations.model_sources

    # Hook mlxk_stop_policies

    def stop_policies(self, model: Model) -> StopPolicy:
        """Return one policy for `model`, merged from those of all plugins."""
        return model_facts.stop_policy(self._registry, model)

    # Hook mlxk_reasoning_extractors

    def reasoning_extractors(self) -> list[ReasoningExtractorSpec]:
        """Return every reasoning format, sorted by name."""
        return format_selection.reasoning_formats(self._registry)

    def reasoning_format_names(self) -> list[str]:
        """Return the names that can be chosen: those of the reasoning formats, and `none` for plain text."""
        return format_selection.reasoning_format_names(self._registry)

    def reasoning_format(
        self, model: Model, name: str | None = None
    ) -> tuple[ReasoningExtractorSpec, Evidence | None] | None:
        """Return the format of that name (`none`: no format), else the one with the strongest evidence for `model`;
        None without any. Raises `InvalidOption`, and `PluginConflict` on a tie."""
        return format_selection.reasoning_format(self._registry, model, name)

    def tool_format(self, model: Model) -> ReasoningExtractorSpec | None:
        """Return the extractor with the strongest evidence among those that find tool calls around another format."""
        return format_selection.tool_format(self._registry, model)

    def finds_tool_calls(self, model: Model) -> bool:
        """Return whether a plugin reads the tool calls that `model` writes."""
        if self.tool_format(model) is not None:
            return True
        chosen = self.reasoning_format(model)
        return chosen is not None and chosen[0].tool_calls == "own"

    # Hook mlxk_quantization_detectors

    def quantization_detectors(self) -> list[tuple[Plugin, QuantizationDetectorSpec]]:
        """Return every detector with its plugin."""
        return self._registry.quantization_detectors

    def quantizations(self, model: Model) -> list[Quantization]:
        """Return the results of every detector for `model`, sorted by format."""
        return model_facts.quantizations(self._registry, model)

    # Hook mlxk_constraints

    def constraints(self) -> list[ConstraintSpec]:
        """Return every kind of constraint, sorted by kind."""
        return self._registry.constraints.specs()

    def constraint_compiler(self, kind: str, option: str) -> SlowConstraintCompiler:
        """Return the compiler of `kind`. Raises `InvalidOption`, which names `option`, if no plugin compiles that kind,
        and `PluginConflict` if several do."""
        return self._implementations.constraint_compiler(kind, option)

    # Hook mlxk_server_extensions

    def server_extensions(self) -> list[ServerExtensionSpec]:
        """Return every server extension, sorted by name."""
        return self._registry.server_extensions.specs()

    # Hook mlxk_lifecycle

    def lifecycle(self) -> list[tuple[Plugin, LifecycleListener]]:
        """Return every listener with its plugin."""
        return self._registry.lifecycle

    # Hook mlxk_agents

    def agents(self) -> list[AgentSpec]:
        """Return the programs that `mlxk launch` can start, sorted by name."""
        return self._registry.agents.specs()

    # Hook mlxk_settings

    def settings_sections(self) -> list[SettingsSection]:
        """Return the sections that plugins add to the settings file, sorted by name, with their types loaded. One whose
        type is not a section is left out and recorded as a failure of its plugin."""
        return [spec for _, spec in self._implementations.settings_sections]

    @property
    def knows_all_sections(self) -> bool:
        """Whether every section of the settings file is known: a disabled or failed plugin cannot say which it has."""
        self.settings_sections()  # first: a section may fail
        return all(record.status == "loaded" for record in self._registry.records)

    @cached_property
    def settings(self) -> Settings:
        """The settings file, read once. Raises `SettingsError` with the line of a wrong key or value."""
        from mlxk_core._paths import NoHomeFolder  # these are not for `mlxk --help`
        from mlxk_core._settings.settings import Settings, read_settings, settings_file

        try:
            file = settings_file()
        except NoHomeFolder:  # then there is no file
            return Settings()
        return read_settings(file, self.settings_sections(), complete=self.knows_all_sections)

    # Implementations of what the plugins have described

    def contributions(self) -> list[tuple[Plugin, Any]]:
        """Return every description that has a target, with its plugin."""
        return [entry for kind in self._registry.kinds for entry in kind]

    def owner_of(self, spec: Named | Target) -> Plugin:
        """Return the plugin that provided this description, or a description with this target."""
        return self._registry.owner_of(spec)

    def load(self, target: Target, *, source: object = None) -> Any:
        """Import the object that `package.module:attribute` names; a callable is returned as it is. Raises
        `PluginFailure` naming the plugin it belongs to. An error without a frame in the plugin is placed at `source`,
        the function that named the target."""
        return self._implementations.load(target, source=source)

    def attempt(self, spec: Named, function: Callable[[], None]) -> bool:
        """Run `function`; an error in it is recorded as a failure of the plugin that provided `spec`. Returns whether
        it succeeded; raises `PluginFailure` in strict mode."""
        return self._implementations.attempt(spec, function)

    def failure_of(
        self, spec: Named | Target, what: str, error: BaseException, *, source: object = None
    ) -> PluginFailure:
        """Return `error`, raised by code of a contribution, as a failure of its plugin, with the plugin's name
        and version, and the file and line of its deepest frame (else of `source`, the function that was called).
        `what` begins the reason: `load()`."""
        return self._implementations.failure_of(spec, what, error, source=source)
