"""Tokenizers that are read and used in a process of their own, with limits on time and memory."""

from __future__ import annotations

import base64
import pickle
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

from mlxk_core.api.backends import Detokenizer, TokenPair
from mlxk_core.api.errors import BrokenModel, EngineFailure, InvalidOption
from mlxk_core.api.models import Model
from mlxk_core.api.processes import ChildProcess
from mlxk_mlx.engine.detokenizer import PieceDetokenizer, TokenByteTable, WindowDetokenizer
from mlxk_mlx.engine.tokenizer import LoadedTokenizer

LOAD_SECONDS = 60.0
"""To read a tokenizer. The largest ones take 5 s on a busy machine."""
CALL_SECONDS = 10.0
"""To tokenize a short text; a long one gets a second more for each 200,000 characters."""
_CHARACTERS_PER_SECOND = 200_000
_LONGEST_TEXT = 8 << 20
"""Characters. Tokenizing takes 300 bytes of memory for each, and the process has 4 GiB."""
_REST_SECONDS = 60.0
"""After a limit was exceeded, requests fail at once for this time; then another process is started."""
_MODULE = "mlxk_mlx.engine.tokenizer_worker"


def load_in_process(model: Model, target: str) -> LoadedTokenizer:
    """Return the tokenizer that `target` (`module:function`, which takes `model` and returns a transformers tokenizer)
    reads in a new process. Raises `BrokenModel`, also when a limit is exceeded."""
    process = TokenizerProcess(model, target)
    found = process.load()
    pieces = None if found["pieces"] is None else TokenByteTable(found["pieces"], found["strip"])
    return LoadedTokenizer(
        special_tokens=found["special_tokens"],
        eos_token_id=found["eos_token_id"],
        adapt=lambda vocab_size: HostedTokenizer(process, pieces, vocab_size=vocab_size),
    )


class HostedTokenizer:
    """`mlxk_core.api.backends.Tokenizer` and `PairTokenizer` for the tokenizer of `process`."""

    def __init__(self, process: TokenizerProcess, pieces: TokenByteTable | None, *, vocab_size: int) -> None:
        self._process = process
        self._pieces = pieces
        self.vocab_size = vocab_size

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        tokens: list[int] = self._process.call("encode", len(text), text=text, add_special_tokens=add_special_tokens)
        return tokens

    def encode_pair(self, first: str, second: str, *, max_tokens: int | None = None) -> TokenPair:
        size = len(first) + len(second)
        tokens, types = self._process.call("encode_pair", size, first=first, second=second, max_tokens=max_tokens)
        return TokenPair(tuple(tokens), tuple(types))

    def decode(self, tokens: Sequence[int], /) -> str:
        if self._pieces is None:
            return self._decode(tokens)
        detokenizer = self.detokenizer()
        return "".join([*map(detokenizer.add, tokens), detokenizer.finish()])

    def piece(self, token: int, /) -> bytes | None:
        return self._pieces[token] if self._pieces is not None else None

    def token_id(self, text: str, /) -> int | None:
        token: int | None = self._process.call("token_id", len(text), text=text)
        return token

    def detokenizer(self) -> Detokenizer:
        if self._pieces is None:
            return WindowDetokenizer(self._decode, blocking=True)
        return PieceDetokenizer(self._pieces)

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self._process.call("decode", len(tokens), tokens=list(tokens))
        return text


class TokenizerProcess:
    """The process of one model. It answers one call at a time; the first one is `load`."""

    def __init__(self, model: Model, target: str) -> None:
        self._name = model.name
        self._load = {"target": target, "model": base64.b64encode(pickle.dumps(model)).decode("ascii")}
        self._lock = threading.Lock()
        self._failure: str | None = None
        self._retry_at = 0.0
        self._closed = False
        self._children: list[ChildProcess] = []  # one or none; shared with the finalizer, which must not hold `self`
        weakref.finalize(self, _kill_all, self._children)

    def load(self) -> dict[str, Any]:
        """Start the process and return what it read. Raises `BrokenModel`, also when a limit is exceeded."""
        with self._lock:
            return self._start()

    def call(self, call: str, size: int, **arguments: Any) -> Any:
        """Return the result of a request about `size` characters.

        Raises `BrokenModel` when a limit is exceeded, `InvalidOption` for a text that needs more memory than there is.
        """
        if size > _LONGEST_TEXT:
            raise InvalidOption("prompt", f"has {size:,} characters; this model's tokenizer takes {_LONGEST_TEXT:,}")
        with self._lock:
            if self._failure is not None and time.monotonic() < self._retry_at:
                raise self._error(self._failure)
            if self._closed:
                raise EngineFailure(f"`{self._name}` was unloaded.")
            if not self._children:
                self._start()
            return self._request(CALL_SECONDS + size / _CHARACTERS_PER_SECOND, call=call, **arguments)

    def close(self) -> None:
        """End the process. The pipes of a call that is under way are closed by its own thread."""
        self._closed = True
        for child in list(self._children):
            child.end()
        if self._lock.acquire(blocking=False):
            try:
                _kill_all(self._children)
            finally:
                self._lock.release()

    def _start(self) -> dict[str, Any]:
        try:
            self._children.append(ChildProcess(_MODULE))
        except OSError as error:
            raise EngineFailure(f"Cannot start a process for the tokenizer: {error}.") from error
        loaded: dict[str, Any] = self._request(LOAD_SECONDS, call="load", **self._load)
        return loaded

    def _request(self, seconds: float, **request: Any) -> Any:
        [child] = self._children
        try:
            response = child.request(request, seconds)
        except TimeoutError as error:
            raise self._exceeded(str(error)) from None
        except BaseException:
            _kill_all(self._children)
            raise
        if response is None and self._closed:
            _kill_all(self._children)
            raise EngineFailure(f"`{self._name}` was unloaded.")
        if response is None:
            raise self._exceeded("its process was ended by the system, most likely for the memory it used")
        if "error" not in response:
            return response["value"]
        message = str(response["message"])
        match response["error"]:
            case "invalid_option":
                raise InvalidOption(response["option"], message)
            case "broken_model":
                raise BrokenModel(message, model=self._name)
            case "limit":
                raise self._exceeded(message)
        raise BrokenModel(f"The tokenizer of `{self._name}` failed: {message}", model=self._name)

    def _exceeded(self, reason: str) -> BrokenModel:
        _kill_all(self._children)
        self._failure, self._retry_at = reason, time.monotonic() + _REST_SECONDS
        return self._error(reason)

    def _error(self, reason: str) -> BrokenModel:
        return BrokenModel(f"The tokenizer of `{self._name}` exceeds a limit: {reason}.", model=self._name)


def _kill_all(children: list[ChildProcess]) -> None:
    while children:
        children.pop().kill()
