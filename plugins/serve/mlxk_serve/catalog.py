"""Which models a client may name: those on this machine that can be run, and those the server was started with."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

from mlxk_core import __version__
from mlxk_core.api.errors import AmbiguousModel, MlxkError, ModelNotFound, UsageError
from mlxk_core.api.host import Host
from mlxk_core.api.models import Facts, Model, Resolver, check_health, model_context_length

_FRESH_SECONDS = 1.0


class Catalog:
    """Names and the models behind them. A client names a model as the list does; a path means nothing to it."""

    def __init__(self, host: Host, is_loaded: Callable[[Model], bool]) -> None:
        self._host = host
        self._is_loaded = is_loaded
        self._resolver = Resolver(host)
        self._pinned: dict[str, Model] = {}
        self._known: dict[str, tuple[float, Model]] = {}
        self._facts: dict[Model, dict[str, Any]] = {}
        self._accepted: set[Model] = set()

    def pin(self, reference: str) -> Model:
        """Resolves what the server was started with, a path included, and lists it by its name."""
        model = self._resolver.resolve(reference)
        if self._pinned.setdefault(model.name, model) != model:
            raise UsageError(f"Two different models of --model are called `{model.name}`; one name can serve one.")
        return model

    def get(self, name: str) -> Model:
        """The model a client means. Raises `ModelNotFound`, or what is wrong with the one that is listed."""
        if name in self._pinned:
            return self._pinned[name]
        now = time.monotonic()
        seen, known = self._known.get(name, (float("-inf"), None))
        if known is not None and now - seen < _FRESH_SECONDS:
            return known
        model = self._resolver.exact(name)
        blanks = name.split() != [name]
        if model is None or (blanks and name != model.name):  # the command line forgives blanks; here a name is a name
            self._known.pop(name, None)
            raise ModelNotFound(name, hint="`GET /v1/models` lists what is.")
        if model == known and self._is_loaded(model):
            model = known  # it remembers what it has read of its files, which may change until it is loaded
        self._known[name] = (now, model)
        return model

    def entry(self, name: str, model: Model) -> dict[str, Any]:
        """A model as OpenAI describes one, and what else is good to know. Raises `MlxkError` for a damaged one."""
        facts = self._facts.get(model)
        if facts is None:
            facts = self._facts[model] = {
                "created": int(model.path.stat().st_mtime),
                "owned_by": _owner(model),
                "context_length": model_context_length(model),
                "capabilities": self._capabilities(model),
            }
        return {"id": name, "object": "model", **facts, "loaded": self._is_loaded(model)}

    def names(self) -> list[str]:
        """Return the name of every model that can be run, sorted."""
        return [entry["id"] for entry in self.entries()]

    def entries(self) -> list[dict[str, Any]]:
        """Every model that can be named and run, by name. A damaged one is left out: `mlxk health` is for those."""
        found: dict[str, dict[str, Any]] = {}
        for name, model in [*self._here(), *self._pinned.items()]:
            try:
                if self._is_runnable(model):
                    found[name] = self.entry(name, model)
            except (MlxkError, OSError):
                continue
        return [found[name] for name in sorted(found)]

    def _here(self) -> list[tuple[str, Model]]:
        here: list[tuple[str, Model]] = []
        for model in self._resolver.all():
            try:
                here += self._runnable(model) if model.variants else [(model.name, model)]
            except (MlxkError, OSError):
                continue
        return here

    def _runnable(self, model: Model) -> list[tuple[str, Model]]:
        """A repository of GGUF files by its name if that means one variant, else each variant by its own."""
        try:
            names = [model.name] if self._resolver.exact(model.name) else []
        except AmbiguousModel as error:
            names = list(error.candidates)
        named = ((name, self._resolver.exact(name)) for name in names)
        return [(name, variant) for name, variant in named if variant is not None]

    def _is_runnable(self, model: Model) -> bool:
        """Looked at until it is, and not again: what is damaged later is told to who asks for it."""
        if model not in self._accepted:
            accepted = any(verdict.accepted for _, verdict in self._host.verdicts(model))
            if accepted and check_health(model).once_accepted.healthy:
                self._accepted.add(model)
        return model in self._accepted

    def _capabilities(self, model: Model) -> list[str]:
        more = {
            "tools": "tools" in Facts(model).capabilities,
            "reasoning": self._host.reasoning_format(model) is not None,
        }
        return ["chat", "completions", *(name for name, holds in more.items() if holds)]


def _owner(model: Model) -> str:
    owner, slash, _ = model.name.partition("/")
    return owner if slash else model.source or "local"


def fingerprint(model: Model) -> str:
    """Stands for the program and the weights behind an answer."""
    facts = f"{__version__} {model.name} {model.revision or model.path} {model.variant or ''}"
    return f"fp_{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
