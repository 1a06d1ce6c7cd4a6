"""What the plugins contribute. Each hook is called once, when its contributions are first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from mlxk_core._errors import ModelError
from mlxk_core._host.collect import collect
from mlxk_core._host.contributions import Contributions, Named
from mlxk_core._host.plugin import Plugin, PluginRecord
from mlxk_core._host.specs import (
    NO_FORMAT,
    RESERVED_SECTIONS,
    TARGET_FIELDS,
    AgentSpec,
    BackendSpec,
    CommandSpec,
    ConstraintSpec,
    LifecycleListener,
    ModelSourceSpec,
    QuantizationDetectorSpec,
    ReasoningExtractorSpec,
    ServerExtensionSpec,
    SettingsSection,
    Target,
)
from mlxk_core._isolation.isolation import Isolation

BUILTIN_COMMANDS = ("completion", "help", "plugins")
_T = TypeVar("_T")
_D = TypeVar("_D")
_S = TypeVar("_S", bound=Named)


class Registry:
    """The contributions of `plugins`, by hook."""

    def __init__(self, plugins: Sequence[Plugin], isolation: Isolation) -> None:
        self.plugins = plugins
        self.isolation = isolation

    @property
    def records(self) -> list[PluginRecord]:
        """The records of the plugins so far, without what they provide."""
        return [plugin.record for plugin in self.plugins]

    @cached_property
    def commands(self) -> Contributions[CommandSpec]:
        claims = self.collect("mlxk_commands", CommandSpec)
        return Contributions("command", claims, aliases=lambda spec: spec.aliases, reserved=BUILTIN_COMMANDS)

    @cached_property
    def backends(self) -> Contributions[BackendSpec]:
        return self._collect_named("backend", "mlxk_backends", BackendSpec)

    @cached_property
    def model_sources(self) -> Contributions[ModelSourceSpec]:
        return self._collect_named("model source", "mlxk_model_sources", ModelSourceSpec)

    @cached_property
    def reasoning_extractors(self) -> Contributions[ReasoningExtractorSpec]:
        kind, hook = "reasoning format", "mlxk_reasoning_extractors"
        return self._collect_named(kind, hook, ReasoningExtractorSpec, reserved=(NO_FORMAT,))

    @cached_property
    def quantization_detectors(self) -> list[tuple[Plugin, QuantizationDetectorSpec]]:
        return self.collect("mlxk_quantization_detectors", QuantizationDetectorSpec)

    @cached_property
    def constraints(self) -> Contributions[ConstraintSpec]:
        return self._collect_named("constraint", "mlxk_constraints", ConstraintSpec)

    @cached_property
    def server_extensions(self) -> Contributions[ServerExtensionSpec]:
        return self._collect_named("server extension", "mlxk_server_extensions", ServerExtensionSpec)

    @cached_property
    def lifecycle(self) -> list[tuple[Plugin, LifecycleListener]]:
        return self.collect("mlxk_lifecycle", LifecycleListener)

    @cached_property
    def agents(self) -> Contributions[AgentSpec]:
        return self._collect_named("agent", "mlxk_agents", AgentSpec)

    @cached_property
    def settings_sections(self) -> Contributions[SettingsSection]:
        return self._collect_named("settings section", "mlxk_settings", SettingsSection, reserved=RESERVED_SECTIONS)

    @property
    def kinds(self) -> tuple[Contributions[Any], ...]:
        """The contributions that have a target."""
        return (self.commands, *self.other_kinds, self.settings_sections)

    @property
    def other_kinds(self) -> tuple[Contributions[Any], ...]:
        """The contributions that can be used as soon as they are known: all but commands and settings sections."""
        return (
            self.backends,
            self.model_sources,
            self.reasoning_extractors,
            self.constraints,
            self.server_extensions,
            self.agents,
        )

    def owner_of(self, spec: Named | Target) -> Plugin:
        """Return the plugin that provided this description, or a description with this target."""

        def is_meant(one: Named) -> bool:
            return one is spec or any(getattr(one, field, None) == spec for field in TARGET_FIELDS)

        for contributions in self.kinds:
            owner = contributions.owner_of(is_meant)
            if owner is not None:
                return owner
        name = spec.partition(".")[0].partition(":")[0] if isinstance(spec, str) else str(spec)
        return Plugin(PluginRecord(name=name), packages={name})

    def kind_of(self, spec: Named) -> str:
        """Return what `spec` is, for a message: `backend`."""
        return next((each.kind for each in self.kinds if each.owner_of(lambda one: one is spec)), "contribution")

    def collect(self, hook: str, of: type[_T], **arguments: object) -> list[tuple[Plugin, _T]]:
        """Call `hook` of every plugin and return the descriptions with their plugins."""
        return collect(self.plugins, self.isolation, hook, of, **arguments)

    def ask(self, plugin: Plugin, what: str, function: Callable[[], _T], *, default: _D, source: object) -> _T | _D:
        """Call a function of a description about a model. A model with unreadable files gets the `default`: the plugin
        has not failed."""

        def asked() -> _T | _D:
            try:
                return function()
            except ModelError:
                return default

        return self.isolation.guard(plugin, what, asked, default=default, source=source)

    def _collect_named(self, kind: str, hook: str, of: type[_S], *, reserved: Iterable[str] = ()) -> Contributions[_S]:
        return Contributions(kind, self.collect(hook, of), reserved=reserved)
