"""Scores of a prompt that wait for their reader: packed, and counted as what they take."""

from __future__ import annotations

from mlxk_core._generation.jobs import LoadStarted, Outbox, RowStepped
from mlxk_core._generation.step_events import read_row
from mlxk_core.api.backends import PromptScored, ScoredToken

SCORES = [ScoredToken(token, -token / 2, token + 1, ((7, -0.5), (token, -1.5))) for token in range(800)]


def test_scores_are_the_same_after_they_were_packed():
    (event,) = read_row([PromptScored(1, SCORES)]).valid
    assert list(event.tokens) == SCORES


def test_scores_that_wait_count_until_they_are_taken():
    outbox = Outbox()
    outbox.put(LoadStarted())
    for _ in range(3):
        outbox.put(RowStepped([PromptScored(1, SCORES)], 0.0))
    assert len(outbox) == 4 + 300
    outbox.get()
    outbox.get()
    assert len(outbox) == 2 + 200
    outbox.get()
    outbox.get()
    assert len(outbox) == 0
