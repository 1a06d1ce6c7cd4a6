"""The process of a background service: the command line of `mlxk serve` and its environment."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.paths import expand_user

_PATHS = (
    *("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "MLXK_CONFIG"),
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"),
)
_VARIABLES = (*_PATHS, "HF_ENDPOINT", "HF_HUB_OFFLINE", "MLXK_DISABLE_PLUGINS")
"""Variables that decide which models and settings are used. Keys and tokens are never written to a unit."""
_SECRETS = ("MLXK_API_KEY", "HF_TOKEN")
_PATH_OPTIONS = {"--api-key-file", "--unix"}
_UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Definition:
    """The process of the service."""

    command: Sequence[str]
    environment: Mapping[str, str]

    @classmethod
    def of_serve(cls, options: Sequence[str]) -> Definition:
        """Return `mlxk serve` with `options`, from this installation and with the settings of this environment.

        Raises `InvalidOption` for text that a unit cannot have.
        """
        environment = {name: _value_of(name) for name in _VARIABLES if os.environ.get(name)}
        for option in options:
            _check_text("OPTIONS", option)
        return cls(command=(*_program(), "serve", *_absolute(options)), environment=environment)


def secrets_left_out() -> list[str]:
    """Return the names of the variables that are set but not passed on to the service."""
    return [name for name in _SECRETS if os.environ.get(name)]


@contextmanager
def without_secrets() -> Iterator[None]:
    """Hide these variables, as from the process of the service."""
    hidden = {name: os.environ.pop(name) for name in secrets_left_out()}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _program() -> tuple[str, ...]:
    script = Path(sys.executable).with_name("mlxk")
    return (str(script),) if os.access(script, os.X_OK) else (sys.executable, "-m", "mlxk_core")


def _value_of(variable: str) -> str:
    value = _check_text(variable, os.environ[variable])
    return os.path.abspath(expand_user(value)) if variable in _PATHS else value  # noqa: PTH100 - links are kept


def _check_text(name: str, text: str) -> str:
    if _UNFIT.search(text):
        raise InvalidOption(name, f"{text!a} has control characters or is not UTF-8.")
    return text


def _absolute(options: Sequence[str]) -> list[str]:
    """Return the options with absolute paths: a service has another working directory."""
    found: list[str] = []
    for option in options:
        name, separator, value = option.partition("=")
        if found and found[-1] in _PATH_OPTIONS:
            found.append(os.path.abspath(option))  # noqa: PTH100 - links are kept
        elif separator and (name in _PATH_OPTIONS or value.startswith(("./", "../"))):
            found.append(f"{name}={os.path.abspath(value)}")  # noqa: PTH100
        elif option.startswith(("./", "../", "~/")):
            found.append(os.path.abspath(os.path.expanduser(option)))  # noqa: PTH100, PTH111
        else:
            found.append(option)
    return found
