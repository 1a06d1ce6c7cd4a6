"""One model as list, show and health present it, computed on demand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from mlxk_core.api import BackendSpec, Model, Quantization
from mlxk_core.api.errors import ModelError, PluginConflict
from mlxk_core.api.host import Host
from mlxk_core.api.models import Facts, Health, StopToken, check_health, listed_stop_tokens, partial_downloads
from mlxk_core.api.text import human_size, plural
from mlxk_models import humanize


@dataclass(frozen=True)
class Entry:
    """A model with facts from `host`. Every property is computed on first use, so a list of names is cheap."""

    model: Model
    host: Host

    @property
    def size(self) -> int:
        return self.model.size

    @cached_property
    def modified(self) -> datetime | None:
        return self.model.downloaded_at

    @cached_property
    def facts(self) -> Facts:
        return Facts(self.model, self.host.finds_tool_calls)

    @cached_property
    def quantizations(self) -> Sequence[Quantization]:
        return tuple(self.host.quantizations(self.model))

    @cached_property
    def health(self) -> Health:
        return self._health_of(self.model)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user that are not problems."""
        sizes = partial_downloads(self.model) if self.model.path.exists() and self.health.healthy else ()
        if not sizes:
            return ()
        files = plural(len(sizes), "partial file")
        return (
            f"An interrupted download left {files} ({human_size(sum(sizes))}). `mlxk pull {self.model.name}` removes "
            f"{'it' if len(sizes) == 1 else 'them'}.",
        )

    @property
    def framework(self) -> str:
        """The framework; where the files do not say, that of the backend that runs the model."""
        found = self.facts.framework
        return (self._spec.framework or found) if found == "unknown" and self._spec else found

    @property
    def type(self) -> str:
        """The purpose; where the files do not say, that of the models of the backend that runs it."""
        found = self.facts.type
        return (self._spec.type or found) if found == "unknown" and self._spec else found

    @cached_property
    def _spec(self) -> BackendSpec | None:
        return next((spec for spec in self.host.backends() if spec.name == self.backend), None)

    @cached_property
    def stop_tokens(self) -> Sequence[StopToken]:
        """The tokens that end an answer, as the engine of the model has them; none if the files are damaged."""
        terminator = None
        spec = self._spec
        if spec is not None and spec.renderer is not None and self.facts.chat_template is not None:
            from mlxk_core.api.generation import turn_terminator  # not for `mlxk list`

            with contextlib.suppress(ModelError):
                terminator = turn_terminator(self.host.load(spec.renderer)(self.model), self.model)
        with contextlib.suppress(ModelError):
            return listed_stop_tokens(self.model, self.host.stop_policies(self.model), terminator)
        return ()

    # Backends

    @cached_property
    def views(self) -> tuple[Model, ...]:
        """The models that a run may use: this one, or each of its GGUF variants if none is chosen."""
        model = self.model
        if not model.variants or model.gguf_variant is not None:
            return (model,)
        whole = (model,) if model.has_other_weights else ()
        return (*whole, *(replace(model, variant=variant.name) for variant in model.variants))

    @cached_property
    def runnable(self) -> tuple[Model, ...]:
        """The views that a backend accepts and whose files are complete."""
        return tuple(view for view in self.views if self._accepting[view.variant] and self._health_of(view).healthy)

    @property
    def runs(self) -> bool:
        return bool(self.runnable)

    @cached_property
    def backend(self) -> str | None:
        """The backend that runs the model; None if none does, or if the user must choose one."""
        names = {name for view in self.runnable for name in self._accepting[view.variant]}
        return next(iter(names)) if len(names) == 1 else None

    @property
    def runs_with(self) -> str | None:
        """The backend as text; None if none runs the model."""
        return (self.backend or "several backends") if self.runs else None

    @cached_property
    def reason(self) -> str | None:
        """Why the model cannot run, or what must be chosen first."""
        if not self.runnable:
            return "; ".join(self._objections())
        if self.model in self.runnable:
            return _objection(self.host, self.model)
        if len(self.runnable) > 1:
            return f"Choose a variant: {', '.join(map(_reference, self.runnable))}."
        return None

    def format_runs(self, quantization: Quantization) -> bool:
        """Return whether a backend accepts the weights of that format."""
        as_gguf = frozenset[str]().union(*(self._accepting[view.variant] for view in self.views if view.gguf_variant))
        if quantization.format == "gguf":
            return bool(as_gguf)
        if quantization.format == "pytorch" and any(each.format == "safetensors" for each in self.quantizations):
            return False  # safetensors are preferred
        whole = (
            self._accepting[None] if None in self._accepting else self._accepted_by(replace(self.model, variant=None))
        )
        return bool(whole - as_gguf)

    def _objections(self) -> Iterator[str]:
        variants_by_objection: dict[str, list[str]] = {}
        for view in self.views:
            if objection := self._health_of(view).reason or _objection(self.host, view):
                variants_by_objection.setdefault(objection, []).append(view.variant or "")
        for objection, variants in variants_by_objection.items():
            yield f"{', '.join(variants)}: {objection}" if len(self.views) > 1 and all(variants) else objection

    def _health_of(self, view: Model) -> Health:
        found = check_health(view)
        return found.once_accepted if not found.healthy and self._accepted_by(view) else found

    @cached_property
    def _accepting(self) -> Mapping[str | None, frozenset[str]]:
        """The backends that accept each view, by its variant."""
        return {view.variant: self._accepted_by(view) for view in self.views}

    def _accepted_by(self, model: Model) -> frozenset[str]:
        return frozenset(spec.name for spec, verdict in self.host.verdicts(model) if verdict.accepted)

    # JSON

    def as_json(self) -> dict[str, Any]:
        model = self.model
        return {
            "name": model.name,
            "revision": model.revision,
            "origin": model.origin,
            "source": model.source,
            "path": str(model.path),
            "size_bytes": self.size,
            "modified": humanize.timestamp(self.modified) if self.modified else None,
            "framework": self.framework,
            "type": self.type,
            "capabilities": list(self.facts.capabilities),
            "quantization": [self._quantization(each) for each in self.quantizations],
            "healthy": self.health.healthy,
            "state": self.health.state,
            "problems": problems_as_json(self.health),
            "runnable": self.runs,
            "backend": self.backend,
            "reason": self.reason,
        }

    def _quantization(self, each: Quantization) -> dict[str, Any]:
        return {
            "format": each.format,
            "label": each.label,
            "method": each.method,
            "mode": each.mode,
            "bits": each.bits,
            "group_size": each.group_size,
            "bits_per_weight": each.bits_per_weight,
            "mixed": each.mixed,
            "requires_mlx": each.requires_mlx,
            "satisfied": has_required_mlx(each),
            "runnable": self.format_runs(each),
            "variants": [
                {"name": v.name, "size": v.size, "shards": v.shards, "complete": v.complete} for v in each.variants
            ],
        }


def _objection(host: Host, model: Model) -> str | None:
    """Return why no backend runs the model, or why none can be chosen."""
    try:
        host.backend_for(model)
    except (ModelError, PluginConflict) as error:
        return str(error)
    return None


def _reference(model: Model) -> str:
    return f"{model.name}:{model.variant}" if model.variant else model.name


def problems_as_json(health: Health) -> list[dict[str, Any]]:
    return [{"code": each.code, "message": each.message, "file": each.file} for each in health.problems]


def has_required_mlx(quantization: Quantization) -> bool | None:
    """Return whether the installed MLX is recent enough; None if any version is."""
    if quantization.requires_mlx is None:
        return None
    installed = installed_mlx()
    return installed is not None and humanize.at_least(installed, quantization.requires_mlx)


def installed_mlx() -> str | None:
    """Return the installed version of MLX, without importing it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mlx")
    except PackageNotFoundError:
        return None
