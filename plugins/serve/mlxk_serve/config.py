"""What a server was asked to be: the options of one run, checked, and the limits that protect it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Numbers that keep one client from costing the others anything. Times are in seconds, sizes in bytes."""

    body: int = 32 << 20  # a million tokens are about 5 MB
    header: int = 32 << 10
    header_time: float = 10
    body_time: float = 60
    idle_time: float = 75
    connections: int = 512
    unsent: int = 256 << 10
    """So much of an answer waits for its reader here, and as much in the system's buffer."""
    stalled_time: float = 30
    """A reader that takes nothing for so long is cut."""
    linger_time: float = 2
    heartbeat: float = 10
    """The SDKs wait 600 s for a byte, many proxies and agents only 20 to 60."""
    stalled_engine: float = 120
    """Without a sign of life for so long while there is work, `/health` says 503. One step or one chunk of a prompt
    on a slow CPU takes seconds; nothing healthy takes two minutes."""
    threads_in_reserve: int = 16
    drain_time: float = 30
    """How long the first Ctrl-C waits for answers."""
    terminate_time: float = 3
    """How long SIGTERM waits: launchd kills after 5 s, which has left weights wired until a reboot (omlx #2184)."""
    cut_time: float = 0.5
    close_time: float = 1


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """One server. `hosts` and `port` say where it listens, or `unix`; `keys` are the API keys it takes (none: open)."""

    hosts: tuple[str, ...] = ()
    port: int = 8000
    unix: Path | None = None
    models: tuple[str, ...] = ()
    max_tokens: int | None = None
    hide_reasoning: bool = False
    keys: tuple[str, ...] = field(default=(), repr=False)
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    queue: int = 128
    concurrency: int = 32
    ttl: float | None = None
    memory: int | None = None
    log_level: str = "info"
    log_json: bool = False
    limits: Limits = field(default_factory=Limits)
