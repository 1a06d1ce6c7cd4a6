"""Opening the sockets of the server, before anything else is started, so that a bad address fails at once.

They listen from the first moment, before connections are accepted: Linux lets two processes bind one port as long as
neither listens, and a Unix socket that does not listen looks like that of a dead server.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

from mlxk_core.api.errors import InvalidOption

# `localhost` is ::1 to Node and to macOS, 127.0.0.1 to most others.
LOOPBACK = ("127.0.0.1", "::1")
_FAMILIES: list[int] = [socket.AF_INET, socket.AF_INET6]
_TRIES = 20
_PROBE_SECONDS = 0.2


def open_tcp(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Open a listening socket for each address of `hosts`, all on one port (0: one that is free everywhere).

    Raises `InvalidOption` naming the option at fault.
    """
    names = [addresses_of(host) for host in hosts]
    # A name may resolve to an address this machine lacks (`localhost` to ::1); so may the default pair.
    groups = [[a for addresses in names for a in addresses]] if tuple(hosts) == LOOPBACK else names
    addresses = list(dict.fromkeys(address for group in groups for address in group))
    optional = [address for group in groups for address in group[1:]]
    tries = 1
    while True:
        try:
            return _bind_all(addresses, port, optional)
        except InvalidOption:  # a port that is free on the first address may be in use on the second
            if port != 0 or tries == _TRIES:
                raise
            tries += 1


def _bind_all(addresses: list[tuple[int, str]], port: int, optional: list[tuple[int, str]]) -> list[socket.socket]:
    opened: list[socket.socket] = []
    try:
        for family, host in addresses:
            chosen = opened[0].getsockname()[1] if opened else port
            try:
                opened.append(_bind(family, host, chosen))
            except OSError as error:
                missing = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
                if not (missing and (family, host) in optional):
                    raise _bind_error(error, host, chosen) from error
        return opened
    except BaseException:
        for sock in opened:
            sock.close()
        raise


def _bind(family: int, host: str, port: int) -> socket.socket:
    if port and _answers(family, host, port):
        # BSD and macOS let a second process bind 127.0.0.1 under another one's 0.0.0.0.
        raise OSError(errno.EADDRINUSE, "in use")
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen()
        sock.setblocking(False)
        return sock
    except BaseException:
        sock.close()
        raise


def _answers(family: int, host: str, port: int) -> bool:
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        probe.connect((anywhere.get(host, host), port))
        return True
    return False


def addresses_of(host: str) -> list[tuple[int, str]]:
    """Return the families and numeric addresses of `host`. Raises `InvalidOption` if it has none."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InvalidOption("--host", f"`{host}` is not an address of this machine: {error}") from error
    usable = {(family, str(address[0])) for family, _, _, _, address in found if family in _FAMILIES}
    return sorted(usable, key=lambda address: (_FAMILIES.index(address[0]), address[1]))


def _bind_error(error: OSError, host: str, port: int) -> InvalidOption:
    if error.errno == errno.EADDRINUSE:
        return InvalidOption("--port", f"port {port} is in use on {host}. Choose another one, or 0 for a free one.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return InvalidOption("--port", f"permission denied for port {port}. Choose a port above 1023.")
    return InvalidOption("--host", f"`{host}` is not an address of this machine: {error.strerror or error}")


class UnixFile:
    """The file of a Unix socket, from `open` to `remove`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity: tuple[int, int] | None = None

    def open(self) -> socket.socket:
        """Return a listening socket for this user only. A file left by a dead server is replaced."""
        try:
            _remove_stale(self._path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            mask = os.umask(0o177)
            try:
                sock.bind(str(self._path))
                sock.listen()
                sock.setblocking(False)
                self._identity = _identity(self._path)
                return sock
            except BaseException as error:
                sock.close()
                if not isinstance(error, OSError):  # a signal: the file is ours
                    self._path.unlink(missing_ok=True)
                raise
            finally:
                os.umask(mask)
        except OSError as error:
            raise InvalidOption("--unix", f"cannot open {self._path}: {error.strerror or error}") from error

    def remove(self) -> None:
        """Remove the file, but not that of another server that has replaced it."""
        with contextlib.suppress(OSError):
            if self._identity is not None and _identity(self._path) == self._identity:
                self._path.unlink()


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise InvalidOption("--unix", f"{path} exists and is not a socket.")
    except FileNotFoundError:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        probe.connect(str(path))
        raise InvalidOption("--unix", f"another server listens on {path}.")
    path.unlink(missing_ok=True)


def urls(sockets: Sequence[socket.socket]) -> list[str]:
    """Return what clients connect to: `http://127.0.0.1:8000`."""
    found = []
    for sock in sockets:
        name = sock.getsockname()
        if sock.family == getattr(socket, "AF_UNIX", None):
            found.append(f"unix:{name}")
        else:
            found.append(f"http://{f'[{name[0]}]' if ':' in name[0] else name[0]}:{name[1]}")
    return found
