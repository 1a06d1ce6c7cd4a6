"""Errors: one table from type to what is seen outside."""

from __future__ import annotations

import inspect

import pytest

from mlxk_core import _errors
from mlxk_core._errors import KINDS, Kind, MlxkError, kind_of

OURS = [cls for _, cls in inspect.getmembers(_errors, inspect.isclass) if issubclass(cls, MlxkError)]


@pytest.mark.parametrize("cls", OURS)
def test_every_error_has_a_row_of_its_own(cls):
    assert cls in KINDS


def test_types_are_distinct():
    assert len({kind.type for kind in KINDS.values()}) == len(KINDS)


def test_exit_codes_are_the_four_that_are_promised():
    assert {kind.exit_code for kind in KINDS.values()} == {1, 2, 130}
    assert all(400 <= kind.http_status < 600 for kind in KINDS.values())


def test_wrong_usage_is_2_and_interrupted_130():
    assert kind_of(_errors.InvalidOption("--x", "is wrong")).exit_code == 2
    assert kind_of(_errors.Interrupted("stopped")).exit_code == 130


def test_an_error_of_a_plugin_inherits_its_bases_row_or_brings_its_own():
    class Derived(_errors.BrokenModel):
        pass

    class Own(MlxkError):
        kind = Kind("teapot", 1, 418)

    assert kind_of(Derived("x")) == KINDS[_errors.BrokenModel]
    assert kind_of(Own("x")) == Kind("teapot", 1, 418)


def test_anything_else_is_an_internal_error():
    assert kind_of(KeyError("x")) == Kind("internal_error", 1, 500)


def test_an_error_carries_its_facts_and_its_data_apart():
    error = _errors.AmbiguousModel("qwen", ["b", "a"])
    assert error.details == {"reference": "qwen", "candidates": ["b", "a"]}
    assert error.data is None
    assert str(error) == "`qwen` matches 2 models: b, a. Choose one."
