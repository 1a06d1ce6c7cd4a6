"""The models that clients may name: those on this machine that can be run, and those given with --model."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from mlxk_core import __version__
from mlxk_core.api.errors import MlxkError, ModelNotFound, SystemLimit, UsageError
from mlxk_core.api.host import Host
from mlxk_core.api.models import (
    FileIdentity,
    FileIdentityCache,
    Model,
    NameReference,
    Resolver,
    file_identity,
    full_name,
    parse_reference,
    similar_name,
)
from mlxk_serve.model_examiner import ExaminedModel, ModelExaminer

_FRESH_SECONDS = 1.0
_MOST_NAMES = 1024
_MOST_FRESH = 4
"""Models that keep what was read of their files for the next request: it may take a hundred megabytes for each."""
_LONGEST_NAME = 512
_SHORTEST_PART = 3
"""Characters of a name that are taken for a part of another."""


class ModelObject(msgspec.Struct, kw_only=True):
    """A model as OpenAI and Anthropic describe one, with what mlxk adds. `max_model_len` is vLLM's name of
    `context_length`, `max_input_tokens` Anthropic's. `capabilities` is null for Anthropic's clients, where it is an
    object."""

    id: str
    object: str = "model"
    type: str = "model"
    display_name: str
    created: int
    created_at: str
    owned_by: str
    context_length: int | None
    max_model_len: int | None
    max_input_tokens: int | None
    capabilities: list[str] | None
    tools: Literal["native", "generic"] | None
    lifecycle: str = "active"
    loaded: bool


class ModelList(msgspec.Struct):
    """`GET /v1/models`: all models, or the page that an Anthropic client asks for."""

    data: list[ModelObject]
    object: str = "list"
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None


@dataclass
class _Names:
    """Resolved names, shared by all threads. The models of the `fresh` ones keep what was read of their files."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    resolved: dict[str, tuple[float, Model]] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)

    def add(self, name: str, model: Model, now: float) -> None:
        """Note that `name` means `model`, and drop what was read of models that have been there longer."""
        if len(self.resolved) >= _MOST_NAMES:
            self.resolved.clear()
        self.resolved[name] = (now, model)
        self.fresh = [*(each for each in self.fresh if each != name and each in self.resolved), name]
        while len(self.fresh) > _MOST_FRESH or now - self.resolved[self.fresh[0]][0] >= _FRESH_SECONDS:
            old = self.fresh.pop(0)
            seen, read = self.resolved[old]
            self.resolved[old] = (seen, replace(read))


class LoadedModels(Protocol):
    """Which models are loaded (`GenerationService`)."""

    def is_loaded(self, model: Model, /) -> bool: ...

    def loaded_models(self) -> list[Model]: ...

    def retire(self, *models: Model) -> None: ...


