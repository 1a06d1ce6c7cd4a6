"""Every format's responses, each in every cut: `cases.toml` holds them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from mlxk_core._host.host import Host
from mlxk_core.api import Extractor, ExtractorContext, Model, Tool
from mlxk_reasoning import plugin
from mlxk_testing.splits import assert_split_invariant

_CASES = tomllib.loads(Path(__file__).with_name("cases.toml").read_text(encoding="utf-8"))["case"]


@pytest.mark.parametrize("case", _CASES, ids=[f"{case['format']}: {case['name']}" for case in _CASES])
def test_a_response_is_split_the_same_in_every_cut(case: dict[str, Any], host: Host, tmp_path: Path) -> None:
    host.register(plugin, name="reasoning")
    model = Model(name="a model", path=tmp_path)
    found = host.reasoning_format(model, case["format"])
    assert found is not None
    make = host.load(found[0].target)

    def extractor() -> Extractor:
        tools = tuple(Tool(name=name) for name in case.get("tools", ()))
        return make(ExtractorContext(model=model, prompt_suffix=case.get("prompt", ""), tools=tools))

    extracted = assert_split_invariant(extractor, case["text"])

    assert extracted.reasoning == case.get("reasoning", "")
    assert extracted.content == case.get("content", "")
    assert extracted.tool_calls == tuple(map(tuple, case.get("calls", ())))


def test_every_format_has_cases() -> None:
    offered = {spec.name for spec in plugin.mlxk_reasoning_extractors()}
    assert offered == {case["format"] for case in _CASES}
