"""Models as Ollama lists and describes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from mlxk_core.api import Model
from mlxk_core.api.errors import BrokenModel, MlxkError, ModelError, ModelNotFound
from mlxk_core.api.generation import ResidentModel, model_sampling
from mlxk_core.api.models import Facts, FileIdentityCache, model_context_length
from mlxk_core.api.server import ServerContext
from mlxk_ollama.encoders import timestamp

LATEST = ":latest"
_UNKNOWN = datetime.fromtimestamp(0, UTC)


def find_model(server: ServerContext, name: str) -> Model:
    """Return the model a client means; `name:latest` is `name`. Raises `ModelNotFound`."""
    try:
        return server.models.get(name)
    except ModelNotFound:
        if not name.endswith(LATEST):
            raise
        return server.models.get(name.removesuffix(LATEST))


def find_loaded(server: ServerContext, name: str) -> list[Model]:
    """Return the loaded models a client means, also deleted ones. Raises `ModelNotFound` if there is no such model."""
    try:
        return server.models.loaded(name)
    except ModelNotFound:
        if not name.endswith(LATEST):
            raise
        return server.models.loaded(name.removesuffix(LATEST))


class ModelList:
    """The models of a server as Ollama lists and describes them. Files are read again only when they change."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server
        self._entries = FileIdentityCache(self._entry)

    def entries(self) -> list[dict[str, Any]]:
        """Return every model that can be run, sorted by name, for `/api/tags`; without those that were damaged or
        deleted meanwhile."""
        listed = self._server.models.all()
        found = []
        for name, model in listed:
            with suppress(MlxkError):
                found.append({"name": name, "model": name, **self._entries.get(model)})
        self._entries.forget_deleted(keep=())
        return found

    def running(self) -> list[dict[str, Any]]:
        """Return the loaded models, for `/api/ps`."""
        return [self._running(resident) for resident in self._server.service.status().models]

    def describe(self, model: Model) -> dict[str, Any]:
        """Return the details of a model, for `/api/show`. Raises `BrokenModel` if its folder cannot be read."""
        server, entry = self._server, self._entries.get(model)
        facts = Facts(model, server.host.finds_tool_calls)
        capabilities = ["completion"] if "text-generation" in facts.capabilities else []
        capabilities += ["embedding"] if "embeddings" in facts.capabilities else []
        if "tools" in facts.capabilities or (server.settings.generic_tools and "chat" in facts.capabilities):
            capabilities.append("tools")
        capabilities += ["thinking"] if server.host.reasoning_format(model) is not None else []
        architecture = facts.architecture or "unknown"
        return {
            "modelfile": f"FROM {model.name}\n",
            "parameters": "\n".join(f"{name} {value}" for name, value in _sampling(model).items()),
            "template": facts.chat_template or "",
            "details": entry["details"],
            "model_info": {
                "general.architecture": architecture,
                f"{architecture}.context_length": model_context_length(model),
            },
            "capabilities": capabilities,
            "modified_at": entry["modified_at"],
        }

    def _entry(self, model: Model) -> dict[str, Any]:
        return {
            "modified_at": _modified(model),
            "size": model.size,
            "digest": digest_of(model.name, str(model.revision or model.path)),
            "details": _details(self._server, model),
        }

    def _running(self, resident: ResidentModel) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "name": resident.name,
            "model": resident.name,
            "size": resident.memory,
            "size_vram": resident.memory,
            "expires_at": timestamp(_expiry(resident)),
        }
        try:
            model = self._server.models.get(resident.name)
            found = self._entries.get(model)
        except ModelError:  # deleted or damaged since it was loaded
            return entry
        return {
            **entry,
            "digest": found["digest"],
            "details": found["details"],
            "context_length": model_context_length(model),
        }


def _sampling(model: Model) -> Mapping[str, float]:
    """Return the sampling parameters, none of a damaged file: the rest of the model can be shown, and a run says why it
    fails."""
    try:
        return model_sampling(model)
    except BrokenModel:
        return {}


def _expiry(resident: ResidentModel) -> datetime:
    """Return when a model is unloaded if no request comes: the last moment of the calendar without a limit."""
    with suppress(OverflowError):
        if resident.ttl is not None:
            return datetime.now(UTC) + timedelta(seconds=max(0.0, resident.ttl - resident.idle_seconds))
    return datetime.max.replace(tzinfo=UTC, microsecond=0)


def _details(server: ServerContext, model: Model) -> dict[str, Any]:
    quantizations = server.host.quantizations(model)
    family = Facts(model).architecture or ""
    return {
        "parent_model": "",
        "format": quantizations[0].format if quantizations else "",
        "family": family,
        "families": [family] if family else [],
        "parameter_size": "",
        "quantization_level": quantizations[0].label if quantizations else "",
    }


def digest_of(name: str, revision: str) -> str:
    """Return a digest for the files of a model, which is the same while its name and revision are."""
    return hashlib.sha256(f"{name}@{revision}".encode()).hexdigest()


def _modified(model: Model) -> str:
    return timestamp((model.downloaded_at or _UNKNOWN).replace(microsecond=0))
