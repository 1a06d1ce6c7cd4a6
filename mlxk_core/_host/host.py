"""The host: what all plugins offer together, and which of it is meant by a name or fits a model."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from mlxk_core._errors import (
    InvalidOption,
    MlxkError,
    ModelError,
    PluginConflict,
    UnsupportedModel,
    UsageError,
    kind_of,
)
from mlxk_core._host.contributions import Named, Registry
from mlxk_core._host.loader import Plugin, PluginRecord, PluginSet, describe_error
from mlxk_core._host.specs import (
    BackendSpec,
    CommandSpec,
    ConstraintSpec,
    Evidence,
    ModelSource,
    ModelSourceSpec,
    Quantization,
    QuantizationDetectorSpec,
    ReasoningExtractorSpec,
    ServerExtensionSpec,
    StopPolicy,
    Target,
    Verdict,
)

if TYPE_CHECKING:
    from mlxk_core._generation.constraint import ConstraintCompiler
    from mlxk_core._models.model import Model

BUILTIN_COMMANDS = ("completion", "help", "plugins")

# Which distribution of ours brings a command, for people who have not installed it.
FIRST_PARTY: Mapping[str, str] = {
    "run": "mlxk-run",
    "serve": "mlxk-serve",
    "server": "mlxk-serve",
    "pull": "mlxk-pull",
    "push": "mlxk-push",
    "list": "mlxk-models",
    "show": "mlxk-models",
    "health": "mlxk-models",
    "rm": "mlxk-models",
}
# The same for backends, with what they run.
FIRST_PARTY_BACKENDS: Mapping[str, tuple[str, str]] = {
    "mlx": ("mlxk-mlx", "Folders with safetensors"),
    "gguf": ("mlxk-gguf", "GGUF files"),
}

FIRST_PARTY_CONSTRAINTS = "mlxk-structured"

_T = TypeVar("_T")
_D = TypeVar("_D")


@dataclass(frozen=True)
class _IsolatedSource:
    """A model source whose methods cannot harm: only an `MlxkError` of `find` gets through, as its contract says."""

    plugins: PluginSet
    owner: Plugin
    source: ModelSource

    def names(self) -> Iterable[str]:
        return self.plugins.guard(self.owner, "names()", lambda: tuple(self.source.names()), default=())

    def find(self, name: str, /) -> Model | None:
        from mlxk_core._models.model import Model  # `mlxk --help` does without

        def found() -> Model | MlxkError | None:
            try:
                model = self.source.find(name)
            except MlxkError as error:
                return error
            if model is not None and not isinstance(model, Model):
                raise TypeError(f"it gives {type(model).__name__}, not Model")
            return model

        answer: Model | MlxkError | None = self.plugins.guard(self.owner, f"find({name!r})", found, default=None)
        if isinstance(answer, MlxkError):
            raise answer
        return answer


class Host:
    """Every question to the plugins, typed. `Host()` has none of them, `Host.discover()` the installed ones.

    A plugin that fails is on record (`plugins()`) and the rest goes on; a strict host raises `PluginFailure`.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self._plugins = PluginSet(strict=strict)
        self._targets: dict[Target, Plugin] = {}

    @property
    def strict(self) -> bool:
        """Whether a plugin's failure is to be raised."""
        return self._plugins.strict

    @classmethod
    def discover(cls, *, disabled: Iterable[str] = (), no_plugins: bool = False, strict: bool | None = None) -> Host:
        """A host of the installed plugins.

        `disabled` names plugins or distributions; so does `MLXK_DISABLE_PLUGINS` (`a,b`, or `*` for all), where a name
        that is not installed is no error. `strict` None means what `MLXK_STRICT_PLUGINS` says.
        """
        if strict is None:
            strict = os.environ.get("MLXK_STRICT_PLUGINS", "") not in ("", "0")
        host = cls(strict=strict)
        tolerated = [name for name in os.environ.get("MLXK_DISABLE_PLUGINS", "").split(",") if name.strip()]
        host._plugins.discover(disabled=disabled, tolerated=tolerated, no_plugins=no_plugins)
        return host

    def register(self, implementation: object, *, name: str) -> None:
        """Adds a plugin that is at hand: a module or any object with hook implementations."""
        self._plugins.add(implementation, name)
        self._forget()

    def plugins(self) -> list[PluginRecord]:
        """One record a plugin, with everything it offers; asks every hook."""
        return [self._complete(plugin) for plugin in self._plugins.plugins]

    def announce_failures(self, note: Callable[[str], None]) -> None:
        """Names the plugins that failed so far, in one line to `note`; from now on each one as it fails."""
        self._plugins.announce(note)

    # Commands

    def commands(self) -> list[CommandSpec]:
        """The commands that can be typed, sorted by name: no contested ones, none that is off."""
        return [spec for plugin, spec in self._commands.entries() if self._off(plugin, spec) is None]

    def contested_commands(self) -> Mapping[str, str]:
        """Command names that several plugins claim, with the sentence that says so."""
        return {name: str(conflict) for name, conflict in self._commands.contested.items()}

    def command(self, name: str) -> CommandSpec:
        """The command that `name`, possibly an alias, means. Raises `PluginConflict`, or `UsageError` when it is off,
        or unknown: then it says where it comes from."""
        found = self._commands.get(name)
        if found is None:
            raise self._unknown_command(name)
        plugin, spec = found
        reason = self._off(plugin, spec)
        if reason is not None:
            raise UsageError(f"`{name}` is off: {reason}", command=name, reason=reason)
        return spec

    def failure_of(self, command: str, error: BaseException) -> BaseException:
        """What a command raised that is none of our errors, told with the plugin it comes from."""
        found = self._commands.get(command)
        if found is None:  # one of mlxk's own
            return error
        failure = self._plugins.record_failure(found[0], f"`{command}` raised {describe_error(error)}", error)
        failure.kind = kind_of(error)
        return failure

    # Backends

    def backends(self) -> list[BackendSpec]:
        return [spec for _, spec in self._backends.entries()]

    def verdicts(self, model: Model) -> list[tuple[BackendSpec, Verdict]]:
        """What each backend says about `model`. A model whose files cannot be read gets a no from it."""
        return [(spec, self._verdict(plugin, spec, model)[0]) for plugin, spec in self._backends.entries()]

    def backend_for(self, model: Model, name: str | None = None) -> BackendSpec:
        """The backend that runs `model`: the one of that name, else the only one that accepts it."""
        if name is not None:
            asked = self._backends.get(name)
            if asked is None:
                distribution, _ = FIRST_PARTY_BACKENDS.get(name, ("", ""))
                hint = f". It comes with {distribution}{self._state_of(distribution)}" if distribution else ""
                raise _unknown("--backend", name, self.backends(), hint=hint)
            verdict, error = self._verdict(*asked, model)
            if verdict.accepted:
                return asked[1]
            if error:
                raise error
            raise UnsupportedModel(
                f"The backend {name} cannot run `{model.name}`: {verdict.reason}",
                model=model.name,
                reasons={name: verdict.reason},
            )
        judged = [(plugin, spec, *self._verdict(plugin, spec, model)) for plugin, spec in self._backends.entries()]
        accepting = [(plugin, spec) for plugin, spec, verdict, _ in judged if verdict.accepted]
        if len(accepting) == 1:
            return accepting[0][1]
        if accepting:
            raise PluginConflict(
                f"`{model.name}` can be run by several backends: {_owned(accepting)}. Choose one with --backend.",
                model=model.name,
                backends=[spec.name for _, spec in accepting],
            )
        for *_, error in judged:
            if error:
                raise error
        raise self._unsupported(model, [(spec.name, verdict) for _, spec, verdict, _ in judged])

    # Model sources

    def sources(self) -> list[tuple[ModelSourceSpec, ModelSource]]:
        """Every model source, made once. One that cannot be made is left out."""
        return self._sources

    # Stop policies, reasoning formats, quantization

    def stop_policy(self, model: Model) -> StopPolicy:
        """Every plugin's policy for `model` in one. The order of plugins does not matter, but for the stop strings'."""
        policies = [policy for _, policy in self._collect("mlxk_stop_policies", StopPolicy, model=model)]
        return StopPolicy(
            stop_tokens=frozenset[str]().union(*(policy.stop_tokens for policy in policies)),
            keep_tokens=frozenset[str]().union(*(policy.keep_tokens for policy in policies)),
            stop_strings=tuple(dict.fromkeys(text for policy in policies for text in policy.stop_strings)),
        )

    def reasoning_formats(self) -> list[ReasoningExtractorSpec]:
        return [spec for _, spec in self._extractors.entries() if spec.tool_calls != "around"]

    def reasoning_format(
        self, model: Model, name: str | None = None
    ) -> tuple[ReasoningExtractorSpec, Evidence | None] | None:
        """The format `model` writes: the one of that name (`none`: no format), else the one with the strongest
        evidence. None when there is no evidence for any."""
        if name == "none":
            return None
        if name is not None:
            asked = self._extractors.get(name)
            if asked is None or asked[1].tool_calls == "around":
                raise _unknown("--reasoning-format", name, self.reasoning_formats(), also="none")
            return asked[1], None
        return self._best_extractor(model, around=False)

    def tool_format(self, model: Model) -> ReasoningExtractorSpec | None:
        """The extractor that finds `model`'s tool calls around another format, the one with the strongest evidence."""
        best = self._best_extractor(model, around=True)
        return best[0] if best else None

    def finds_tool_calls(self, model: Model) -> bool:
        """Return whether a plugin reads the tool calls that `model` writes."""
        if self.tool_format(model) is not None:
            return True
        chosen = self.reasoning_format(model)
        return chosen is not None and chosen[0].tool_calls == "own"

    def _best_extractor(self, model: Model, *, around: bool) -> tuple[ReasoningExtractorSpec, Evidence] | None:
        found = []
        for plugin, spec in self._extractors.entries():
            if (spec.tool_calls == "around") is not around:
                continue
            evidence = self._judge(plugin, f"matches of {spec.name}", spec.matches, model, Evidence, default=None)
            if evidence is not None:
                found.append((evidence, plugin, spec))
        if not found:
            return None
        strength = max(evidence.strength for evidence, _, _ in found)
        best = [entry for entry in found if entry[0].strength == strength]
        if len(best) > 1:
            raise PluginConflict(
                f"`{model.name}` fits several reasoning formats: {_owned((p, s) for _, p, s in best)}. "
                "Choose one with --reasoning-format.",
                model=model.name,
                formats=[spec.name for _, _, spec in best],
            )
        evidence, _, spec = best[0]
        return spec, evidence

    def constraint_kinds(self) -> list[str]:
        """The languages in which a request may say what its answer must match."""
        return [spec.kind for _, spec in self._constraints.entries()]

    def constraint_compiler(self, kind: str, option: str) -> ConstraintCompiler:
        """The compiler of constraints of `kind`; `option` is what asked for one. Raises `InvalidOption` if no plugin
        compiles that kind, `PluginConflict` if several do."""
        found = self._constraints.get(kind)
        if found is None:
            distribution = FIRST_PARTY_CONSTRAINTS
            raise InvalidOption(
                option, f"structured output of kind {kind} needs {distribution}{self._state_of(distribution)}"
            )
        compiler: ConstraintCompiler = self.load(found[1].target)()
        return compiler

    def quantizations(self, model: Model) -> list[Quantization]:
        """What every detector reads off `model`, sorted by format. Where two speak of one format, both are there and
        a note says who read it."""
        found: list[tuple[str, Quantization]] = []
        for plugin, spec in self._collect("mlxk_quantization_detectors", QuantizationDetectorSpec):
            facts = self._judge(
                plugin, f"detect of {spec.name}", _all(spec.detect, Quantization), model, list, default=[]
            )
            found += [(f"{spec.name} of plugin {plugin.label}", fact) for fact in facts]
        formats = [fact.format for _, fact in found]
        named = [
            replace(fact, notes=(*fact.notes, f"read by {reader}")) if formats.count(fact.format) > 1 else fact
            for reader, fact in found
        ]
        return sorted(named, key=lambda fact: fact.format)

    def backend_owner(self, spec: BackendSpec) -> PluginRecord:
        """Return the record of the plugin that a backend belongs to."""
        owners = (plugin.record for plugin, own in self._backends.entries() if own.name == spec.name)
        return next(owners, PluginRecord(name=spec.name))

    # Server extensions

    def server_extensions(self) -> list[ServerExtensionSpec]:
        """Every server extension, sorted by name: no contested ones."""
        return [spec for _, spec in self._server_extensions.entries()]

    def attempt(self, spec: ServerExtensionSpec, function: Callable[[], None]) -> bool:
        """Run `function`; an error in it is recorded as a failure of the plugin that brought `spec`. Returns whether
        it succeeded; raises `PluginFailure` in strict mode."""
        owner = next(plugin for plugin, own in self._server_extensions.entries() if own is spec)

        def succeeded() -> bool:
            function()
            return True

        return self._plugins.guard(owner, f"server extension {spec.name}", succeeded, default=False)

    # Loading

    def load(self, target: Target) -> Any:
        """Import the object that `package.module:attribute` names; a callable is returned as it is. Raises
        `PluginFailure` naming the plugin it belongs to."""
        if not isinstance(target, str):
            return target
        owner = self._targets.get(target) or Plugin(PluginRecord(name=target.partition(".")[0].partition(":")[0]))
        try:
            module, _, attributes = target.partition(":")
            loaded: Any = importlib.import_module(module)
            for attribute in attributes.split("."):
                loaded = getattr(loaded, attribute)
            return loaded
        except MlxkError:
            raise
        except (Exception, SystemExit) as error:
            raise self._plugins.record_failure(
                owner, f"{target} cannot be loaded: {describe_error(error)}", error
            ) from error

    def targets(self) -> list[str]:
        """Every target that some plugin names; `mlxk plugins --check` loads them all."""
        self.plugins()
        return sorted(target for target in self._targets if isinstance(target, str))

    # Private

    @cached_property
    def _commands(self) -> Registry[CommandSpec]:
        claims = self._own_targets("mlxk_commands", CommandSpec, lambda spec: (spec.target,))
        return Registry("command", claims, aliases=lambda spec: spec.aliases, reserved=BUILTIN_COMMANDS)

    @cached_property
    def _backends(self) -> Registry[BackendSpec]:
        targets = self._own_targets(
            "mlxk_backends", BackendSpec, lambda spec: (spec.target, *([spec.estimate] if spec.estimate else []))
        )
        return Registry("backend", targets)

    @cached_property
    def _extractors(self) -> Registry[ReasoningExtractorSpec]:
        claims = self._own_targets(
            "mlxk_reasoning_extractors",
            ReasoningExtractorSpec,
            lambda spec: (spec.target, *([spec.grammar] if spec.grammar else [])),
        )
        return Registry("reasoning format", claims, reserved=("none",))

    @cached_property
    def _constraints(self) -> Registry[ConstraintSpec]:
        return Registry(
            "constraint", self._own_targets("mlxk_constraints", ConstraintSpec, lambda spec: (spec.target,))
        )

    @cached_property
    def _source_specs(self) -> Registry[ModelSourceSpec]:
        claims = self._own_targets("mlxk_model_sources", ModelSourceSpec, lambda spec: (spec.target,))
        return Registry("model source", claims)

    @cached_property
    def _server_extensions(self) -> Registry[ServerExtensionSpec]:
        claims = self._own_targets("mlxk_server_extensions", ServerExtensionSpec, lambda spec: (spec.target,))
        return Registry("server extension", claims)

    @cached_property
    def _sources(self) -> list[tuple[ModelSourceSpec, ModelSource]]:
        made: list[tuple[ModelSourceSpec, ModelSource]] = []
        for plugin, spec in self._source_specs.entries():
            source = self._plugins.guard(plugin, f"model source {spec.name}", partial(self._make, spec), default=None)
            if source is not None:
                made.append((spec, _IsolatedSource(self._plugins, plugin, source)))
        return made

    def _make(self, spec: ModelSourceSpec) -> ModelSource:
        source: ModelSource = self.load(spec.target)()
        return source

    def _forget(self) -> None:
        for name in tuple(self.__dict__):
            if isinstance(getattr(type(self), name, None), cached_property):
                del self.__dict__[name]

    def _collect(self, hook: str, of: type[_T], **arguments: object) -> list[tuple[Plugin, _T]]:
        return self._plugins.collect(hook, of, **arguments)

    def _own_targets(
        self, hook: str, of: type[_T], targets: Callable[[_T], Iterable[Target]]
    ) -> list[tuple[Plugin, _T]]:
        claims = self._collect(hook, of)
        for plugin, spec in claims:
            self._targets.update(dict.fromkeys(targets(spec), plugin))
        return claims

    def _judge(
        self, plugin: Plugin, what: str, judge: Callable[[Model], Any], model: Model, of: type[_T], *, default: _D
    ) -> _T | _D:
        """A plugin's opinion of a model. That the model's files cannot be read is not the plugin's failure."""

        def asked() -> _T | _D:
            try:
                answer = judge(model)
            except ModelError:
                return default
            if answer is not None and not isinstance(answer, of):
                raise TypeError(f"it gives {type(answer).__name__}, not {of.__name__}")
            return default if answer is None else answer

        return self._plugins.guard(plugin, what, asked, default=default)

    def _verdict(self, plugin: Plugin, spec: BackendSpec, model: Model) -> tuple[Verdict, ModelError | None]:
        errors: list[ModelError] = []

        def accepts(model: Model) -> Verdict:
            try:
                return spec.accepts(model)
            except ModelError as error:
                errors.append(error)
                return Verdict.no(str(error))

        failed = Verdict.no("its check of the model failed, see `mlxk plugins`")
        verdict = self._judge(plugin, f"accepts of {spec.name}", accepts, model, Verdict, default=failed)
        return verdict, errors[0] if errors else None

    def _unsupported(self, model: Model, verdicts: list[tuple[str, Verdict]]) -> UnsupportedModel:
        reasons = {name: verdict.reason for name, verdict in verdicts}
        refusals = [f"{v.reason} ({name})" for name, v in verdicts if v.answer == "no"]
        told = "; ".join(refusals or [f"{v.reason} ({name})" for name, v in verdicts])
        if not told:
            told = " ".join(map(str, self._backends.contested.values())) or "there is no backend"
        if not refusals and (missing := self._missing_backend(model)):
            told = f"{told.rstrip('.')}. {missing}"
        return UnsupportedModel(f"`{model.name}` cannot be run: {told}", model=model.name, reasons=reasons)

    def _missing_backend(self, model: Model) -> str | None:
        """Where the backend of ours comes from that runs such files; None if it is here."""
        gguf = model.gguf_path is not None or (bool(model.variants) and not model.has_other_weights)
        name = "gguf" if gguf else "mlx"
        if name in self._backends.contested or self._backends.get(name):
            return None
        distribution, files = FIRST_PARTY_BACKENDS[name]
        return f"{files} run with {distribution}{self._state_of(distribution)}"

    def _off(self, plugin: Plugin, spec: CommandSpec) -> str | None:
        if spec.requires is None:
            return None
        failed = "its check failed, see `mlxk plugins`"
        return self._plugins.guard(plugin, f"requires of {spec.name}", spec.requires, default=failed)

    def _unknown_command(self, name: str) -> UsageError:
        import difflib  # only for this sentence

        from mlxk_core._host.synonyms import COMMAND_ADVICE, COMMAND_SYNONYMS

        distribution = FIRST_PARTY.get(name)
        known = {*BUILTIN_COMMANDS, *(spec.name for spec in self.commands())}
        synonym = COMMAND_SYNONYMS.get(name)
        close = [synonym] if synonym in known else difflib.get_close_matches(name, sorted(known), n=1)
        if distribution:
            hint = f"It comes with {distribution}{self._state_of(distribution)}"
        elif name in COMMAND_ADVICE:
            hint = COMMAND_ADVICE[name]
        elif close:
            hint = f"Did you mean `{close[0]}`?"
        else:
            hint = "`mlxk --help` lists them."
        return UsageError(f"No such command `{name}`. {hint}", command=name, distribution=distribution)

    def _state_of(self, distribution: str) -> str:
        """Why something that a distribution of ours brings is not here: the end of the sentence that names both."""
        owners = [plugin.record for plugin in self._plugins.plugins]
        owner = next(
            (record for record in owners if distribution in (record.distribution, f"mlxk-{record.name}")), None
        )
        if owner is None:
            return f": pip install {distribution}"
        if owner.status == "disabled":
            return f", which {owner.reason} turns off."
        if owner.status == "failed":
            return f", which failed: {owner.reason}."
        return f", but {owner.label} does not have it."

    def _complete(self, plugin: Plugin) -> PluginRecord:
        provides = [f"command {s.name}" for p, s in self._commands.entries() if p is plugin and not self._off(p, s)]
        kinds: tuple[Registry[Any], ...] = (
            self._backends,
            self._source_specs,
            self._extractors,
            self._constraints,
            self._server_extensions,
        )
        for registry in kinds:
            provides += [f"{registry.kind} {spec.name}" for owner, spec in registry.entries() if owner is plugin]
        detectors = self._collect("mlxk_quantization_detectors", QuantizationDetectorSpec)
        provides += [f"quantization detector {spec.name}" for owner, spec in detectors if owner is plugin]
        if "mlxk_stop_policies" in plugin.hooks:
            provides.append("stop policy")
        lost = [sentence for registry in (self._commands, *kinds) for sentence in registry.names_lost_by(plugin)]
        reason = plugin.record.reason or plugin.needs_other_core()
        return replace(plugin.record, provides=tuple(provides), reason=reason, conflicts=tuple(lost))


def _all(detect: Callable[[Model], Iterable[_T]], of: type[_T]) -> Callable[[Model], list[_T]]:
    def detected(model: Model) -> list[_T]:
        facts = list(detect(model))
        for fact in facts:
            if not isinstance(fact, of):
                raise TypeError(f"it gives {type(fact).__name__}, not {of.__name__}")
        return facts

    return detected


def _unknown(option: str, name: str, known: Iterable[Named], *, also: str = "", hint: str = "") -> InvalidOption:
    names = [spec.name for spec in known] + ([also] if also else [])
    return InvalidOption(option, f"`{name}` is not known; there is {', '.join(names) or 'none'}{hint}")


def _owned(entries: Iterable[tuple[Plugin, Named]]) -> str:
    return ", ".join(f"{spec.name} (plugin {plugin.label})" for plugin, spec in entries)
