"""Tokenizers that are read and used in a process of their own, with limits on time and memory."""

from __future__ import annotations

import base64
import pickle
import signal
import threading
import weakref
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

from mlxk_core.api.backends import Detokenizer, TokenPair
from mlxk_core.api.errors import BrokenModel, EngineFailure, InsufficientMemory, InvalidOption, MlxkError, SystemLimit
from mlxk_core.api.models import Model
from mlxk_core.api.processes import ChildProcess, pack_ids, unpack_ids
from mlxk_mlx.engine.detokenizer import PieceDetokenizer, TokenByteTable, WindowDetokenizer, decode_tokens
from mlxk_mlx.engine.refused_texts import RefusedTexts
from mlxk_mlx.engine.text_limits import LONGEST_TEXT
from mlxk_mlx.engine.tokenizer import LoadedTokenizer

LOAD_SECONDS = 60.0
"""To read a tokenizer. The largest ones take 5 s on a busy machine."""
CALL_SECONDS = 10.0
"""To tokenize a short text; a long one gets a second more for each 100,000 characters."""
_CHARACTERS_PER_SECOND = 100_000
_PIECE = 90  # bytes of a token in this process
_LANES = (1 << 16, 1 << 20)
"""The most characters of a text on each lane but the last: shorter ones do not wait for it."""
_MODULE = "mlxk_mlx.engine.tokenizer_worker"
_ENDED = "its process ended, most likely for the memory it used"
_KILLED = "the system ended its process"


def load_in_process(model: Model, target: str, waiting: Callable[[], None] = lambda: None) -> LoadedTokenizer:
    """Return the tokenizer that `target` (`module:function`, which takes `model` and returns a transformers tokenizer)
    reads in a new process.

    `waiting` is called ten times a second meanwhile; if it raises, the process ends. Raises `ProcessNotStarted`,
    `InsufficientMemory`, and `BrokenModel`, also when a limit is exceeded.
    """
    process = TokenizerProcess(model, target)
    found = process.load(waiting)
    pieces = None if found["pieces"] is None else TokenByteTable(found["pieces"], found["strip"])
    return LoadedTokenizer(
        special_tokens=found["special_tokens"],
        eos_token_id=found["eos_token_id"],
        adapt=lambda vocab_size: HostedTokenizer(process, pieces, vocab_size=vocab_size),
        memory=found["memory"] + _PIECE * len(found["pieces"] or ()),
        close=process.close,
    )


class HostedTokenizer:
    """`mlxk_core.api.backends.Tokenizer` and `PairTokenizer` for the tokenizer of `process`."""

    def __init__(self, process: TokenizerProcess, pieces: TokenByteTable | None, *, vocab_size: int) -> None:
        self._process = process
        self._pieces = pieces
        self.vocab_size = vocab_size

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return unpack_ids(self._process.call("encode", len(text), text=text, add_special_tokens=add_special_tokens))

    def encode_pair(self, first: str, second: str, *, max_tokens: int | None = None) -> TokenPair:
        size = len(first) + len(second)
        tokens, types = self._process.call("encode_pair", size, first=first, second=second, max_tokens=max_tokens)
        return TokenPair(tuple(unpack_ids(tokens)), tuple(unpack_ids(types)))

    def decode(self, tokens: Sequence[int], /) -> str:
        return self._decode(tokens) if self._pieces is None else decode_tokens(self._pieces, tokens)

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
        text: str = self._process.call("decode", len(tokens), tokens=pack_ids(tokens))
        return text


class _Died(Exception):
    """The process ended without a response, which need not have to do with the request. `killed` says whether it was
    ended for a request on another lane."""

    def __init__(self, failure: MlxkError, *, killed: bool) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.killed = killed


