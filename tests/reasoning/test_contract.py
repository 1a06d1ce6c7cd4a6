"""Every block format keeps the contract of formats, on texts that the kit makes."""

from __future__ import annotations

from functools import partial

import pytest

from mlxk_reasoning.formats import BLOCK_FORMATS
from mlxk_reasoning.plugin import _extractor
from mlxk_testing import assert_format

# A format that assumes an open block reads no response without a prompt as the others do.
_ROWS = [row for row in BLOCK_FORMATS if not row.assume_open]
_PAIRED = {"k2_horizon", "hunyuan", "granite_text"}  # each opener has a closer of its own


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row.name)
def test_a_block_format_keeps_the_contract(row):
    pairs = zip(row.openers, row.closers, strict=True) if row.name in _PAIRED else [(row.openers[0], row.closers[0])]
    for open, close in pairs:
        assert_format(partial(_extractor, row), open, close, label=row.label, anywhere=not row.sentences)
