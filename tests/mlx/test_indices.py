"""Indices outside of an array, which a config can lead to: none reads other memory, in each way that networks index."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json, sys
from mlxk_mlx.loading import runtime
assert runtime.start().cpu
import mlx.core as mx
values = []
for expression in json.load(sys.stdin):
    few, far = mx.arange(8, dtype=mx.float32).reshape(4, 2), mx.array([1, 1 << 40])
    try:
        values.append(eval(expression).tolist())
    except IndexError as error:
        values.append(type(error).__name__)
print(json.dumps(values))
"""
ENDS = {
    "rows": ("few[far]", [[2, 3], [6, 7]]),
    "from the end": ("few[-far]", [[6, 7], [0, 1]]),
    "columns": ("few[:, far]", [[1, 1], [3, 3], [5, 5], [7, 7]]),
    "pairs": ("few[far, far]", [3, 7]),
    "after an ellipsis": ("few[None, ..., far][0, 0]", [1, 1]),
    "lists": ("few[[1, 1 << 40]]", [[2, 3], [6, 7]]),
    "small integers": ("few[mx.array([200], dtype=mx.uint8)]", [[6, 7]]),
    "take": ("mx.take(few, far, axis=0)", [[2, 3], [6, 7]]),
    "take of all": ("mx.take(few, far)", [1, 7]),
    "along an axis": ("mx.take_along_axis(few, far[None], axis=0)", [[2, 7]]),
    "put": ("mx.put_along_axis(few, far[None], mx.array(9.0), axis=0)", [[0, 1], [9, 3], [4, 5], [6, 9]]),
    "assigned": ("few.__setitem__(far, 9) or few", [[0, 1], [9, 9], [4, 5], [9, 9]]),
    "matrices": ("mx.gather_mm(mx.ones((1, 2)), few.reshape(2, 2, 2), rhs_indices=far)", [[[10, 12]], [[10, 12]]]),
}
ERRORS = ["few[4]", "few[-5]", "few[:, 1 << 40]", "few[0:0][far]", "mx.take(few, 8)"]


def test_an_index_outside_is_the_nearest_inside():
    assert run(*(expression for expression, _ in ENDS.values())) == [expected for _, expected in ENDS.values()]


def test_a_number_outside_and_an_empty_axis_are_errors():
    assert run(*ERRORS) == ["IndexError"] * len(ERRORS)


def run(*expressions):
    """Return the values of `expressions`, each with arrays of its own, in a process that a fault would end."""
    program = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(program, input=json.dumps(expressions), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