class Catalog:
    """Names and their models. Clients use the names of the list; paths and partial names mean nothing to a server.

    `aliases` maps patterns (`gpt-*`) to the names of models. Safe for use by several threads.
    """

    def __init__(
        self,
        host: Host,
        loaded: LoadedModels,
        aliases: Mapping[str, str] = {},
        *,
        generic_tools: bool = True,
    ) -> None:
        self._host = host
        self._is_loaded = loaded.is_loaded
        self._loaded = loaded
        self._aliases = dict(aliases)
        self._resolver = Resolver(host)
        self._pinned: dict[str, Model] = {}
        self._names = _Names()
        self._examiner = ModelExaminer(host, generic_tools=generic_tools)
        self._listing = threading.Lock()
        self._listed: list[tuple[str, Model, ExaminedModel]] = []
        self._listed_at = float("-inf")
        self._naming = threading.Lock()
        self._known: list[str] = []
        self._known_at = float("-inf")
        self._variants = FileIdentityCache(self._runnable_variants)

    def pin(self, reference: str) -> Model:
        """Resolve a model of --model, also a path, and list it by its name. Call it before the server starts."""
        model = self._resolver.resolve(reference)
        if self._pinned.setdefault(model.name, model) != model:
            raise UsageError(f"--model: two different models are named `{model.name}`.")
        return model

    def get(self, name: str) -> Model:
        """Return the model that a client means. Raises `ModelNotFound`, or the error of a damaged one."""
        if len(name) > _LONGEST_NAME:  # comparing megabytes with every known name takes seconds
            raise ModelNotFound(f"{name[:_LONGEST_NAME]}…", hint="`GET /v1/models` lists the available models.")
        if model := self._exact(name):
            return model
        for pattern, target in self._aliases.items():
            if fnmatchcase(name, pattern):
                if model := self._exact(target):
                    return model
                raise ModelNotFound(target, hint=f"`{name}` is an alias of it.")
        if "/" not in name and (owned := self._with_owner(name)):  # some clients cut names at the slash
            return owned
        raise ModelNotFound(name, hint=self._hint(name))

    def loaded(self, name: str) -> list[Model]:
        """Return the loaded models that a client means by `name`: also one that was deleted, or replaced by another
        revision of that name, which `get` does not return.

        Raises what `get` raises if there is no such model, neither loaded nor in the cache.
        """
        meant: Model | None = None
        error: MlxkError | None = None
        loaded = self._loaded.loaded_models()  # before the look that may retire a deleted one
        try:
            meant = self.get(name)
        except MlxkError as raised:
            error = raised
        names = {name, *(target for pattern, target in self._aliases.items() if fnmatchcase(name, pattern))}
        names |= {self._host.settings.expand(each) for each in names}
        found = [model for model in loaded if any(_is_meant(model, each, meant) for each in names)]
        if error is not None and not found:
            raise error
        return found

    def default(self) -> str | None:
        """Return the model of requests without a name: the only one of --model, else that of the settings, else the
        only one that is loaded, else the only one that can be run.

        None if there are several.
        """
        if len(self._pinned) == 1:
            return next(iter(self._pinned))
        if not self._pinned and self._host.settings.default_model is not None:
            return self._host.settings.default_model
        with self._names.lock:
            known = {name: model for name, (_, model) in self._names.resolved.items()}
        loaded = {model: name for name, model in {**known, **self._pinned}.items() if self._is_loaded(model)}
        names = list(loaded.values()) or [name for name, _, _ in self._recently_listed()]
        return names[0] if len(names) == 1 else None

    def entry(self, name: str, model: Model) -> ModelObject:
        """Describe a model. Raises `MlxkError` for a damaged one."""
        return self._object(name, model, self._examiner.describe(model))

    def names(self) -> list[str]:
        """Return the name of every model that can be run, sorted."""
        return [name for name, _ in self.all()]

    def all(self) -> list[tuple[str, Model]]:
        """Return every model that can be run with its name, sorted by name.

        Looks through the cache; while another thread does, returns what it found last.
        """
        return [(name, model) for name, model, _ in self._list()]

    def _list(self) -> list[tuple[str, Model, ExaminedModel]]:
        if not self._listing.acquire(blocking=not self._listed):
            return self._listed
        try:
            found: dict[str, tuple[Model, ExaminedModel]] = {}
            for name, model, identity in self._present_models():
                if not _is_text(name):
                    continue
                with _skip_damaged():
                    examined = self._examiner.examine(model, identity)
                    if examined.runnable:
                        found[name] = model, examined
            self._examiner.forget_deleted(keep=[model for model, _ in found.values()])
            self._variants.forget_deleted(keep=())
            self._retire_deleted()
            self._listed = sorted(((name, *each) for name, each in found.items()), key=lambda each: each[0])
            self._listed_at = time.monotonic()
            return self._listed
        finally:
            self._listing.release()

    def entries(self) -> list[ModelObject]:
        """Describe every model that can be run, sorted by name. Damaged ones are for `mlxk health`."""
        return [self._object(*each) for each in self._list()]

    def _exact(self, name: str) -> Model | None:
        """Return the model of exactly that name; None if there is none. A model keeps what was read of its files, which
        may change: while it is loaded it is the one that was loaded, else a new one each second."""
        pinned = self._pinned.get(name)
        now = time.monotonic()
        with self._names.lock:
            seen, known = self._names.resolved.get(name, (float("-inf"), None))
            keeps_files = name in self._names.fresh
        if known is not None and now - seen < _FRESH_SECONDS:
            return known if keeps_files else replace(known)
        model = self._resolver.exact(name) if pinned is None else replace(pinned)
        if known is not None and model != known:
            self._loaded.retire(known)  # deleted, or replaced by another revision
        spaced = pinned is None and name.split() != [name]
        if model is None or (spaced and name != model.name):  # only the command line strips white space
            with self._names.lock:
                self._names.resolved.pop(name, None)
            return None
        model = next((loaded for loaded in self._loaded.loaded_models() if loaded == model), model)
        with self._names.lock:
            self._names.add(name, model, now)
        return model

    def _hint(self, name: str) -> str:
        """Return what to do about an unknown name: the name it may mean, else where the names are."""
        names = [
            *self._known_names(),
            *(alias for alias in self._aliases if "*" not in alias),
        ]
        at_ollama = name.replace(":", "-")  # qwen3:0.6b
        meant = similar_name(name, names)
        if meant is None and at_ollama != name:
            meant = similar_name(at_ollama, names)
        if meant:
            return f"Did you mean `{meant}`?"
        parts = [known for known in names if len(name) >= _SHORTEST_PART and name.casefold() in known.casefold()]
        return f"Did you mean `{parts[0]}`?" if len(parts) == 1 else "`GET /v1/models` lists the available models."

    def _with_owner(self, name: str) -> Model | None:
        base, separator, variant = name.partition(":")
        possible = [full for full in self._known_names() if full.rpartition("/")[2] in (name, base)]
        if not possible:
            return None
        if len(possible) == 1:
            [full] = possible
            return self._exact(full if full.endswith(f"/{name}") else full + separator + variant)
        owned = [model for full, model, _ in self._recently_listed() if full.rpartition("/")[2] == name]
        return owned[0] if len(owned) == 1 else None

    def _known_names(self) -> list[str]:
        """Return the names of all models, also of those that cannot be run: clients may send any number of unknown
        names, and a look at the files of thousands of models takes minutes."""
        if not self._naming.acquire(blocking=not self._known):
            return self._known
        try:
            if time.monotonic() - self._known_at >= _FRESH_SECONDS:
                self._known = [name for name in [*self._resolver.names(), *self._pinned] if _is_text(name)]
                self._known_at = time.monotonic()
            return self._known
        finally:
            self._naming.release()

    def _recently_listed(self) -> list[tuple[str, Model, ExaminedModel]]:
        """Return `_list`, or what it returned within the last second."""
        return self._listed if time.monotonic() - self._listed_at < _FRESH_SECONDS else self._list()

    def _retire_deleted(self) -> None:
        """Let loaded models go whose files were deleted; those of --model stay."""
        pinned = list(self._pinned.values())
        deleted = [m for m in self._loaded.loaded_models() if m not in pinned and _is_gone(m.path)]
        if deleted:
            self._loaded.retire(*deleted)

    def _present_models(self) -> Iterator[tuple[str, Model, FileIdentity | None]]:
        """Yield the models of the cache, then those of --model, with the identity of their files where it is known."""
        for model in self._resolver.all():
            with _skip_damaged():
                identity = file_identity(model.path)
                for name, variant in self._variants.get(model, identity):
                    yield name, variant, identity
        for name, model in self._pinned.items():
            yield name, model, None

    def _runnable_variants(self, model: Model) -> list[tuple[str, Model]]:
        return [(name, replace(variant)) for name, variant in self._resolver.runnable(model)]  # without what was read

    def _object(self, name: str, model: Model, examined: ExaminedModel) -> ModelObject:
        return ModelObject(
            id=name,
            display_name=name,
            created=examined.created,
            created_at=datetime.fromtimestamp(examined.created, UTC).isoformat().replace("+00:00", "Z"),
            owned_by=_owner(model),
            context_length=examined.context_length,
            max_model_len=examined.context_length,
            max_input_tokens=examined.context_length,
            capabilities=list(examined.capabilities),
            tools=examined.tools,
            loaded=self._is_loaded(model),
        )


