"""Child process that renders chat templates, within limits on memory and output.

A chat template is a program by the model's author. In a process of its own it can neither block the server's threads
nor take the server's memory, and it can be stopped. This module imports jinja2 and the standard library only.

The request is `{"template": str, "code": bool, "variables": {...}}`, where the template is Jinja or, with `code`, the
path of a module of mlx-lm that renders in its place; the response `{"text": str}` or
`{"error": str, "message": str}`, where the error is `template` or `limit`. The process ends when its standard input
does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from jinja2 import Template, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mlxk_core.api.processes import announce, encode_message, read_message
from mlxk_mlx.engine.child_limits import limit_process, limited_time

MEMORY_LIMIT = 1 << 30
"""Address space in bytes, Python itself included. macOS does not enforce it; there the time limit is the only one."""
OUTPUT_LIMIT = 24 << 20
"""Characters of a rendered prompt. No tokenizer takes more than a third of it, and no request has as many."""
MESSAGE_LIMIT = 48 << 20
"""Bytes of a response: the server reads it with the interpreter locked, for a second if it has 200 million."""
_MOST_SECONDS = 20.0
"""CPU time of one rendering. The parent allows half of it, if it still lives."""
_TEMPLATES = 64
_LONGEST_MESSAGE = 1000
"""Characters of an error: a template writes its own, of any length."""


class OutputTooLong(Exception):
    """The rendered prompt has more than `OUTPUT_LIMIT` characters."""


class _GenerationTag(Extension):
    """`{% generation %}`: transformers marks the assistant's text with it for training. The body is rendered as is."""

    tags = {"generation"}  # noqa: RUF012 - declared so by jinja2

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


def _environment() -> ImmutableSandboxedEnvironment:
    """Return an environment with the functions that transformers' `apply_chat_template` offers."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationTag]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return `value` as JSON without the HTML escapes of jinja2's own filter."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


@lru_cache(maxsize=_TEMPLATES)
def _compile(template: str) -> Template:
    return _environment().from_string(template)


def render(template: str, variables: Mapping[str, Any]) -> str:
    """Return the rendered text. Raises whatever the template raises, and `OutputTooLong`."""
    length, pieces = 0, []
    for piece in _compile(template).generate(**variables):
        pieces.append(piece)
        length += len(piece)
        if length > OUTPUT_LIMIT:
            raise OutputTooLong(f"it writes more than {OUTPUT_LIMIT:,} characters")
    return "".join(pieces)


@lru_cache(maxsize=1)
def _function(path: str) -> Callable[..., Any]:
    """Return the function that renders of a module, which is loaded without its package: that would import MLX."""
    spec = spec_from_file_location("chat_template", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a module")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[..., Any] = module.apply_chat_template
    return function


def render_by_code(path: str, variables: Mapping[str, Any]) -> str:
    """Return the text that the module at `path` writes. Raises whatever it raises, and `OutputTooLong`."""
    given = {name: value for name, value in variables.items() if value is not None}
    text = str(_function(path)(given.pop("messages"), **given))
    if len(text) > OUTPUT_LIMIT:
        raise OutputTooLong(f"it writes more than {OUTPUT_LIMIT:,} characters")
    return text


def respond(request: Mapping[str, Any]) -> dict[str, str]:
    """Return the response to one request."""
    try:
        write = render_by_code if request["code"] else render
        return {"text": write(request["template"], request["variables"])}
    except MemoryError:
        return {"error": "limit", "message": f"it needs more than {MEMORY_LIMIT >> 20} MiB of memory"}
    except (OutputTooLong, SecurityError, OverflowError) as error:
        return {"error": "limit", "message": _message(error)}
    except RecursionError:
        return {"error": "limit", "message": "it nests too deeply"}
    except Exception as error:
        return {"error": "template", "message": _message(error)}


def _message(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    limit_process(MEMORY_LIMIT)
    requests, responses = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    sys.stdout = sys.stderr  # nothing but responses may be written there
    announce(responses)
    while (request := read_message(requests)) is not None:
        with limited_time(_MOST_SECONDS):
            message = encode_message(respond(request))
        if len(message) > MESSAGE_LIMIT:  # every control character has six bytes
            message = encode_message({"error": "limit", "message": f"it writes more than {MESSAGE_LIMIT:,} bytes"})
        responses.write(message)
        responses.flush()


if __name__ == "__main__":
    main()
