"""Configuration of one server: its checked options and the limits that protect it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

MEGABYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits that keep one client from affecting the others. Times in seconds, sizes in bytes."""

    body: int = 8 * MEGABYTE
    """Largest request body. A million tokens are about 5 MB; whatever looks at all of a body holds the interpreter's
    lock meanwhile."""
    bodies: int = 256 * MEGABYTE
    """Most bytes of the bodies that are being received or wait to be read, all together."""
    open_bodies: int = 512 * MEGABYTE
    """Largest size of the bodies of requests that run or wait, all together, where an array or object counts for 1,024
    bytes; one client has half of it."""
    free_body: int = 64 << 10
    """Bytes of each body that do not count for `bodies` and `open_bodies`: small requests need no place there."""
    header: int = 32 << 10
    receive: int = 16 << 10
    """Most bytes read from a connection in one turn of the loop."""
    receive_slow: int = 4 << 10
    """As many of headers and chunks: parsing them takes a millisecond at worst."""
    header_time: float = 10
    body_time: float = 60
    idle_time: float = 75
    connections: int = 2048
    accept_time: float = 0.1
    """How long connections are accepted at once; several times in a turn of the loop."""
    behind_time: float = 0.5
    """After this time it is forgotten that there was no time to accept all."""
    probe_time: float = 0.02
    """How much of it probes may take that were not seen before, while there is no time to accept all."""
    unsent: int = 256 << 10
    """Most unsent bytes of a response kept for a slow reader, and as many in the system's buffer."""
    unsent_bodies: int = 64 * MEGABYTE
    """Most bytes of large responses kept in memory for slow readers, all together; others are in temporary files."""
    unsent_files: int = 1024 * MEGABYTE
    """Most bytes of such files. A response beyond that is closed before its end."""
    logprobs: int = 128 * MEGABYTE
    """Most bytes of log probabilities held for responses that are not streamed, all together; a fourth for each."""
    results: int = 512 * MEGABYTE
    """Most bytes of results, such as vectors, held until their responses are written, all together; one client has half
    of it, one request a fourth."""
    free_results: int = 64 << 10
    """Results of up to so many bytes do not count for it."""
    stalled_time: float = 30
    """A reader that takes nothing for this long is disconnected."""
    unread_time: float = 5
    """As long when there are more connections than places."""
    linger_time: float = 2
    heartbeat: float = 10
    """The SDKs wait 600 s for a byte, many proxies and agents only 20 to 60."""
    prepare_time: float = 120
    """Longest rendering and tokenizing of one prompt."""
    stalled_engine: float = 120
    """Without progress for this long while there is work, `/health` is 503. One step or one chunk of a prompt on a slow
    CPU takes seconds; nothing healthy takes two minutes."""
    threads: int = 8
    """Workers that parse requests. Responses need none."""
    drain_time: float = 30
    """How long the first Ctrl-C waits for responses."""
    terminate_time: float = 3
    """How long SIGTERM waits: launchd kills after 5 s, which has left weights wired until a reboot (omlx #2184)."""
    cut_time: float = 0.5
    """How long responses that were cut off may take to be sent."""
    longest_cut_time: float = 1.5
    """How long, in all, while their errors are still being written."""
    close_time: float = 1


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """One server. It listens on `hosts` and `port`, or on `unix`; `keys` are its API keys (none: no authentication)."""

    hosts: tuple[str, ...] = ()
    port: int = 8000
    unix: Path | None = None
    models: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    max_tokens: int | None = None
    hide_reasoning: bool = False
    thinking_budget: int | None = None
    generic_tools: bool = True
    keys: tuple[str, ...] = field(default=(), repr=False)
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    allow_pull: bool = False
    queue: int = 256
    concurrency: int = 32
    ttl: float | None = None
    memory: int | None = None
    log_level: str = "info"
    log_json: bool = False
    limits: Limits = field(default_factory=Limits)

    @property
    def places(self) -> int:
        """Maximum number of choices of one client that run or wait."""
        return self.concurrency + self.queue
