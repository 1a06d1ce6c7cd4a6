"""Child process that renders chat templates, within limits on memory and output.

A chat template is a program by the model's author. In a process of its own it can neither block the server's threads
nor take the server's memory, and it can be stopped. This module imports jinja2 and the standard library only.

`template_messages` has the requests and responses. The process ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from jinja2 import Template, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mlxk_core.api.processes import announce, encode_body, read_body
from mlxk_mlx.engine.child_limits import limit_process, limited_time
from mlxk_mlx.engine.template_messages import Failure, decode_request, encode

MEMORY_LIMIT = 1 << 30
"""Address space in bytes, Python itself included. macOS does not enforce it; there the time limit is the only one."""
OUTPUT_LIMIT = 8 << 20
"""Characters of a rendered prompt. No tokenizer takes more."""
_FREE_OUTPUT = 1 << 20
_EXPANSION = 8
"""Characters of a prompt for each byte of a request. What clients send is counted; a template may indent each number of
a schema by hundreds of spaces, or write an option of theirs after each message."""
_MOST_SECONDS = 20.0
"""CPU time of one rendering. The parent allows half of it, if it still lives."""
_TEMPLATES = 64
_LONGEST_MESSAGE = 1000
"""Characters of an error: a template writes its own, of any length."""


class OutputTooLong(Exception):
    """The rendered prompt has more characters than the request allows."""


class _Output:
    """The length of what a template writes. Raises `OutputTooLong`."""

    def __init__(self) -> None:
        self.most = OUTPUT_LIMIT

    def allow_for(self, request: bytes) -> None:
        """Allow as many characters as `request` may have."""
        self.most = min(OUTPUT_LIMIT, _FREE_OUTPUT + _EXPANSION * len(request))

    def join(self, pieces: Iterable[str]) -> str:
        """Return `pieces` as one text."""
        length, found = 0, []
        for piece in pieces:
            found.append(piece)
            length += len(piece)
            if length > self.most:
                raise OutputTooLong(f"it writes more than {self.most:,} characters")
        return "".join(found)


_OUTPUT = _Output()


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
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    return encoder.encode(value) if indent is None else _OUTPUT.join(encoder.iterencode(value))


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


@lru_cache(maxsize=_TEMPLATES)
def _compile(template: str) -> Template:
    return _environment().from_string(template)


def render(template: str, variables: Mapping[str, Any]) -> str:
    """Return the rendered text. Raises whatever the template raises, and `OutputTooLong`."""
    return _OUTPUT.join(_compile(template).generate(**variables))


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
    return _OUTPUT.join([str(_function(path)(given.pop("messages"), **given))])


def respond(body: bytes) -> str | Failure:
    """Return the answer to one request."""
    _OUTPUT.allow_for(body)
    try:
        request = decode_request(body)
        write = render_by_code if request.code else render
        return write(request.template, request.variables)
    except MemoryError:
        return Failure("limit", f"it needs more than {MEMORY_LIMIT >> 20} MiB of memory")
    except OutputTooLong as error:
        return Failure("output", _message(error))
    except (SecurityError, OverflowError) as error:
        return Failure("limit", _message(error))
    except RecursionError:
        return Failure("limit", "it nests too deeply")
    except Exception as error:
        return Failure("template", _message(error))


def _message(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    limit_process(MEMORY_LIMIT)
    requests, responses = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    sys.stdout = sys.stderr  # nothing but responses may be written there
    announce(responses)
    while (request := read_body(requests)) is not None:
        with limited_time(_MOST_SECONDS):
            response = encode_body(encode(respond(request)))
        responses.write(response)
        responses.flush()


if __name__ == "__main__":
    main()