@contextmanager
def _skip_damaged() -> Iterator[None]:
    """Leave out a model that cannot be run or is deleted meanwhile. A list without a good one would be wrong, so
    `SystemLimit` passes."""
    try:
        yield
    except SystemLimit:
        raise
    except (MlxkError, OSError):
        pass


def _is_text(name: str) -> bool:
    """Return whether a name can be sent: the bytes of a folder or a file need not be UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_meant(model: Model, name: str, meant: Model | None) -> bool:
    """Return whether a client means the loaded `model` by `name`, which is that of `meant` in the cache.

    A name without a variant or a revision means all of them: the lists of loaded models show no more than the name.
    """
    if model == meant:
        return True
    reference = parse_reference(name)
    if not isinstance(reference, NameReference):
        return False
    return (
        model.name in (reference.name, full_name(reference.name), name if meant is None else meant.name)
        and (not reference.revision or model.revision == reference.revision)
        and (not reference.variant or model.variant == reference.variant)
    )


def _is_gone(path: Path) -> bool:
    try:
        return not path.exists()
    except OSError:  # a folder that cannot be read now
        return False


def _owner(model: Model) -> str:
    owner, slash, _ = model.name.partition("/")
    return owner if slash else model.source or "local"


def fingerprint(model: Model) -> str:
    """Return an id of the program and the weights that generate a response."""
    facts = f"{__version__} {model.name} {model.revision or model.path} {model.variant or ''}"
    return f"fp_{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
