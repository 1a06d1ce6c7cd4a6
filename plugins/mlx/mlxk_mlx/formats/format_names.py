"""Names of tool-call formats, inferred from a model's files without importing mlx-lm."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mlxk_mlx.formats.tool_call_readers import READERS, infer

if TYPE_CHECKING:
    from mlxk_core.api.models import Model

BARE_CALLS = "llama3"
"""The format without markers: an answer that is a JSON object with the name of a tool. It is read for every model whose
template takes tools in a format that is not known."""
_TAKES_TOOLS = re.compile(r"\btools\b")

# Texts in a chat template of which one (or all of an inner tuple) shows a format of mlx-lm's, by precedence.
_IN_TEMPLATE: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    ("minimax_m2", (("<minimax:tool_call>",),)),
    ("gemma4", (("<|tool_call>", "<tool_call|>"),)),
    ("function_gemma", (("<start_function_call>",),)),
    ("longcat", (("<longcat_tool_call>",),)),
    ("glm47", (("<arg_key>",),)),
    ("pythonic", (("<|tool_list_start|>",), ("<|tool_call_start|>",))),
    ("qwen3_coder", (("<tool_call>\\n<function=",), ("<tool_call>\n<function=",))),
    ("kimi_k2", (("<|tool_calls_section_begin|>",),)),
    ("minicpm5", (('<function name="', '<param name="'),)),
    ("mistral", (("[TOOL_CALLS]",),)),
    ("muse_spark", (("<atem:function_calls>",),)),
    ("json_tools", (("<tool_call>", "tool_call.name"),)),
)
_IN_VOCABULARY: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("kimi_k3", ("<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>")),
    ("pythonic", ("<|tool_call_start|>", "<|tool_call_end|>")),
)


def tool_format_name(model: Model) -> str | None:
    """Return the name of the tool-call format of `model`, None if no parser is known to read its calls.

    `tool_parser_type` in tokenizer_config.json comes first, then the chat templates, then the vocabulary.
    """
    named = model.tokenizer_config.get("tool_parser_type")
    name = named if isinstance(named, str) and named.isidentifier() else _infer_name(model)
    return name if name and (name in READERS or name == BARE_CALLS or name in _parsers_of_mlx_lm()) else None


def _infer_name(model: Model) -> str | None:
    template, tokens = model.template_text, model.added_tokens
    for name, alternatives in _IN_TEMPLATE:
        if any(all(text in template for text in texts) for texts in alternatives):
            return name
    for name, texts in _IN_VOCABULARY:
        if all(text in tokens for text in texts):
            return name
    return infer(template, tokens) or (BARE_CALLS if _TAKES_TOOLS.search(template) else None)


@cache
def _parsers_of_mlx_lm() -> frozenset[str]:
    spec = find_spec("mlx_lm")
    folders = spec.submodule_search_locations if spec else None
    return frozenset(
        path.stem for folder in folders or () for path in (Path(folder) / "tool_parsers").glob("[a-z]*.py")
    )
