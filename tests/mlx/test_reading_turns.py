"""Prompts that cannot be read together are read in turns, and no answer changes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mlxk_core._generation.engine import Prefilled, Row, Sampled
from mlxk_core.api.generation import Message
from mlxk_mlx.engine.reading_turns import ReadingTurns
from mlxk_testing.engine_contract import GREEDY, alone, drive
from mlxk_testing.tiny_models import SLIDING_WINDOW, random_model


@dataclass(eq=False)
class Prompt:
    unread: int


def taken(turns, most=9):
    reading = []
    while len(reading) < most and (row := turns.take(lambda row: True)) is not None:
        reading.append(row)
    return reading


def test_prompts_are_read_in_order_of_arrival_while_all_fit():
    turns = ReadingTurns[Prompt]()
    rows = [Prompt(10), Prompt(5), Prompt(900)]
    for row in rows:
        turns.add(row)
    assert taken(turns) == rows
    assert turns.to_pause(rows, 4) == []


def test_short_prompts_and_long_ones_have_turns():
    turns = ReadingTurns[Prompt]()
    long = [Prompt(60_000), Prompt(50_000)]
    for row in long:
        turns.add(row)
    reading = taken(turns, 1)
    assert reading == long[:1]
    short = [Prompt(20) for _ in range(20)]
    for row in short:
        turns.add(row)
    order = []
    for _ in range(40):
        for row in turns.to_pause(reading, 1):
            reading.remove(row)
            turns.add(row)
        if not reading:
            reading = taken(turns, 1)
        order.append(reading[0])
        reading[0].unread -= 500
        if reading[0].unread <= 0:
            reading.pop()
    assert order.index(short[0]) <= 4
    assert set(short) < set(order)
    between = order[order.index(short[0]) : order.index(short[-1])]
    assert any(row in long for row in between)


def test_a_row_that_is_forgotten_is_not_taken():
    turns = ReadingTurns[Prompt]()
    rows = [Prompt(1), Prompt(5000)]
    for row in rows:
        turns.add(row)
        turns.discard(row)
    assert not turns
    assert turns.take(lambda row: True) is None


@pytest.fixture(params=[SLIDING_WINDOW, {}], ids=["sliding window", "llama"])
def engine(tmp_path, bench, request):
    random_model(tmp_path / "model", seed=3, config=request.param, context=32768)
    with bench(tmp_path / "model") as engine:
        yield engine


def chat(engine, text, id):
    """A prompt that ends with the generation prompt: it is read in two segments."""
    rendered = engine.render([Message(role="user", content=text)])
    return Row(id=id, prompt=engine.tokenizer.encode(rendered, add_special_tokens=False), max_tokens=6, sampling=GREEDY)


def events_of(engine, rows, ends):
    """Add the rows one step after the other, and return the events until `ends` have ended."""
    events, left = [], set(ends)
    waiting = list(rows)
    while left:
        if waiting:
            engine.add(waiting.pop(0))
        step = engine.step()
        events += step
        left -= {event.id for event in step if isinstance(event, Sampled) and event.finish is not None}
    return events


def test_a_short_chat_does_not_wait_for_a_long_one(engine):
    def read(e):
        long = [chat(e, letter * 12_000, id) for id, letter in enumerate("abcdefgh", 1)]
        events = events_of(e, [*long, chat(e, "Hi", 9)], {9})
        for row in long:
            e.remove(row.id)
        return events

    events = engine.run(read)
    unread = [event for event in events if isinstance(event, Prefilled) and event.id < 9]
    assert unread
    assert all(event.done < event.total for event in unread)


def test_answers_are_those_of_rows_alone_however_often_they_are_paused(engine):
    def read(e):
        plain = [Row(id=id, prompt=[id] * 1800, max_tokens=6, sampling=GREEDY) for id in (10, 11, 12)]
        lengths = [1800] * 4 + [20] * 2
        rows = [*plain, *(chat(e, chr(97 + id) * length, id) for id, length in enumerate(lengths))]
        together = drive(e, rows)
        assert all(together[row.id].tokens for row in rows)
        e.reset()
        return together, {row.id: alone(e, row) for row in rows}

    together, expected = engine.run(read)
    assert {id: outcome.tokens for id, outcome in together.items()} == {
        id: outcome.tokens for id, outcome in expected.items()
    }
