"""Joining a part of the events early changes nothing of the complete response."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlxk_core.api.generation import (
    Channel,
    Delta,
    Finished,
    Progress,
    Started,
    TokenLogprob,
    ToolCallDelta,
    join_events,
    join_runs,
)

token = st.builds(TokenLogprob, st.sampled_from("ab"), st.just(-1.0))
event = st.one_of(
    st.builds(Delta, st.sampled_from(list(Channel)), st.text("ab", max_size=3), st.lists(token, max_size=2).map(tuple)),
    st.builds(
        ToolCallDelta,
        st.integers(0, 2),
        st.sampled_from([None, "call"]),
        st.sampled_from([None, "f"]),
        st.text("{}", max_size=3),
    ),
    st.just(Progress(1, 2)),
    st.just(Started(3, 4, prompt_text="p")),
)


@given(st.lists(st.lists(event, max_size=12), max_size=4))
def test_the_complete_response_is_the_same(parts):
    end = [Finished("stop")]
    joined = [each for part in parts for each in join_runs(part)]
    assert join_events([*joined, *end]) == join_events([*(each for part in parts for each in part), *end])
