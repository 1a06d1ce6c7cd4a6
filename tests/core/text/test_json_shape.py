"""How many values a JSON text has, without building them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from mlxk_core._text.json_shape import json_shape

TEXTS = st.text('"\\\\,[]{}:a', max_size=6)
VALUES = st.recursive(
    st.integers() | TEXTS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
)


def inner_values(value):
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(1 + inner_values(each) for each in below)


@given(VALUES)
def test_there_are_no_more_values_than_that(value):
    assert json_shape(json.dumps(value).encode()).values >= inner_values(value)


@given(VALUES)
def test_what_is_in_strings_is_not_counted_where_there_is_much(value):
    """Next to a long string the counts are exact, whatever it contains."""
    alone = json_shape(json.dumps([value, "x"]).encode())
    beside = json_shape(json.dumps([value, '"\\\\,[{' * 5000]).encode())
    assert beside.values <= alone.values
    assert beside.values >= inner_values([value, "x"])


def test_a_text_of_quotes_alone_is_counted_without_its_pieces():
    assert json_shape(b'"' * (8 << 20)).strings == 4 << 20
    assert json_shape(b'{"a": "' + rb"\"," * (2 << 20) + b'"}') == (2, 0, 1)
