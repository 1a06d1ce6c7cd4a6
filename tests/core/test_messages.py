"""The wording of the main messages, pinned in one file: `messages.txt`. Other tests assert types and facts.

After a deliberate change: `MLXK_TEST_WRITE=1 pytest tests/core/test_messages.py`, and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlxk_core.api import BackendSpec, CommandSpec, Evidence, ReasoningExtractorSpec, Strength, Verdict, hookimpl
from mlxk_core.api.errors import (
    AmbiguousModel,
    ContextLengthExceeded,
    InvalidOption,
    MlxkError,
    ModelNotFound,
    NoTemplate,
    QueueFull,
)
from mlxk_core.api.host import Host
from mlxk_core.api.models import Model

GOLDEN = Path(__file__).parent / "messages.txt"


class Plugin:
    """Two of everything that can be in conflict, and one description with a fault."""

    @hookimpl
    def mlxk_commands(self):
        yield CommandSpec(name="twice", summary="", target=print)
        yield CommandSpec(name="off", summary="", target=print, requires=lambda: "set MLXK_ENABLE=off to try it.")
        yield CommandSpec(name="list-it", summary="", target=print)

    @hookimpl
    def mlxk_backends(self):
        for name in ("one", "two"):
            yield BackendSpec(name=name, summary="", accepts=accepts, target=print)

    @hookimpl
    def mlxk_reasoning_extractors(self):
        for name in ("one", "two"):
            yield ReasoningExtractorSpec(name=name, summary="", matches=matches, target=print)


class Second:
    @hookimpl
    def mlxk_commands(self):
        yield CommandSpec(name="twice", summary="", target=print)
        yield CommandSpec(name="wrong", summary="", target=print, aliases="abc")


def accepts(model):
    if model.name == "org/unsupported":
        return Verdict.no("only heads of size 64 are supported.")
    return Verdict.yes() if model.name == "org/both" else Verdict.foreign("it is not in that form.")


def matches(model):
    return Evidence(Strength.TEMPLATE, "the template says so")


def messages(folder):
    """Every pinned message, by what causes it."""
    host = Host()
    host.register(Plugin(), name="first")
    host.register(Second(), name="second")
    both, unsupported = Model(name="org/both", path=folder), Model(name="org/unsupported", path=folder)

    def raised(function, *args):
        with pytest.raises(MlxkError) as caught:
            function(*args)
        return str(caught.value)

    return {
        "command unknown": raised(host.command, "xyzzy"),
        "command mistyped": raised(host.command, "list-tt"),
        "command not installed": raised(host.command, "serve"),
        "command off": raised(host.command, "off"),
        "command claimed twice": raised(host.command, "twice"),
        "backend unknown": raised(host.backend_for, both, "three"),
        "backend not installed": raised(host.backend_for, both, "gguf"),
        "backend tie": raised(host.backend_for, both),
        "backend refuses": raised(host.backend_for, unsupported, "one"),
        "no backend": raised(host.backend_for, unsupported),
        "format unknown": raised(host.reasoning_format, both, "three"),
        "format tie": raised(host.reasoning_format, both),
        "constraint not installed": raised(host.constraint_compiler, "regex", "--regex"),
        "target missing": raised(host.load, "nowhere_at_all:x"),
        "description invalid": host.plugins()[1].reason.rpartition(" (")[0],
        "model not found": str(ModelNotFound("org/x", hint="`mlxk pull org/x` downloads it.")),
        "model ambiguous": str(AmbiguousModel("x", ["b/x", "a/x"])),
        "context exceeded": str(ContextLengthExceeded(5000, 4096)),
        "queue full": str(QueueFull(128, retry_after=3)),
        "no template": str(NoTemplate()),
        "invalid option": str(InvalidOption("--top-p", "3 is greater than 1")),
        "hint": str(MlxkError("Permission denied for port 80.").with_hint("Choose a port above 1023.")),
    }


def test_the_messages_are_worded_as_pinned(tmp_path):
    text = "".join(f"{cause}: {message}\n" for cause, message in messages(tmp_path).items())
    if os.environ.get("MLXK_TEST_WRITE"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")
