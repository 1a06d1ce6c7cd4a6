"""The implementations that descriptions name: loaded when they are used, and isolated."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from mlxk_core._errors import InvalidOption, MlxkError, PluginFailure
from mlxk_core._host import hints
from mlxk_core._host.contributions import Named
from mlxk_core._host.plugin import Plugin
from mlxk_core._host.registry import Registry
from mlxk_core._host.specs import ModelSource, ModelSourceSpec, SettingsSection, Target
from mlxk_core._isolation.finding import Finding
from mlxk_core._isolation.isolated_compiler import IsolatedCompiler
from mlxk_core._isolation.isolated_source import IsolatedSource
from mlxk_core._isolation.stdout import quiet_stdout

if TYPE_CHECKING:
    from mlxk_core._generation.constraint import SlowConstraintCompiler


class Implementations:
    """Loads what the contributions of `registry` name. An error in it is a failure of the plugin it belongs to."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def load(self, target: Target, *, source: object = None) -> Any:
        """Import what `target` names; a callable is returned as it is. See `Host.load`."""
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
            owner = self._registry.owner_of(target)
            finding = Finding.of_error(f"{target} cannot be loaded:", error, owner.packages, source)
            raise self._registry.isolation.record(owner, finding, error) from error

    def attempt(self, spec: Named, function: Callable[[], None]) -> bool:
        """Run `function` of the plugin that provided `spec`; return whether it succeeded. See `Host.attempt`."""

        def succeeded() -> bool:
            function()
            return True

        what = f"{self._registry.kind_of(spec)} {spec.name}"
        return self._registry.isolation.guard(self._registry.owner_of(spec), what, succeeded, default=False)

    def failure_of(
        self, spec: Named | Target, what: str, error: BaseException, *, source: object = None
    ) -> PluginFailure:
        """Return `error` as a failure of the plugin that provided `spec`. See `Host.failure_of`."""
        owner = self._registry.owner_of(spec)
        finding = Finding.of_error(f"{what} raised", error, owner.packages, source)
        return self._registry.isolation.record(owner, finding, error)

    @cached_property
    def model_sources(self) -> list[tuple[ModelSourceSpec, ModelSource]]:
        """Every model source, created once. One that cannot be created is left out."""
        isolation = self._registry.isolation
        created: list[tuple[ModelSourceSpec, ModelSource]] = []
        for plugin, spec in self._registry.model_sources:
            what, create = f"model source {spec.name}", partial(self._create_source, spec)
            source = isolation.guard(plugin, what, create, default=None)
            if source is not None:
                created.append((spec, IsolatedSource(isolation, plugin, source)))
        return created

    @cached_property
    def settings_sections(self) -> list[tuple[Plugin, SettingsSection]]:
        """Every section of the settings file with its type loaded. One whose type is not a section is left out."""
        loaded = []
        for plugin, spec in self._registry.settings_sections:
            source = plugin.hooks["mlxk_settings"][0].function
            what, load = f"settings section {spec.name}", partial(self._load_section, spec, source)
            section = self._registry.isolation.guard(plugin, what, load, default=None, source=source)
            if section is not None:
                loaded.append((plugin, section))
        return loaded

    def constraint_compiler(self, kind: str, option: str) -> SlowConstraintCompiler:
        """Return the compiler of `kind`. See `Host.constraint_compiler`."""
        found = self._registry.constraints.get(kind)
        if found is None:
            distribution = hints.known("constraints").get(kind, "a plugin for it")
            state = hints.state_of(distribution, self._registry.records) if distribution.startswith("mlxk-") else ""
            raise InvalidOption(option, f"structured output of kind {kind} needs {distribution}{state}")
        return IsolatedCompiler(partial(self.failure_of, found[1]), kind, self.load(found[1].target))

    def _create_source(self, spec: ModelSourceSpec) -> ModelSource:
        source: ModelSource = self.load(spec.target)()
        return source

    def _load_section(self, spec: SettingsSection, source: object) -> SettingsSection:
        from mlxk_core._settings.sections import fields_of  # not for `mlxk --help`

        loaded = replace(spec, type=self.load(spec.type, source=source))
        fields_of(loaded.type)
        return loaded
