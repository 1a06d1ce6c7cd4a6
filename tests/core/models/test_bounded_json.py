"""JSON of model files: its values are counted before they are built, and half of a character is found."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxk_core.api.models import count_values, parse_json

PARTS = st.sampled_from(
    [
        "\\\\",
        "\\ud83d",
        "\\ude00",
        "\\uD83D\\uDE00",
        "\\uDFFF",
        "\\n",
        '\\"',
        "\\u0041",
        "d83d",
        "a",
        "\ud83d",
        "\ude00",
    ]
)


@given(st.lists(PARTS, max_size=8).map("".join), st.booleans())
def test_half_of_a_character_is_an_error(text, named):
    data = json.dumps({"x": 0}).replace('"x"' if named else "0", f'"{text}"')
    try:
        json.dumps(json.loads(data), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        with pytest.raises(ValueError, match="half"):
            parse_json(data)
    else:
        assert parse_json(data) == json.loads(data)


@pytest.mark.parametrize("number", ["1e308", "-9.87654321012345678E-307", "9" * 4300])
def test_numbers_that_take_long_to_read_count_for_many(number):
    assert count_values(f"[{number}, {number}]".encode()) >= 40
    with pytest.raises(ValueError, match="values"):
        parse_json("[" + ",".join([number] * ((1 << 18) // 20)) + "]")


def test_other_numbers_and_names_count_once():
    data = b'{"scale001": 1.5, "x": [0.3000000004, -12, 9999999]}'
    assert count_values(data) == 1 + 3 + 2
    assert parse_json(data)["x"][1] == -12


@pytest.mark.parametrize("value", [{"x" * 1025: 1}, [[{"a": {"x" * 1025: []}}]]])
def test_a_long_name_is_an_error(value):
    with pytest.raises(ValueError, match=r"1,025 characters \(at most 1,024\)"):
        parse_json(json.dumps(value))


@pytest.mark.parametrize("value", [{"a": "x" * 11}, [["x" * 11]], {"b": [{"c": "x" * 11}]}])
def test_a_long_text_is_an_error_where_texts_are_limited(value):
    assert parse_json(json.dumps(value)) == value
    with pytest.raises(ValueError, match="at most 10"):
        parse_json(json.dumps(value), longest_text=10)
