"""Ranking of documents by relevance to a query, computed through the generation service."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from mlxk_core._embedding.configuration import longest_input
from mlxk_core._embedding.embedding import InputTooLong
from mlxk_core._embedding.partial_work import MOST_TOKENS, BatchWork, batches, beginning, check_cancelled, run_work
from mlxk_core._errors import BrokenModel, InvalidOption, UnsupportedModel
from mlxk_core._generation.engine import CrossEncoderEngine, Engine, NextTokenEngine
from mlxk_core._generation.service import GenerationService
from mlxk_core._generation.tokenizer import PairTokenizer, Tokenizer, TokenPair
from mlxk_core._models.classify import Facts
from mlxk_core._models.model import Model
from mlxk_core._models.sentence_transformers import module_folders, read_json

INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
"""The default instruction that Qwen3-Reranker was trained with."""
_BEFORE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
_AFTER = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
_MOST_CHARACTERS = 1 << 25
"""Of all documents of a request, each with the query: a tokenizer may read both for each of them, and blanks are many
characters of a token."""


@dataclass(frozen=True, kw_only=True)
class RerankRequest:
    """A query and the documents to rank.

    `top_n` keeps the best ones (None: all). `instruction` says what is relevant, for models that read one. With
    `truncate` a document that is too long is cut, else it is an error. `ttl` as in `EmbeddingRequest`.
    """

    model: Model
    query: str
    documents: Sequence[str]
    top_n: int | None = None
    instruction: str | None = None
    truncate: bool = False
    ttl: float | None = None


@dataclass(frozen=True)
class RankedDocument:
    """A document by its index in the request; `score` is between 0 and 1."""

    index: int
    score: float


@dataclass(frozen=True)
class Ranking:
    """The documents, the best first, and how many tokens the model read."""

    documents: Sequence[RankedDocument]
    tokens: int


def rerank(
    service: GenerationService, request: RerankRequest, *, cancelled: Callable[[], bool] = lambda: False
) -> Ranking:
    """Return the ranking of a request.

    The score is the sigmoid of a cross-encoder's logit, or a decoder's probability of "yes" against "no". Raises
    `UnsupportedModel` for a model that does not rank, and the errors of `embed`.
    """
    model = request.model
    reranker = _reranker(model)
    if request.instruction is not None and isinstance(reranker, _CrossEncoder):
        raise InvalidOption("instruction", f"`{model.name}` reads no instruction")
    waiting = partial(check_cancelled, cancelled)
    with service.tokenizer(model, needs="rerank", waiting=waiting) as tokenizer:
        size = len(request.query) + len(request.instruction or "")
        with service.tokenizing(waiting, size=size):
            for option, text in (("query", request.query), ("instruction", request.instruction or "")):
                if beginning(tokenizer, text, reranker.limit) is not text:
                    raise InputTooLong(option, f"has over {reranker.limit} tokens; `{model.name}` reads fewer")
            reranker = reranker.with_answers(tokenizer)  # here: the engine's thread must not wait for a tokenizer
            encode = reranker.encoder(tokenizer, request)
        inputs: list[_Input] = []
        tokens = characters = 0
        for index, document in enumerate(request.documents):
            check_cancelled(cancelled)
            characters += (size := len(request.query) + len(document))
            if characters > _MOST_CHARACTERS:
                raise InvalidOption("documents", f"have over {_MOST_CHARACTERS:,} characters, each with the query")
            with service.tokenizing(waiting, size=size):
                option, text = f"documents[{index}]", beginning(tokenizer, document, reranker.limit)
                if text is not document and not request.truncate:
                    raise InputTooLong(option, _too_long(f"over {reranker.limit}", reranker.limit, model))
                inputs.append(encode(text, option))
            tokens += len(inputs[-1])
            if tokens > MOST_TOKENS:
                raise InvalidOption("documents", f"have over {MOST_TOKENS:,} tokens, each with the query")
        order = list(batches([len(each) for each in inputs]))
        works = (_work(reranker, [inputs[index].pair() for index in batch]) for batch in order)
        scores: dict[int, float] = {}
        results = run_work(service, model, works, cancelled=cancelled, ttl=request.ttl)
        for batch, logits in zip(order, results, strict=True):
            scores.update(zip(batch, (_probability(logit, model) for logit in logits), strict=True))
    ranked = sorted(scores, key=lambda index: (-scores[index], index))[: request.top_n]
    return Ranking([RankedDocument(index, scores[index]) for index in ranked], tokens)


def _work(reranker: _Reranker, pairs: Sequence[TokenPair]) -> BatchWork[Sequence[float]]:
    return BatchWork(partial(reranker.score, pairs), [len(pair.tokens) for pair in pairs])


class _Input(Protocol):
    """What the model reads for one document, in little memory: there may be thousands. Its length is in tokens."""

    def __len__(self) -> int: ...

    def pair(self) -> TokenPair: ...


class _PackedPair:
    """A pair as a tokenizer made it."""

    def __init__(self, pair: TokenPair) -> None:
        self._tokens = array("I", pair.tokens)
        self._types = array("I", pair.types)

    def __len__(self) -> int:
        return len(self._tokens)

    def pair(self) -> TokenPair:
        return TokenPair(tuple(self._tokens), tuple(self._types))


class _FilledIn:
    """A document between what comes before and after each of them."""

    def __init__(self, head: Sequence[int], body: Sequence[int], tail: Sequence[int]) -> None:
        self._head = head
        self._body = array("I", body)
        self._tail = tail

    def __len__(self) -> int:
        return len(self._head) + len(self._body) + len(self._tail)

    def pair(self) -> TokenPair:
        return TokenPair((*self._head, *self._body, *self._tail))


_Encoder = Callable[[str, str], _Input]


class _Reranker(Protocol):
    """One kind of model that ranks. `limit` is its longest input in tokens, if known."""

    @property
    def limit(self) -> int | None: ...

    def with_answers(self, tokenizer: Tokenizer) -> _Reranker:
        """Return this, with the tokens whose logits are compared. Raises `UnsupportedModel` if there are none."""

    def encoder(self, tokenizer: Tokenizer, request: RerankRequest) -> _Encoder:
        """Return a function of a document and its option that returns what the model reads for that document.

        Both raise `InputTooLong`.
        """

    def score(self, pairs: Sequence[TokenPair], engine: Engine) -> Iterator[Sequence[float] | None]:
        """Yield None after each part of the work, and at last one logit a pair."""


@dataclass(frozen=True)
class _CrossEncoder:
    """An encoder with one output, which reads query and document together."""

    model: Model
    limit: int | None

    def with_answers(self, tokenizer: Tokenizer) -> _Reranker:
        return self

    def encoder(self, tokenizer: Tokenizer, request: RerankRequest) -> _Encoder:
        if not isinstance(tokenizer, PairTokenizer):
            raise _unsupported(self.model, "its tokenizer does not encode pairs")
        return partial(self._encode, tokenizer, request)

    def _encode(self, tokenizer: PairTokenizer, request: RerankRequest, document: str, option: str) -> _Input:
        pair = tokenizer.encode_pair(request.query, document)
        if self.limit is None or len(pair.tokens) <= self.limit:
            return _PackedPair(pair)
        if not request.truncate:
            raise InputTooLong(option, _too_long(len(pair.tokens), self.limit, self.model))
        return _PackedPair(tokenizer.encode_pair(request.query, document, max_tokens=self.limit))

    def score(self, pairs: Sequence[TokenPair], engine: Engine) -> Iterator[Sequence[float] | None]:
        if not isinstance(engine, CrossEncoderEngine):
            raise _unsupported(self.model, "its backend does not score pairs")
        return engine.score(pairs)


@dataclass(frozen=True)
class _Decoder:
    """A decoder that answers yes or no (Qwen3-Reranker). Its score is the difference of the two logits."""

    model: Model
    limit: int | None
    answers: tuple[int, int] | None
    """The ids of yes and no; None: they are looked up."""

    def with_answers(self, tokenizer: Tokenizer) -> _Reranker:
        if self.answers is not None:
            return self
        yes, no = tokenizer.token_id("yes"), tokenizer.token_id("no")
        if yes is None or no is None:
            raise _unsupported(self.model, "its tokenizer has no tokens `yes` and `no`")
        return replace(self, answers=(yes, no))

    def encoder(self, tokenizer: Tokenizer, request: RerankRequest) -> _Encoder:
        before = f"{_BEFORE}<Instruct>: {request.instruction or INSTRUCTION}\n<Query>: {request.query}\n<Document>: "
        head, tail = (tokenizer.encode(text, add_special_tokens=False) for text in (before, _AFTER))
        if self.limit is not None and len(head) + len(tail) > self.limit:
            raise InputTooLong("query", f"has too many tokens for `{self.model.name}`")
        return partial(self._encode, tokenizer, request.truncate, head, tail)

    def _encode(
        self, tokenizer: Tokenizer, truncate: bool, head: list[int], tail: list[int], document: str, option: str
    ) -> _Input:
        body = tokenizer.encode(document, add_special_tokens=False)
        excess = len(head) + len(body) + len(tail) - (self.limit or math.inf)
        if excess > 0:
            if not truncate:
                total = len(head) + len(body) + len(tail)
                raise InputTooLong(option, _too_long(total, self.limit, self.model))
            body = body[: len(body) - int(excess)]
        return _FilledIn(head, body, tail)

    def score(self, pairs: Sequence[TokenPair], engine: Engine) -> Iterator[Sequence[float] | None]:
        if not isinstance(engine, NextTokenEngine):
            raise _unsupported(self.model, "its backend does not return logits")
        assert self.answers is not None, "`with_answers` comes first"
        for logits in engine.next_token_logits([pair.tokens for pair in pairs], self.answers):
            yield None if logits is None else [yes_logit - no_logit for yes_logit, no_logit in logits]


def _reranker(model: Model) -> _Reranker:
    if "rerank" not in Facts(model).capabilities:
        raise _unsupported(model, "it is not a reranker")
    limit = longest_input(model, read_json(model, "sentence_bert_config.json"))
    if any(name.endswith("ForSequenceClassification") for name in Facts(model).classes):
        return _CrossEncoder(model, limit)
    return _Decoder(model, limit, _answers(model))


def _answers(model: Model) -> tuple[int, int] | None:
    folder = module_folders(model).get("LogitScore")
    if folder is None:
        return None
    config = read_json(model, f"{folder}/config.json")
    yes, no = config.get("true_token_id"), config.get("false_token_id")
    if not isinstance(yes, int) or not isinstance(no, int):
        raise _unsupported(model, "its LogitScore module does not name two tokens")
    return yes, no


def _probability(logit: float, model: Model) -> float:
    if not math.isfinite(logit):
        raise BrokenModel(
            f"`{model.name}` returned a score that is not finite: its weights are damaged.", model=model.name
        )
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


def _too_long(tokens: int | str, limit: int | None, model: Model) -> str:
    return f"has {tokens} tokens with the query; `{model.name}` reads at most {limit}"


def _unsupported(model: Model, reason: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"`{model.name}` cannot rerank: {reason}. Supported are cross-encoders with one label and Qwen3-Reranker.",
        model=model.name,
    )
