"""Tiny real models: ordinary folders in MLX form (config, safetensors, a real tokenizer), written without MLX.

They are deterministic. `in_hub_cache` puts one where huggingface_hub would.
"""

from mlxk_testing.tiny_models.hub_layout import in_hub_cache
from mlxk_testing.tiny_models.models import gpt_oss_model, mxfp4_model, random_model, scripted_model
from mlxk_testing.tiny_models.templates import (
    AFTER_TOOL,
    CHATML,
    CHATML_TOKENS,
    HARMONY,
    HARMONY_TOKENS,
    OPENED_THINKING_CHATML,
    THINKING_CHATML,
    TOOL_CHATML,
    TOOL_CHATML_TOKENS,
)
from mlxk_testing.tiny_models.weights import LLAMA3_ROPE, SLIDING_WINDOW

__all__ = [
    "AFTER_TOOL",
    "CHATML",
    "CHATML_TOKENS",
    "HARMONY",
    "HARMONY_TOKENS",
    "LLAMA3_ROPE",
    "OPENED_THINKING_CHATML",
    "SLIDING_WINDOW",
    "THINKING_CHATML",
    "TOOL_CHATML",
    "TOOL_CHATML_TOKENS",
    "gpt_oss_model",
    "in_hub_cache",
    "mxfp4_model",
    "random_model",
    "scripted_model",
]
