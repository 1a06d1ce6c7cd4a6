"""Rules of `.hfignore`, as in a `.gitignore`."""

from __future__ import annotations

import pytest

from mlxk_core._errors import InvalidOption
from mlxk_push.ignore import ALWAYS, IgnoreRules


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
        ([r"\#x", r"\!y"], ["#x", "!y"], ["x", "y"]),
        (["a/", "!a/keep"], ["a/x", "a/keep"], ["keep"]),
        (["a/*", "!a/keep"], ["a/x"], ["a/keep"]),
        (["crlf.txt\r"], ["crlf.txt"], ["crlf"]),
        (["**/secret"], ["secret", "a/b/secret"], ["secrets"]),
        (["A.txt"], ["A.txt"], ["a.txt"]),
        (["a+b(c).txt"], ["a+b(c).txt"], ["aab(c).txt"]),
        (ALWAYS, [".git/config", "x/__pycache__/a.pyc", ".DS_Store", ".hfignore", ".venv/lib/a"], [".gitattributes"]),
    ],
)
def test_rules(rules, left_out, taken):
    ignore = IgnoreRules(rules)
    assert [name for name in left_out if not ignore(name)] == []
    assert [name for name in taken if ignore(name)] == []


@pytest.mark.parametrize("rule", ["[z-a].txt", "[!]", "[a", "a[", "\\", "!"])
def test_an_invalid_pattern_is_an_error_and_nothing_is_uploaded(rule):
    with pytest.raises(InvalidOption, match="not a valid pattern"):
        IgnoreRules([rule])


def test_a_rule_in_another_encoding_matches_names_in_it(tmp_path):
    (tmp_path / ".hfignore").write_bytes(b"\xff*\n*.log\n")
    ignore = IgnoreRules.of(tmp_path)
    assert ignore(b"\xff1".decode(errors="surrogateescape")) and ignore("a.log") and not ignore("a.txt")
