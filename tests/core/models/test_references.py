"""What a user types is taken apart into a path or a name, with revision and variant."""

from pathlib import Path

import pytest

from mlxk_core._models.references import NameReference, PathReference, parse_reference


@pytest.mark.parametrize(
    ("text", "name", "revision", "variant"),
    [
        ("org/name", "org/name", None, None),
        ("name", "name", None, None),
        ("  name  ", "name", None, None),
        ("org/name@main", "org/name", "main", None),
        ("org/name@refs/pr/1", "org/name", "refs/pr/1", None),
        ("org/name@abc1234", "org/name", "abc1234", None),
        ("org/name:Q4_0", "org/name", None, "Q4_0"),
        ("org/name@v1:q4_k_m", "org/name", "v1", "q4_k_m"),
        ("org/name:Q4_0@v1", "org/name", None, "Q4_0@v1"),
        ("a@b@c", "a", "b@c", None),
        ("name@", "name", "", None),
        ("name:", "name", None, ""),
        ("@main", "", "main", None),
        ("", "", None, None),
        ("   ", "", None, None),
        ("llama-3.1.2", "llama-3.1.2", None, None),
        (".hidden", ".hidden", None, None),
    ],
)
def test_a_name_carries_revision_and_variant(text, name, revision, variant):
    assert parse_reference(text) == NameReference(name, revision, variant)


@pytest.mark.parametrize(
    "text",
    ["./x", "../x", ".", "..", "/abs/x", "x/", "x.gguf", "sub/X.GGUF", "./a@b", "./a:Q4_0", "/m/name@1:2", "a@b.gguf"],
)
def test_a_path_is_left_as_it_is(text):
    assert parse_reference(text) == PathReference(Path(text))


def test_home_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert parse_reference("~/models/x") == PathReference(Path("/home/me/models/x"))
    assert parse_reference("~nobody-of-that-name/x") == PathReference(Path("~nobody-of-that-name/x"))


@pytest.mark.parametrize(
    ("name", "hub"),
    [("org/name", True), ("o/n", True), ("name", False), ("a/b/c", False), ("org/", False), ("org/a--b", False),
     ("org/a..b", False), ("org/-a", False), ("org/na me", False), ("org/" + "n" * 93, False), ("", False)],
)  # fmt: skip
def test_a_full_name_of_the_hub_is_known_by_its_form(name, hub):
    assert NameReference(name).is_hub_name is hub
