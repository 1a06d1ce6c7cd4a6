"""Survives … tools whose parameters refer to one another, for models that write each argument by itself."""

from __future__ import annotations

import json
import sys

import pytest

from mlxk_testing.tiny_models import in_hub_cache, random_model
from mlxk_testing.tiny_models.templates import TOOL_CHATML, TOOL_CHATML_TOKENS

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

MANY = 100
CHAINS = {"round": {"a": "a"}, "long": {"a": "b", "b": "c", "c": "d", "d": "e"}}


def parameters(chain):
    """Each definition offers the next one 100 times: followed one by one, they are millions of types."""
    ends = {"type": "string"}
    found = {name: {"anyOf": [*[{"$ref": f"#/$defs/{to}"}] * MANY, ends]} for name, to in chain.items()}
    return {"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}}, "$defs": {**found, "e": ends}}


@pytest.fixture
def real(launch):
    def write(folder):
        random_model(folder, chat_template=TOOL_CHATML, added_tokens=TOOL_CHATML_TOKENS, ends=True, context=50_000)
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "tool_parser_type": "qwen3_coder"}))

    in_hub_cache("tiny/tags", write)
    return launch(model="tiny/tags")


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_survives_references_that_multiply_in_a_tool(real, kit, chain):
    """One such request occupied a thread for days, also after its client had left."""
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters(chain)}}
    body = real.client.chat_body(tools=[tool], tool_choice="required", max_tokens=1)
    with kit.Watch(real):
        for _ in range(12):  # more than there are threads for it
            assert real.client.post("/v1/chat/completions", body).status == 200
        assert real.client.chat(max_tokens=1).status == 200
