"""The sockets a server listens on, opened before anything else is done: what is wrong with them is one line.

They listen from the first moment, though nobody is let in yet: Linux lets two bind one port as long as neither listens,
and a Unix socket that does not listen looks like one whose server is dead.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
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


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def open_tcp(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """A listening socket for each address of `hosts`, all on one port (0: one that is free everywhere).

    Raises `InvalidOption` naming the option that has to change.
    """
    names = [addresses_of(host) for host in hosts]
    # A name may stand for an address this machine does not have (`localhost` for ::1); so does the default pair.
    groups = [[a for addresses in names for a in addresses]] if tuple(hosts) == LOOPBACK else names
    addresses = list(dict.fromkeys(address for group in groups for address in group))
    optional = [address for group in groups for address in group[1:]]
    for last_try in [False] * (_TRIES - 1) + [True]:
        try:
            return _bind_all(addresses, port, optional)
        except InvalidOption:
            if port != 0 or last_try:
                raise
    raise AssertionError("unreachable")


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
                    raise _complaint(error, host, chosen) from error
        return opened
    except BaseException:
        for sock in opened:
            sock.close()
        raise


def _bind(family: int, host: str, port: int) -> socket.socket:
    if port and _answers(family, host, port):
        # BSD and macOS let a second process bind 127.0.0.1 under somebody's 0.0.0.0.
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
    """The families and numbers `host` stands for. Raises `InvalidOption` if it stands for none."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InvalidOption("--host", f"`{host}` is no address of this machine: {error}") from error
    wanted = {(family, str(address[0])) for family, _, _, _, address in found if family in _FAMILIES}
    return sorted(wanted, key=lambda address: (_FAMILIES.index(address[0]), address[1]))


def _complaint(error: OSError, host: str, port: int) -> InvalidOption:
    if error.errno == errno.EADDRINUSE:
        return InvalidOption("--port", f"{port} is in use on {host}. Choose another one, or 0 for any that is free.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return InvalidOption("--port", f"{port} is not for this user to open. Choose one above 1023.")
    return InvalidOption("--host", f"`{host}` is no address of this machine: {error.strerror or error}")


def open_unix(path: Path) -> socket.socket:
    """A listening Unix socket that only this user may connect to. A file left by a dead server is replaced."""
    try:
        _remove_stale(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            sock.bind(str(path))
            sock.listen()
        except BaseException:
            sock.close()
            raise
        finally:
            os.umask(mask)
        sock.setblocking(False)
        return sock
    except OSError as error:
        raise InvalidOption("--unix", f"{path} cannot be opened: {error.strerror or error}") from error


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise InvalidOption("--unix", f"{path} exists and is no socket.")
    except FileNotFoundError:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        probe.connect(str(path))
        raise InvalidOption("--unix", f"another server listens on {path}.")
    path.unlink(missing_ok=True)


def urls(sockets: Sequence[socket.socket]) -> list[str]:
    """What clients connect to: `http://127.0.0.1:8000`."""
    found = []
    for sock in sockets:
        name = sock.getsockname()
        if sock.family == getattr(socket, "AF_UNIX", None):
            found.append(f"unix:{name}")
        else:
            found.append(f"http://{f'[{name[0]}]' if ':' in name[0] else name[0]}:{name[1]}")
    return found
