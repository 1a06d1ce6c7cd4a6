"""The format of a model's tool calls is inferred as mlx-lm infers it, and only formats with a parser are claimed."""

from __future__ import annotations

import json

import pytest

from mlxk_core.api import Model
from mlxk_core.api.host import Host
from mlxk_core.api.models import Facts
from mlxk_mlx.formats.format_names import tool_format_name
from mlxk_mlx.loading import runtime

TEMPLATES = (
    "<minimax:tool_call>",
    "<|tool_call> <tool_call|>",
    "<start_function_call>",
    "<longcat_tool_call>",
    "<tool_call> <arg_key>",
    "<|tool_list_start|>",
    "<|tool_call_start|>",
    "<tool_call>\\n<function=",
    "<tool_call>\n<function=",
    "<|tool_calls_section_begin|>",
    '<function name="a"><param name="b">',
    "[TOOL_CALLS]",
    "<atem:function_calls>",
    "<tool_call> tool_call.name",
    "plain",
)
VOCABULARIES = (
    (),
    ("<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>"),
    ("<|tool_call_start|>", "<|tool_call_end|>"),
)


def model(folder, template: str, tokens=(), **settings) -> Model:
    folder.mkdir(exist_ok=True)
    decoder = {str(number): {"content": token} for number, token in enumerate(tokens)}
    config = {"chat_template": template, "added_tokens_decoder": decoder, **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    return Model(name="m", path=folder)


@pytest.mark.parametrize("tokens", VOCABULARIES)
@pytest.mark.parametrize("template", TEMPLATES)
def test_the_name_is_the_one_that_mlx_lm_infers(tmp_path, template, tokens):
    runtime.start()
    from mlx_lm.tokenizer_utils import _infer_tool_parser

    class Tokenizer:
        chat_template = template

        def get_vocab(self):
            return dict.fromkeys(tokens, 0)

    assert tool_format_name(model(tmp_path / "m", template, tokens)) == _infer_tool_parser(Tokenizer())


def test_a_format_without_a_parser_is_not_claimed(tmp_path):
    assert tool_format_name(model(tmp_path / "m", "tools", tool_parser_type="unheard_of")) is None


@pytest.mark.parametrize(
    "template, claimed",
    [("{{ tools }} <tool_call> {{ tool_call.name }}", True), ("{{ tools }} as you like", True), ("no", False)],
)
def test_a_model_is_said_to_call_tools_if_its_calls_are_read(tmp_path, template, claimed):
    host = Host.discover(strict=True)
    found = Facts(model(tmp_path / "m", template), host.finds_tool_calls).capabilities
    assert ("tools" in found) is claimed
