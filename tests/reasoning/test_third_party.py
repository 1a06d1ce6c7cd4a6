"""The example format of a third party: it keeps the contract, and is chosen by its own evidence."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxk_core._host.host import Host
from mlxk_core.api import Extractor, ExtractorContext, Model
from mlxk_testing.splits import assert_split_invariant

pytestmark = pytest.mark.usefixtures("examples")


@pytest.mark.parametrize(
    ("suffix", "text", "reasoning", "content"),
    [
        ("", "⟦muse⟧plan⟦/muse⟧Go.", "plan", "Go."),
        ("⟦muse⟧", "plan⟦/muse⟧Go.", "plan", "Go."),
        ("⟦muse⟧⟦/muse⟧", "Go.", "", "Go."),
        ("", "⟦muse⟧plan⟦/mu", "plan⟦/mu", ""),
        ("", "⟦⟦muse⟧a⟦/muse⟧b⟦muse⟧c", "ac", "⟦b"),
    ],
)
def test_the_example_splits_the_same_in_every_cut(suffix: str, text: str, reasoning: str, content: str) -> None:
    model = Model(name="a model", path=Path("nowhere"))

    mlxk_hello_format = pytest.importorskip("mlxk_hello_format")

    def extractor() -> Extractor:
        return mlxk_hello_format.MuseExtractor(ExtractorContext(model=model, prompt_suffix=suffix))

    extracted = assert_split_invariant(extractor, text)

    assert (extracted.reasoning, extracted.content) == (reasoning, content)


def test_the_example_is_chosen_beside_our_own_formats(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ '⟦muse⟧' }}", encoding="utf-8")
    found = Host.discover(strict=True).reasoning_format(Model(name="a model", path=tmp_path))
    assert found is not None
    assert found[0].name == "muse"
