"""What the resources of one server share."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from mlxk_core.api.generation import GenerationService
from mlxk_core.api.host import Host
from mlxk_core.api.server import ErrorEncoder
from mlxk_serve.catalog import Catalog
from mlxk_serve.config import ServeConfig
from mlxk_serve.http.access_control import Guard
from mlxk_serve.http.responses import Replies
from mlxk_serve.observability.metrics import Registry
from mlxk_serve.observability.request_log import AccessMetrics


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Made once a server. `draining` is set when it takes no more requests."""

    config: ServeConfig
    host: Host
    service: GenerationService
    catalog: Catalog
    replies: Replies
    registry: Registry
    access: AccessMetrics
    guard: Guard
    error_encoders: dict[str, ErrorEncoder] = field(default_factory=dict)
    """By URI template: how a route of an extension writes its errors."""
    draining: threading.Event = field(default_factory=threading.Event)
    started: float = field(default_factory=time.monotonic)
