"""The life cycle of a job: the table, and the page that is drawn from it."""

from __future__ import annotations

import itertools
import runpy

import pytest

from mlxk_core._generation.job_state import TERMINAL, TRANSITIONS, Actor, InvalidTransition, JobState
from mlxk_core._generation.jobs import Job


def job(state=JobState.QUEUED):
    return Job(id=1, model=None, backend=None, _state=state)


def test_the_documented_diagram_is_current(repository):
    script = runpy.run_path(str(repository / "tools" / "job_states.py"))
    page = (repository / "docs" / "explanation" / "job-states.md").read_text(encoding="utf-8")
    assert script["updated"](page) == page, "run `uv run python tools/job_states.py`"
    assert all(f"| {t.source.value} | {t.target.value} |" in page for t in TRANSITIONS)


@pytest.mark.parametrize("transition", TRANSITIONS, ids=lambda t: f"{t.source.value}-{t.target.value}-{t.actor.value}")
def test_a_listed_transition_is_made(transition):
    one = job(transition.source)
    one.change_state(transition.target, by=transition.actor)
    assert one.state is transition.target
    assert one.ended == (transition.target in TERMINAL)


def test_every_other_transition_is_refused_and_changes_nothing():
    listed = {(t.source, t.target, t.actor) for t in TRANSITIONS}
    others = set(itertools.product(JobState, JobState, Actor)) - listed
    for source, target, actor in others:
        one = job(source)
        with pytest.raises(InvalidTransition, match=source.value):
            one.change_state(target, by=actor)
        assert one.state is source


def test_every_state_is_reached_and_every_job_can_end():
    reached, edges = {JobState.QUEUED}, {(t.source, t.target) for t in TRANSITIONS}
    for _ in JobState:
        reached |= {target for source, target in edges if source in reached}
    assert reached == set(JobState)
    assert {JobState.FINISHED, JobState.FAILED, JobState.CANCELLED, JobState.RELEASED} == TERMINAL
    for state in set(JobState) - TERMINAL:
        assert {(state, JobState.FAILED), (state, JobState.CANCELLED)} <= edges


def test_no_transition_is_listed_twice():
    keys = [(t.source, t.target, t.actor) for t in TRANSITIONS]
    assert len(keys) == len(set(keys))