class TokenizerProcess:
    """The process of one model. It answers a call about a short text, one about a long text and one about a very long
    text at a time; the first call is `load`.

    A request whose process dies is sent to a new one. If that dies too, or a limit is exceeded, requests about texts of
    this length fail for a while; shorter ones get another process.
    """

    def __init__(self, model: Model, target: str) -> None:
        self._name = model.name
        self._load = {"target": target, "model": base64.b64encode(pickle.dumps(model)).decode("ascii")}
        self._starting = threading.Lock()
        self._lanes = [threading.Lock() for _ in range(len(_LANES) + 1)]
        self._concurrent = False
        self._refused = RefusedTexts()
        self._closed = False
        self._children: list[ChildProcess] = []  # one or none; shared with the finalizer, which must not hold `self`
        weakref.finalize(self, _kill_all, self._children)

    def load(self, waiting: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Start the process and return what it read.

        `waiting` is called ten times a second; if it raises, the process ends. Raises `ProcessNotStarted`,
        `InsufficientMemory`, and `BrokenModel`, also when a limit is exceeded.
        """
        with self._starting:
            loaded: dict[str, Any] = self._twice(lambda: self._start(waiting))
            return loaded

    def call(self, call: str, size: int, **arguments: Any) -> Any:
        """Return the result of a request about `size` characters.

        Raises what `load` raises, and `InvalidOption` for a text that needs more memory than there is.
        """
        if size > LONGEST_TEXT:
            raise InvalidOption("prompt", f"has {size:,} characters (at most {LONGEST_TEXT:,} are tokenized)")
        lane = bisect_left(_LANES, size) if self._concurrent else 0
        seconds = CALL_SECONDS + size / _CHARACTERS_PER_SECOND
        with self._lanes[lane], self._refused.at_work(size):
            return self._twice(lambda: self._request(self._child(), seconds, lane, call=call, **arguments))

    def close(self) -> None:
        """End the process, also while calls are under way."""
        self._closed = True
        _kill_all(self._children)

    def _child(self) -> ChildProcess:
        """Return the process, a new one if it has ended."""
        with self._starting:
            if self._closed:
                raise self._unloaded()
            if not self._children:
                self._start()
            child = next(iter(self._children), None)
        if child is None:  # another call has ended it
            raise self._unloaded() if self._closed else _Died(self._error(_ENDED), killed=True)
        return child

    def _twice(self, call: Callable[[], Any]) -> Any:
        """Return the result of `call`, which is called again if the process dies; raises its error if that dies too."""
        try:
            return call()
        except _Died:
            pass
        try:
            return call()
        except _Died as death:
            if not death.killed:
                self._refused.add(death.failure)
            raise death.failure from None

    def _start(self, waiting: Callable[[], None] = lambda: None) -> dict[str, Any]:
        child = ChildProcess(_MODULE, task=f"the tokenizer of `{self._name}`", lanes=len(self._lanes))
        self._children.append(child)
        try:
            loaded: dict[str, Any] = self._request(child, LOAD_SECONDS, 0, waiting, call="load", **self._load)
        except (BrokenModel, InsufficientMemory) as error:
            self._end(child)
            self._refused.add_all(error)
            raise
        if self._closed:
            self._end(child)
            raise self._unloaded()
        self._concurrent = loaded["concurrent"]
        return loaded

    def _request(
        self,
        child: ChildProcess,
        seconds: float,
        lane: int,
        waiting: Callable[[], None] = lambda: None,
        **request: Any,
    ) -> Any:
        try:
            response = child.request(request, seconds, lane=lane, waiting=waiting)
        except TimeoutError as error:
            raise self._failed(child, self._error(str(error))) from None
        except BaseException:
            self._end(child)
            if self._closed:
                raise self._unloaded() from None
            raise
        if response is None and self._closed:
            self._end(child)
            raise self._unloaded()
        if response is None:
            no_memory = child.exit_status == -signal.SIGKILL
            ended = not self._end(child)
            raise _Died(self._no_memory(_KILLED) if no_memory else self._error(_ENDED), killed=ended)
        if "error" not in response:
            return response["value"]
        message = str(response["message"])
        match response["error"]:
            case "invalid_option":
                raise InvalidOption(response["option"], message)
            case "broken_model":
                raise BrokenModel(message, model=self._name)
            case "limit":
                raise self._failed(child, self._error(message))
            case "memory":
                raise self._failed(child, self._no_memory(message))
            case "system_limit":
                raise SystemLimit(message)
        raise BrokenModel(f"The tokenizer of `{self._name}` failed: {message}", model=self._name)

    def _failed(self, child: ChildProcess, failure: MlxkError) -> MlxkError:
        """End the process, and return the error of requests like those at work from now on for a while."""
        if self._end(child):  # else a call on another lane has ended it
            self._refused.add(failure)
        return failure

    def _end(self, child: ChildProcess) -> bool:
        """End a process. Returns False if another thread has done so."""
        try:
            self._children.remove(child)
        except ValueError:
            return False
        child.kill()
        return True

    def _error(self, reason: str) -> BrokenModel:
        return BrokenModel(f"The tokenizer of `{self._name}` exceeds a limit: {reason}.", model=self._name)

    def _no_memory(self, reason: str) -> InsufficientMemory:
        return InsufficientMemory(f"Not enough memory for the tokenizer of `{self._name}`: {reason}.", model=self._name)

    def _unloaded(self) -> EngineFailure:
        return EngineFailure(f"`{self._name}` was unloaded.")


def _kill_all(children: list[ChildProcess]) -> None:
    while children:
        children.pop().kill()
