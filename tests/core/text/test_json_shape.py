"""How many values a JSON text has, without building them."""

from __future__ import annotations

import json
import tracemalloc

from hypothesis import given, settings
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


@settings(max_examples=25, deadline=None)
@given(VALUES, st.integers(60_000, 70_000))
def test_what_is_in_strings_is_not_counted(value, length):
    """Wherever the text is cut into pieces."""
    alone = json_shape(json.dumps([value, "x"]).encode())
    assert json_shape(json.dumps([('"\\\\,[{' * length)[:length], value]).encode()) == alone
    assert json_shape(json.dumps([" " * length, value]).encode()) == alone


def test_a_text_of_quotes_alone_is_counted():
    assert json_shape(b'"' * (8 << 20)).strings == 4 << 20
    assert json_shape(b'{"a": "' + rb"\"," * (2 << 20) + b'"}') == (2, 0, 1, 0)


def test_numbers_that_take_long_to_read_count_for_many():
    """13 us for an exponent of three digits, 300 us for 4,300 digits, whichever sign and letter they have."""
    for number in ("1e308", "-1E+290", "5e-324", "1.0E0300", "1" * 64, "-0." + "0" * 307 + "1"):
        assert json_shape(f"[{number}, {number}]".encode()).long_numbers >= 200, number
    assert json_shape(b"[" + b"7" * 4300 + b"]").values > 3000 * json_shape(b"[7, 7]").values
    assert json_shape(b"[1e23, 9007199254740993.0]").long_numbers == 8
    assert json_shape(b"[445014771701440.280266e91]").long_numbers == 32
    assert json_shape(b'[1234567890, 0.1, -12.5, "1e308 or 1e309"]').long_numbers == 0


def test_no_call_looks_at_megabytes():
    """Each would keep the interpreter locked, so that no other thread of the server goes on."""
    data = b'["aaaaaaaaaaa"' + b', "aaaaaaaaaaa"' * 500_000 + b"]"
    tracemalloc.start()
    try:
        assert json_shape(data) == (500_001, 500_000, 1, 0)
        assert tracemalloc.get_traced_memory()[1] < len(data)
    finally:
        tracemalloc.stop()
