"""The bar of a download on a terminal."""

import io
import sys

import pytest

from mlxk_pull.progress import Bar


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_the_size_is_readable_at_any_width(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Bar("org/a-model-with-a-long-name", 60_000_000, 0) as bar:
        bar.update(12_500_000)
    assert "12.5/60.0 MB" in sys.stderr.getvalue()
    assert ("━" in sys.stderr.getvalue()) is (columns == 80)
