"""Contract of engines: checks for the engine of a backend, and a thread to run them on.

    from mlxk_testing import check_engine

    def test_the_engine_keeps_the_contract(tmp_path):
        check_engine(load, Model(name="random", path=random_model(tmp_path / "random")))

`CHECKS` are the single checks, for a test of each on one engine: `EngineHarness` loads it and runs them on its thread.
The model's greedy answers must continue for 40 tokens (those of `mlxk_testing.tiny_models.random_model` do), and its
numbers must be the same in every batch (float32).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import TracebackType
from typing import Literal, TypeVar

from mlxk_core.api.backends import EmbeddingEngine, Engine, EngineContext, Prefilled, Row, RowFailed, Sampled
from mlxk_core.api.errors import InvalidOption, TemplateError
from mlxk_core.api.generation import Message, Sampling
from mlxk_core.api.hooks import BackendSpec
from mlxk_core.api.host import Host
from mlxk_core.api.models import Model

Load = Callable[[Model, EngineContext], Engine]
Check = Callable[[Engine], None]
_T = TypeVar("_T")

GREEDY = Sampling(temperature=0)
_MAX_STEPS = 10_000


class EngineHarness:
    """An engine that is loaded, used and closed on its own thread, as in the service.

    `run(check)` calls a function with the engine on that thread, and returns its result or raises its error.
    """

    def __init__(self, load: Load, model: Model, *, cache_bytes: int = 1 << 26, concurrency: int = 8) -> None:
        self._load = load
        self._model = model
        self._exit_functions: list[Callable[[], None]] = []
        self._context = EngineContext(
            alive=lambda: None,
            at_thread_exit=self._at_thread_exit,
            cache_bytes=cache_bytes,
            concurrency=concurrency,
        )
        self._calls: SimpleQueue[tuple[Check, Future[object]] | None] = SimpleQueue()
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._main, name="engine-bench")

    def __enter__(self) -> EngineHarness:
        self._thread.start()
        self._ready.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.put(None)
        self._thread.join()

    def run(self, function: Callable[[Engine], _T]) -> _T:
        future: Future[object] = Future()
        self._calls.put((function, future))  # type: ignore[arg-type]
        return future.result()  # type: ignore[return-value]

    def _at_thread_exit(self, function: Callable[[], None]) -> None:
        if function not in self._exit_functions:
            self._exit_functions.append(function)

    def _main(self) -> None:
        try:
            try:
                engine = self._load(self._model, self._context)
            except BaseException as error:
                self._ready.set_exception(error)
                return
            self._ready.set_result(None)
            while (call := self._calls.get()) is not None:
                function, future = call
                try:
                    future.set_result(function(engine))
                except BaseException as error:
                    future.set_exception(error)
                    engine.reset()
                del function, future, call
            engine.close()
            del engine
        finally:
            for exit_function in self._exit_functions:
                exit_function()


@dataclass
class Outcome:
    """The result of one row."""

    tokens: list[int] = field(default_factory=list)
    finish: Literal["stop", "length", "complete"] | None = None
    sampled: list[Sampled] = field(default_factory=list)
    prefilled: list[Prefilled] = field(default_factory=list)
    error: Exception | None = None

    @property
    def cached(self) -> int:
        return self.prefilled[-1].cached if self.prefilled else 0


def drive(
    engine: Engine,
    rows: Iterable[Row],
    *,
    later: Mapping[int, Row] | None = None,
    remove: Mapping[int, int] | None = None,
) -> dict[int, Outcome]:
    """Run `rows` to their ends and return their outcomes by id.

    `later` has rows to add, and `remove` ids to remove, by the number of the step before which that happens.
    """
    later, remove = dict(later or {}), dict(remove or {})
    outcomes: dict[int, Outcome] = {}
    running: set[int] = set()

    def add(row: Row) -> None:
        engine.check(row)
        engine.add(row)
        outcomes[row.id] = Outcome()
        running.add(row.id)

    for row in rows:
        add(row)
    for step in range(_MAX_STEPS):
        if step in later:
            add(later.pop(step))
        if step in remove:
            running.discard(remove[step])
            engine.remove(remove.pop(step))
        if not running and not later:
            return outcomes
        for event in engine.step():
            assert event.id in running, f"an event of row {event.id}, which is over or was never added: {event}"
            outcome = outcomes[event.id]
            match event:
                case Prefilled():
                    assert not outcome.tokens, "the prompt is read before the first token"
                    outcome.prefilled.append(event)
                case Sampled():
                    outcome.sampled.append(event)
                    outcome.tokens.append(event.token)
                    outcome.finish = event.finish
                    if event.finish:
                        running.discard(event.id)
                case RowFailed():
                    outcome.error = event.error
                    running.discard(event.id)
    raise AssertionError(f"rows {sorted(running)} did not end in {_MAX_STEPS} steps")


def alone(engine: Engine, row: Row) -> Outcome:
    """Run one row on an engine without cached prompts."""
    engine.reset()
    return drive(engine, [row])[row.id]


def prompt(engine: Engine, text: str) -> list[int]:
    return engine.tokenizer.encode(text, add_special_tokens=False)


_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Hi",
    "A much longer prompt, which takes more than one chunk to read when other rows are being decoded. " * 3,
    "1, 2, 3, 4,",
)


def _rows(engine: Engine, *, sampling: Sampling = GREEDY, max_tokens: int = 24) -> list[Row]:
    return [
        Row(id=number, prompt=prompt(engine, text), max_tokens=max_tokens, sampling=sampling)
        for number, text in enumerate(_TEXTS, start=1)
    ]


def a_batch_gives_each_row_what_it_gets_alone(engine: Engine) -> None:
    rows = _rows(engine)
    expected = {row.id: alone(engine, row).tokens for row in rows}
    engine.reset()
    assert {id: outcome.tokens for id, outcome in drive(engine, rows).items()} == expected


def a_seeded_row_draws_the_same_alone_and_in_a_batch(engine: Engine) -> None:
    seeded = Sampling(temperature=0.9, top_p=0.95, seed=7)
    rows = _rows(engine, sampling=seeded)
    expected = {row.id: alone(engine, row).tokens for row in rows}
    engine.reset()
    unseeded = Row(id=99, prompt=rows[0].prompt, max_tokens=30, sampling=Sampling(temperature=0.9))
    outcomes = drive(engine, [unseeded, *rows])
    assert {row.id: outcomes[row.id].tokens for row in rows} == expected
    other = alone(engine, Row(id=1, prompt=rows[0].prompt, max_tokens=24, sampling=Sampling(temperature=0.9, seed=8)))
    assert other.tokens != expected[1], "another seed draws other tokens"


def rows_that_join_later_change_nothing(engine: Engine) -> None:
    rows = _rows(engine)
    expected = {row.id: alone(engine, row).tokens for row in rows}
    engine.reset()
    outcomes = drive(engine, rows[:1], later={3: rows[1], 5: rows[2], 9: rows[3]})
    assert {id: outcome.tokens for id, outcome in outcomes.items()} == expected


def a_removed_row_ends_and_the_others_continue(engine: Engine) -> None:
    rows = _rows(engine)
    expected = {row.id: alone(engine, row).tokens for row in rows}
    engine.reset()
    outcomes = drive(engine, rows, remove={1: 3, 7: 1})  # one while its prompt is read, one while it is decoded
    assert {id: outcomes[id].tokens for id in (2, 4)} == {id: expected[id] for id in (2, 4)}
    assert outcomes[1].finish is None and outcomes[3].finish is None
    engine.remove(1)
    engine.remove(12345)


def a_removed_row_can_be_run_again(engine: Engine) -> None:
    row = _rows(engine)[2]
    expected = alone(engine, row).tokens
    for step in (1, 8):
        engine.reset()
        drive(engine, [row], remove={step: row.id})
        again = Row(id=50 + step, prompt=row.prompt, max_tokens=row.max_tokens, sampling=row.sampling)
        assert drive(engine, [again])[again.id].tokens == expected


def a_stop_token_ends_the_row_and_is_its_last_token(engine: Engine) -> None:
    row = _rows(engine)[0]
    tokens = alone(engine, row).tokens
    stop = tokens[5]
    stopped = Row(id=2, prompt=row.prompt, max_tokens=24, sampling=GREEDY, stop_tokens=frozenset({stop, 1 << 40}))
    outcome = drive(engine, [stopped])[2]
    assert outcome.tokens == tokens[: tokens.index(stop) + 1]
    assert outcome.finish == "stop"


def max_tokens_is_exact(engine: Engine) -> None:
    rows = [Row(id=count, prompt=prompt(engine, "Count"), max_tokens=count, sampling=GREEDY) for count in (1, 2, 3, 17)]
    for row, outcome in zip(rows, drive(engine, rows).values(), strict=True):
        assert len(outcome.tokens) == row.max_tokens
        assert outcome.finish == "length"


def progress_on_a_prompt_is_reported_to_its_end(engine: Engine) -> None:
    row = _rows(engine)[2]
    events = alone(engine, row).prefilled
    assert events, "step() returned no Prefilled for the prompt: its progress must be reported up to done == total"
    assert events[-1].done == events[-1].total == len(row.prompt)
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert all(event.cached == 0 for event in events)


def a_known_beginning_changes_no_token(engine: Engine) -> None:
    first = _rows(engine)[2]
    answer = alone(engine, first).tokens
    continued = Row(
        id=10, prompt=[*first.prompt, *answer, *prompt(engine, " And then?")], max_tokens=12, sampling=GREEDY
    )
    parted = Row(id=11, prompt=[*first.prompt[:100], *prompt(engine, " Or not?")], max_tokens=12, sampling=GREEDY)
    same = Row(id=12, prompt=first.prompt, max_tokens=24, sampling=GREEDY)
    fresh = {row.id: alone(engine, row).tokens for row in (continued, parted, same)}
    engine.reset()
    drive(engine, [first])
    for row in (parted, same, continued):
        outcome = drive(engine, [row])[row.id]
        assert outcome.tokens == fresh[row.id]
        assert 0 <= outcome.cached < len(row.prompt), "at least one token of a prompt is computed"


def rows_are_gone_after_a_reset(engine: Engine) -> None:
    rows = _rows(engine)
    expected = alone(engine, rows[0]).tokens
    for row in rows:
        engine.add(row)
    engine.step()
    engine.reset()
    assert not list(engine.step())
    assert drive(engine, [rows[0]])[1].tokens == expected


def log_probabilities_are_returned_on_request(engine: Engine) -> None:
    ids = prompt(engine, "Probably")
    asked = {1: None, 2: 0, 3: 3, 4: 5}
    rows = [
        Row(id=id, prompt=ids, max_tokens=6, sampling=Sampling(temperature=0, logprobs=count))
        for id, count in asked.items()
    ]
    outcomes = drive(engine, rows)
    for sampled in outcomes[1].sampled:
        assert sampled.logprob is None and not sampled.top
    for id in (2, 3, 4):
        for sampled in outcomes[id].sampled:
            assert sampled.logprob is not None and sampled.logprob <= 0
            assert len(sampled.top) == asked[id]
            values = [value for _, value in sampled.top]
            assert values == sorted(values, reverse=True)
            assert not sampled.top or sampled.top[0][1] >= sampled.logprob


def a_bias_moves_the_choice(engine: Engine) -> None:
    ids = prompt(engine, "Say")
    wanted = prompt(engine, "z")[0]
    row = Row(id=1, prompt=ids, max_tokens=5, sampling=Sampling(temperature=0, logit_bias={wanted: 1000.0}))
    assert alone(engine, row).tokens == [wanted] * 5


def penalties_keep_an_answer_from_repeating_itself(engine: Engine) -> None:
    ids = prompt(engine, "Say")
    wanted = prompt(engine, "z")[0]
    push = {wanted: 30.0}
    for penalty in (
        Sampling(temperature=0, logit_bias=push, presence_penalty=1000.0),
        Sampling(temperature=0, logit_bias=push, frequency_penalty=1000.0),
    ):
        tokens = alone(engine, Row(id=1, prompt=ids, max_tokens=8, sampling=penalty)).tokens
        assert len(set(tokens)) == len(tokens)
    prompted = Row(
        id=1,
        prompt=[*ids, wanted],
        max_tokens=1,
        sampling=Sampling(temperature=0, logit_bias=push, presence_penalty=1000.0),
    )
    assert alone(engine, prompted).tokens == [wanted], "penalties apply to the answer, not to the prompt"


def invalid_rows_are_rejected_before_they_run(engine: Engine) -> None:
    ids = prompt(engine, "No")
    vocab = engine.tokenizer.vocab_size
    good = Row(id=1, prompt=ids, max_tokens=8, sampling=GREEDY)
    expected = alone(engine, good).tokens
    bad = [
        Row(id=2, prompt=[], max_tokens=8, sampling=GREEDY),
        Row(id=2, prompt=ids, max_tokens=0, sampling=GREEDY),
        Row(id=2, prompt=[vocab], max_tokens=8, sampling=GREEDY),
        Row(id=2, prompt=[-1], max_tokens=8, sampling=GREEDY),
        *(
            Row(id=2, prompt=ids, max_tokens=8, sampling=sampling)
            for sampling in (
                Sampling(temperature=-1),
                Sampling(temperature=float("nan")),
                Sampling(top_p=-0.1),
                Sampling(top_p=1.5),
                Sampling(top_k=-1),
                Sampling(min_p=1.1),
                Sampling(repetition_penalty=0),
                Sampling(logit_bias={vocab: 1.0}),
                Sampling(logit_bias={-1: 1.0}),
                Sampling(logit_bias={0: float("inf")}),
                Sampling(logprobs=-1),
            )
        ),
    ]
    for row in bad:
        try:
            engine.check(row)
        except InvalidOption:
            continue
        raise AssertionError(f"{row} was not rejected")
    assert drive(engine, [good])[1].tokens == expected


def extreme_values_run(engine: Engine) -> None:
    ids = prompt(engine, "Yes")
    greedy = alone(engine, Row(id=1, prompt=ids, max_tokens=6, sampling=GREEDY)).tokens
    narrow = (
        Sampling(temperature=1.0, top_k=1),
        Sampling(temperature=1.0, top_p=1e-6),
        Sampling(temperature=1.0, min_p=1.0),
        Sampling(temperature=1e-30),
    )
    wide = (
        Sampling(temperature=1.0, top_k=1 << 30),
        Sampling(temperature=50.0, top_p=0.5, top_k=5, min_p=0.5, repetition_penalty=2.0, seed=-1),
        Sampling(temperature=1.0, seed=1 << 70),
    )
    rows = [
        Row(id=id, prompt=ids, max_tokens=6, sampling=sampling) for id, sampling in enumerate((*narrow, *wide), start=1)
    ]
    outcomes = drive(engine, rows)
    assert [outcomes[id].tokens for id in range(1, len(narrow) + 1)] == [greedy] * len(narrow)
    assert all(len(outcome.tokens) == 6 for outcome in outcomes.values())


_DIFFICULT = (
    " A leading blank",
    "  two of them\n\nand a line\n",
    "emoji 🙂👩‍👩‍👧‍👦🇨🇭 between words",
    "日本語のテキスト",
    "trailing blanks   ",
    "\ttabs\tand\r\n",
)


def streamed_text_is_decoded_text(engine: Engine) -> None:
    tokenizer = engine.tokenizer
    texts = [tokenizer.encode(text, add_special_tokens=False) for text in _DIFFICULT]
    noise = [(index * 7919) % tokenizer.vocab_size for index in range(300)]
    for tokens in (*texts, *(text[:-1] for text in texts), *(text[1:] for text in texts), noise):
        assert _stream_text(engine, tokens) == tokenizer.decode(tokens)


def a_character_is_whole_or_held_back(engine: Engine) -> None:
    tokens = prompt(engine, "x 🙂 y")
    detokenizer = engine.tokenizer.detokenizer()
    parts = [*map(detokenizer.add, tokens), detokenizer.finish()]
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(parts)
    assert "🙂" in "".join(parts)


def a_cut_off_character_is_replaced_at_the_end(engine: Engine) -> None:
    tokens = prompt(engine, "🙂")
    if len(tokens) > 1:
        assert _stream_text(engine, tokens[:-1]).endswith("\N{REPLACEMENT CHARACTER}")


def pieces_join_to_the_text(engine: Engine) -> None:
    for text in _DIFFICULT:
        tokens = prompt(engine, text)
        pieces = [engine.tokenizer.piece(token) for token in tokens]
        if None not in pieces:
            joined = b"".join(piece for piece in pieces if piece is not None).decode()
            assert joined.lstrip(" ") == engine.tokenizer.decode(tokens).lstrip(" ")


def the_vocabulary_is_known(engine: Engine) -> None:
    tokenizer = engine.tokenizer
    assert all(0 <= token < tokenizer.vocab_size for token in prompt(engine, "".join(_DIFFICULT)))
    assert tokenizer.token_id("no single token says all of this") is None
    for token in engine.native_stops:
        text = tokenizer.decode([token])
        assert tokenizer.token_id(text) == token, "a special token appears as its text, and is found by it"


def a_conversation_is_rendered_or_rejected(engine: Engine) -> None:
    turns = [Message(role="user", content="Is this rendered?")]
    try:
        opened = engine.render(turns)
    except TemplateError:
        return
    assert "Is this rendered?" in opened
    assert engine.render(turns, generation_prompt=False) in opened


def memory_is_counted(engine: Engine) -> None:
    assert engine.memory > 0


class _Alternating:
    """A constraint that allows two tokens in turn, and ends after eight."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = tokens
        self._accepted = 0

    @property
    def complete(self) -> bool:
        return self._accepted == 8

    def mask(self) -> bytes:
        token = self._tokens[self._accepted % 2]
        return bytes(token // 8) + bytes([1 << token % 8])

    def accept(self, token: int, /) -> None:
        assert token == self._tokens[self._accepted % 2], "a token that the mask excludes was drawn"
        self._accepted += 1


def a_constraint_is_kept(engine: Engine) -> None:
    ids, a, b = prompt(engine, "Say"), prompt(engine, "a")[0], prompt(engine, "b")[0]
    free = Row(id=1, prompt=ids, max_tokens=12, sampling=GREEDY)
    expected = alone(engine, free).tokens
    engine.reset()
    constrained = Row(id=2, prompt=ids, max_tokens=12, sampling=GREEDY, constraint=_Alternating((a, b)))
    outcomes = drive(engine, [free, constrained])
    assert outcomes[1].tokens == expected, "a constraint applies to one row only"
    assert outcomes[2].tokens[:8] == [a, b] * 4
    assert outcomes[2].finish == "complete"


def vectors_do_not_depend_on_the_batch(engine: Engine) -> None:
    assert isinstance(engine, EmbeddingEngine), "the backend lists embeddings, but its engine has no embed()"
    inputs = [prompt(engine, text) for text in ("One.", "A much longer one, of many more tokens.")]
    together = _vectors(engine, inputs)
    for tokens, vector in zip(inputs, together, strict=True):
        [single] = _vectors(engine, [tokens])
        assert all(abs(x - y) < 1e-3 for x, y in zip(single, vector, strict=True))
        assert abs(sum(value * value for value in vector) - 1) < 1e-3


def _vectors(engine: EmbeddingEngine, inputs: Sequence[Sequence[int]]) -> Sequence[Sequence[float]]:
    *parts, vectors = engine.embed(inputs, pooling="mean", normalize=True)
    assert vectors is not None and parts == [None] * len(parts), "None for each part of the work, then the vectors"
    return vectors


CHECKS: Sequence[Check] = (
    a_batch_gives_each_row_what_it_gets_alone,
    a_seeded_row_draws_the_same_alone_and_in_a_batch,
    rows_that_join_later_change_nothing,
    a_removed_row_ends_and_the_others_continue,
    a_removed_row_can_be_run_again,
    a_stop_token_ends_the_row_and_is_its_last_token,
    max_tokens_is_exact,
    progress_on_a_prompt_is_reported_to_its_end,
    a_known_beginning_changes_no_token,
    rows_are_gone_after_a_reset,
    log_probabilities_are_returned_on_request,
    a_bias_moves_the_choice,
    penalties_keep_an_answer_from_repeating_itself,
    invalid_rows_are_rejected_before_they_run,
    extreme_values_run,
    streamed_text_is_decoded_text,
    a_character_is_whole_or_held_back,
    a_cut_off_character_is_replaced_at_the_end,
    pieces_join_to_the_text,
    the_vocabulary_is_known,
    a_conversation_is_rendered_or_rejected,
    memory_is_counted,
    a_constraint_is_kept,
    vectors_do_not_depend_on_the_batch,
)


_NEEDS: Mapping[Check, frozenset[str]] = {
    a_seeded_row_draws_the_same_alone_and_in_a_batch: frozenset({"temperature", "seed"}),
    log_probabilities_are_returned_on_request: frozenset({"logprobs"}),
    a_bias_moves_the_choice: frozenset({"logit_bias"}),
    penalties_keep_an_answer_from_repeating_itself: frozenset({"logit_bias", "presence_penalty", "frequency_penalty"}),
    extreme_values_run: frozenset({"temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed"}),
}
"""The sampling options that a check uses."""
_CONSTRAINED = frozenset({a_constraint_is_kept})
_EMBEDS = frozenset({vectors_do_not_depend_on_the_batch})


def checks_for(backend: BackendSpec) -> list[Check]:
    """Return the checks of what the engines of `backend` claim to do."""
    return [
        check
        for check in CHECKS
        if _NEEDS.get(check, frozenset()) <= backend.sampling
        and (backend.constraints or check not in _CONSTRAINED)
        and ("embeddings" in backend.tasks or check not in _EMBEDS)
    ]


def check_engine(backend: BackendSpec | Load, model: Model, *, skip: Iterable[Check] = ()) -> None:
    """Load `model` and run the checks of what `backend` claims. Raises `AssertionError` naming each that fails.

    A function that loads a model claims everything. `skip` leaves out checks.
    """
    if isinstance(backend, BackendSpec):
        load, checks = Host().load(backend.target), checks_for(backend)
    else:
        load, checks = backend, list(CHECKS)
    failed: list[str] = []
    with EngineHarness(load, model) as harness:
        for check in checks:
            if check in skip:
                continue
            try:
                harness.run(check)
            except Exception as error:
                failed.append(f"{describe(check)}: {type(error).__name__}: {error}")
    assert not failed, "the engine does not keep the contract:\n" + "\n".join(failed)


def describe(check: Check) -> str:
    """Return the name of a check, for pytest's `ids`."""
    return getattr(check, "__name__", repr(check))


def _stream_text(engine: Engine, tokens: Iterable[int]) -> str:
    detokenizer = engine.tokenizer.detokenizer()
    return "".join([*map(detokenizer.add, tokens), detokenizer.finish()])
