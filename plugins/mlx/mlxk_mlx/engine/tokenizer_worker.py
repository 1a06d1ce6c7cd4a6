"""Child process that reads and holds the tokenizer of one model, within a limit on memory.

A tokenizer is a program of the model's author: regular expressions that backtrack, replacements that multiply a text, a
vocabulary of any size. In a process of its own it cannot keep the server's interpreter locked, and it can be stopped.

Requests come on standard input, and at the same time, for long texts, on sockets: their descriptors are the arguments.
The first request is `load`. A response is `{"value": …}`, or `{"error": str, "message": str}`, where the error is
`broken_model`, `invalid_option` (with `option`), `limit`, `memory` (the system has too little) or `failure`. The
process ends when its standard input does.
"""

from __future__ import annotations

import base64
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from queue import SimpleQueue
from typing import IO, Any

from mlxk_core.api.errors import BrokenModel, InvalidOption, MlxkError, SystemLimit
from mlxk_core.api.processes import announce, encode_message, pack_ids, read_message, unpack_ids
from mlxk_mlx.engine.child_limits import limit_process, memory_limit, peak_memory
from mlxk_mlx.engine.tokenizer import TokenizerAdapter, named_special_tokens

MEMORY_LIMIT = 4 << 30
"""Address space in bytes. macOS does not enforce it; there the time limit is the only one."""
MAX_IDS = 1 << 21
"""Of a vocabulary. The largest published ones have 262,144."""
_MAX_PIECES = 16 << 20  # bytes, all together; those of 262,144 tokens are 2 MB
_LONGEST_PIECE = 1 << 16  # characters that one token may become
_USUAL_PIECE = 64  # characters that each of many may become, and so many more:
_MORE_TEXT = 1 << 23


class LimitExceeded(Exception):
    """The tokenizer has or makes more text than tokens can have."""


class Service:
    """The requests, as methods. Arguments and results are JSON values."""

    def __init__(self) -> None:
        self._adapter: TokenizerAdapter | None = None

    def load(self, target: str, model: str) -> dict[str, Any]:
        """Read the tokenizer with `target` (`module:function`), which takes the model. `model` is a pickled `Model`."""
        module, _, function = target.partition(":")
        # Pickled by our own parent.
        hf = getattr(import_module(module), function)(pickle.loads(base64.b64decode(model)))
        self._adapter = TokenizerAdapter(hf, vocab_size=0)
        table = self._adapter.piece_table(MAX_IDS)
        if table is not None and sum(map(len, table)) > _MAX_PIECES:
            raise LimitExceeded(f"its tokens have more than {_MAX_PIECES >> 20} MiB of text")
        return {
            "special_tokens": named_special_tokens(hf),
            "eos_token_id": hf.eos_token_id,
            "pieces": None if table is None else [piece.decode("latin-1") for piece in table],
            "strip": self._adapter.strip,
            "concurrent": self._adapter.concurrent,
            "memory": peak_memory(),
        }

    def encode(self, text: str, add_special_tokens: bool) -> str:
        return pack_ids(self._loaded.encode(text, add_special_tokens=add_special_tokens))

    def encode_pair(self, first: str, second: str, max_tokens: int | None) -> list[str]:
        pair = self._loaded.encode_pair(first, second, max_tokens=max_tokens)
        return [pack_ids(pair.tokens), pack_ids(pair.types)]

    def decode(self, tokens: str) -> str:
        ids = unpack_ids(tokens)
        text = self._loaded.decode_tokens(ids)
        if len(text) > min(_LONGEST_PIECE * (1 + len(ids)), _USUAL_PIECE * len(ids) + _MORE_TEXT):
            raise LimitExceeded(f"it makes {len(text):,} characters of {len(ids):,} tokens")
        return text

    def token_id(self, text: str) -> int | None:
        return self._loaded.token_id(text)

    @property
    def _loaded(self) -> TokenizerAdapter:
        assert self._adapter is not None, "load comes first"
        return self._adapter


def respond(service: Service, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response to one request: `call`, the name of a method, and its arguments."""
    arguments = dict(request)
    try:
        return {"value": getattr(service, arguments.pop("call"))(**arguments)}
    except InvalidOption as error:
        return {"error": "invalid_option", "message": error.problem, "option": error.option}
    except BrokenModel as error:
        return {"error": "broken_model", "message": str(error)}
    except SystemLimit as error:
        return {"error": "system_limit", "message": str(error)}
    except MemoryError:
        if (limit := memory_limit()) < MEMORY_LIMIT:  # the server's own, which it inherited
            return {"error": "memory", "message": f"processes of this server are limited to {limit:,} bytes"}
        return {"error": "limit", "message": f"it needs more than {MEMORY_LIMIT >> 30} GiB of memory"}
    except LimitExceeded as error:
        return {"error": "limit", "message": str(error)}
    except MlxkError as error:
        return {"error": "failure", "message": str(error)}
    except BaseException as error:  # a panic in Rust is no Exception
        return {"error": "failure", "message": f"{type(error).__name__}: {error}"[:400]}


def work(service: Service, next_request: Callable[[], Mapping[str, Any] | None], responses: IO[bytes]) -> None:
    """Answer requests in order, until there is none."""
    while (request := next_request()) is not None:
        responses.write(encode_message(respond(service, request)))
        responses.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    limit_process(MEMORY_LIMIT)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    responses = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing but responses may be written there
    announce(responses)
    requests: SimpleQueue[Mapping[str, Any]] = SimpleQueue()
    service = Service()
    # This thread waits for the end of the input, also while a request takes without end.
    threading.Thread(target=work, args=(service, requests.get, responses), daemon=True).start()
    for descriptor in map(int, sys.argv[1:]):
        lane = socket.socket(fileno=descriptor)
        args = (service, partial(read_message, lane.makefile("rb")), lane.makefile("wb"))
        threading.Thread(target=work, args=args, daemon=True).start()
    while (request := read_message(sys.stdin.buffer)) is not None:
        requests.put(request)
    os._exit(0)


if __name__ == "__main__":
    main()
