"""Option values: sizes, durations, aliases, API keys, web origins."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import click

from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.paths import read_typed_file
from mlxk_core.api.text import parse_duration

KEY_VARIABLE = "MLXK_API_KEY"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SHORTEST_KEY = 8


class Size(click.ParamType):  # type: ignore[type-arg]  # no generic before click 8.2
    """`8GB`, `7.5GiB`, or bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", str(value).strip().lower())
        if not match or match[2] not in _UNITS:
            self.fail(f"{value!r} is not a size. Use 8GB, 7.5GiB or a number of bytes", param, ctx)
        size = int(float(match[1]) * _UNITS[match[2]])
        if size < 1:
            self.fail("size must be greater than zero", param, ctx)
        return size


class Duration(click.ParamType):  # type: ignore[type-arg]
    """`90`, `90s`, `15m`, `2h`, `never`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(float(value) if str(value).strip().isdecimal() else value)
        except ValueError:
            self.fail(f"{value!r} is not a duration. Use 90s, 15m, 2h or never", param, ctx)


class Alias(click.ParamType):  # type: ignore[type-arg]
    """`PATTERN=MODEL`."""

    name = "pattern=model"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        pattern, equals, model = str(value).partition("=")
        if not (equals and pattern.strip() and model.strip()):
            self.fail(f"{value!r} is not an alias. Use PATTERN=MODEL, as in gpt-*=smollm2", param, ctx)
        return pattern.strip(), model.strip()


def api_keys(file: Path | None) -> tuple[str, ...]:
    """Return the keys of `file`, one a line (`#` begins a comment), and the one in `MLXK_API_KEY`. Never from the
    command line, which every user of the machine can read."""
    keys = [os.environ[KEY_VARIABLE].strip()] if os.environ.get(KEY_VARIABLE, "").strip() else []
    if file is not None:
        try:
            lines = read_typed_file(file).decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidOption("--api-key-file", f"cannot read {file}: {_reason(error)}") from error
        found = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
        if not found:
            raise InvalidOption("--api-key-file", f"{file} contains no key.")
        keys += found
    for key in keys:
        if len(key) < _SHORTEST_KEY or not key.isascii() or any(c.isspace() for c in key):
            source = KEY_VARIABLE if file is None else "--api-key-file"
            raise InvalidOption(source, f"a key needs at least {_SHORTEST_KEY} ASCII characters and no white space.")
    return tuple(dict.fromkeys(keys))


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "not UTF-8 text"


def origin(value: str) -> str:
    """Return a web origin as browsers send it: `https://app.example`."""
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s,*]+/?|null", value.lower()):
        raise InvalidOption("--allow-origin", f"`{value}` is not an origin. Use https://host or http://localhost:3000.")
    return value
