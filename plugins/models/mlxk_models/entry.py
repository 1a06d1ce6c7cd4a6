"""What list, show and health know of one model, gathered once; and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from mlxk_core.api import Model, Quantization
from mlxk_core.errors import ModelError, PluginConflict
from mlxk_core.host import Host
from mlxk_core.models.facts import Facts
from mlxk_core.models.health import Health, check
from mlxk_models import words


@dataclass(frozen=True)
class Entry:
    """One model as `host` sees it. Everything is found out when it is first asked for: a list of names costs little."""

    model: Model
    host: Host

    @cached_property
    def modified(self) -> datetime | None:
        """When the files came here, UTC; None when they are not here."""
        try:
            return datetime.fromtimestamp(self.model.path.stat().st_mtime, tz=UTC)
        except OSError:
            return None

    @cached_property
    def facts(self) -> Facts:
        return Facts(self.model)

    @cached_property
    def quantizations(self) -> Sequence[Quantization]:
        return tuple(self.host.quantizations(self.model))

    @cached_property
    def health(self) -> Health:
        return check(self.model)

    # Who runs it

    @cached_property
    def backend(self) -> str | None:
        """The backend that would run it; None if none does, or if the user has to choose."""
        return self._judged[0]

    @property
    def accepted(self) -> bool:
        """Some backend accepts the model, whatever the state of its files."""
        return bool(self._accepting)

    @property
    def runs(self) -> bool:
        return self.accepted and self.health.healthy

    @property
    def reason(self) -> str | None:
        """Why it does not run here, or what has to be chosen before it does."""
        if not self.health.healthy:
            return self.health.reason
        return self._judged[1]

    def format_runs(self, quantization: Quantization) -> bool:
        """Some backend accepts the weights of that format."""
        if quantization.format == "gguf":
            return bool(self._variant_backends)
        if quantization.format == "pytorch" and any(each.format == "safetensors" for each in self.quantizations):
            return False  # where both are, safetensors are what is run
        return bool(self._whole_backends - self._variant_backends)

    @cached_property
    def _whole_backends(self) -> frozenset[str]:
        return self._accepted_by(replace(self.model, variant=None) if self.model.variant else self.model)

    @cached_property
    def _variant_backends(self) -> frozenset[str]:
        """Those that run one of the GGUF variants."""
        variants = self.model.variants
        if self.model.gguf_variant:
            return self._accepted_by(self.model)
        return frozenset[str]().union(*(self._accepted_by(replace(self.model, variant=v.name)) for v in variants))

    @property
    def _accepting(self) -> frozenset[str]:
        if self.model.variant:
            return self._variant_backends
        return self._whole_backends | self._variant_backends

    def _accepted_by(self, model: Model) -> frozenset[str]:
        return frozenset(spec.name for spec, verdict in self.host.verdicts(model) if verdict.accepted)

    @cached_property
    def _judged(self) -> tuple[str | None, str | None]:
        try:
            return self.host.backend_for(self.model).name, None
        except PluginConflict as conflict:
            return None, str(conflict)
        except ModelError as error:
            if len(self._accepting) == 1:  # one of several GGUF variants: the model as a whole is nobody's
                return next(iter(self._accepting)), None
            return None, str(error)

    # JSON

    def as_json(self) -> dict[str, Any]:
        model = self.model
        return {
            "name": model.name,
            "revision": model.revision,
            "origin": model.origin,
            "source": model.source,
            "path": str(model.path),
            "size_bytes": model.size,
            "modified": words.timestamp(self.modified) if self.modified else None,
            "framework": self.facts.framework,
            "type": self.facts.type,
            "capabilities": list(self.facts.capabilities),
            "quantization": [self._quantization(each) for each in self.quantizations],
            "healthy": self.health.healthy,
            "problems": problems_as_json(self.health),
            "runnable": self.runs,
            "backend": self.backend if self.runs else None,
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
            "satisfied": satisfied(each),
            "runnable": self.format_runs(each),
            "variants": [
                {"name": v.name, "size": v.size, "shards": v.shards, "complete": v.complete} for v in each.variants
            ],
        }


def problems_as_json(health: Health) -> list[dict[str, Any]]:
    return [{"code": each.code, "message": each.message, "file": each.file} for each in health.problems]


def satisfied(quantization: Quantization) -> bool | None:
    """The MLX installed here is new enough; None when any version is."""
    if quantization.requires_mlx is None:
        return None
    installed = installed_mlx()
    return installed is not None and words.at_least(installed, quantization.requires_mlx)


def installed_mlx() -> str | None:
    """The version of MLX, without importing it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mlx")
    except PackageNotFoundError:
        return None
