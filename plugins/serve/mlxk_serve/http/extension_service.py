"""The generation service as extensions see it: a generation ends when the client of its request leaves."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import falcon

from mlxk_core.api.generation import Generation, GenerationRequest, GenerationService
from mlxk_serve.http.responder import Responder


class _Current(threading.local):
    """The request that this thread responds to, and the generations it has submitted for it."""

    request: falcon.Request | None = None
    generations: tuple[Generation, ...] = ()


_CURRENT = _Current()


def begin_request(req: falcon.Request) -> None:
    """Note that this thread responds to `req`."""
    _CURRENT.request, _CURRENT.generations = req, ()


def end_request() -> None:
    """Note that the responder has returned."""
    _CURRENT.request, _CURRENT.generations = None, ()


class RequestService:
    """`GenerationService` for extensions. On the thread of a responder, `submit` cancels on a disconnect."""

    def __init__(self, service: GenerationService) -> None:
        self._service = service

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)

    def submit(self, request: GenerationRequest) -> Generation:
        return self.submit_all([request])[0]

    def submit_all(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        submitted = self._service.submit_all(requests)
        if _CURRENT.request is not None:
            _CURRENT.generations = generations = (*_CURRENT.generations, *submitted)

            def cancel() -> None:
                for generation in generations:
                    generation.cancel()

            Responder.on_disconnect(_CURRENT.request, cancel)
        return submitted
