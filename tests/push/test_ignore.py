"""The rules of `.hfignore`, as in a `.gitignore`."""

from __future__ import annotations

import pytest

from mlxk_core._errors import InvalidOption
from mlxk_push.ignore import ALWAYS, Ignore


@pytest.mark.parametrize(
    ("rules", "left_out", "taken"),
    [
        (["*.log"], ["a.log", "deep/er/b.log"], ["a.log.txt", "log"]),
        (["/a.txt"], ["a.txt"], ["b/a.txt"]),
        (["drafts/"], ["drafts/x", "old/drafts/y/z"], ["drafts", "mydrafts/x"]),
        (["docs/*.md"], ["docs/a.md"], ["docs/deep/a.md", "x/docs/a.md"]),
        (["docs/**/x"], ["docs/x", "docs/a/b/x"], ["x"]),
        (["*.bin", "!keep.bin"], ["a.bin"], ["keep.bin", "d/keep.bin"]),
        (["data?.txt", "[ab].txt", "[!x]y"], ["data1.txt", "a.txt", "zy"], ["data12.txt", "c.txt", "xy"]),
        (["[[~|&]x", "[a\\b]y"], ["[x", "|x", "\\y", "by"], ["[[~|&]x"]),
        (["# *.txt", "", "  "], [], ["# a.txt", "a.txt"]),
        (["a+b(c).txt"], ["a+b(c).txt"], ["aab(c).txt"]),
        (ALWAYS, [".git/config", "x/__pycache__/a.pyc", ".DS_Store", ".hfignore", ".venv/lib/a"], [".gitattributes"]),
    ],
)
def test_rules(rules, left_out, taken):
    ignore = Ignore(rules)
    assert [name for name in left_out if not ignore(name)] == []
    assert [name for name in taken if ignore(name)] == []


@pytest.mark.parametrize("rule", ["[z-a].txt", "[!]"])
def test_a_pattern_that_is_none_is_refused_before_what_it_meant_is_uploaded(rule):
    with pytest.raises(InvalidOption, match="no pattern"):
        Ignore([rule])


def test_a_rule_in_another_encoding_fits_names_in_it(tmp_path):
    (tmp_path / ".hfignore").write_bytes(b"\xff*\n*.log\n")
    ignore = Ignore.of(tmp_path)
    assert ignore(b"\xff1".decode(errors="surrogateescape")) and ignore("a.log") and not ignore("a.txt")
