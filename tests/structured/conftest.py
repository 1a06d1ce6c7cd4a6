"""Tiny random models: their output is noise unless it is constrained."""

from __future__ import annotations

import json
import os

import pytest

from mlxk_core.api.generation import GenerationService
from mlxk_core.api.host import Host
from mlxk_core.api.models import Model
from mlxk_testing.tiny_models import (
    CHATML,
    CHATML_TOKENS,
    OPENED_THINKING_CHATML,
    THINKING_CHATML,
    gpt_oss_model,
    random_model,
)
from mlxk_testing.tiny_models.files import edit_json

THINK = (*CHATML_TOKENS, "<think>", "</think>")
CALLS = CHATML.replace(
    "{% for message",
    "{% if tools %}<tools>{{ tools | tojson }}</tools>{% endif %}"
    "{% if false %}<tool_call>{{ tool_call.name }}</tool_call>{% endif %}{% for message",
    1,
)
"""ChatML with tools, in the form that Hermes and Qwen write calls."""
THINKING_CALLS = CALLS.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")


RESPONSE_TEMPLATE = {
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "thinking": {"open": "<think>", "close_pattern": r"</think>\s*"},
        "content": {"close_pattern": r"\s*<\|im_end\|>"},
        "tool_calls": {
            "open": "<tool_call>", "close": "</tool_call>", "repeats": True, "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
    },
}  # fmt: skip


def _without_stop_tokens(folder):
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        path = folder / name
        if path.exists():
            values = {key: value for key, value in json.loads(path.read_text()).items() if "eos" not in key}
            path.write_text(json.dumps(values))


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    calls = (*CHATML_TOKENS, "<tool_call>", "</tool_call>")
    random_model(folder / "plain", ends=True)
    _without_stop_tokens(random_model(folder / "endless", chat_template=None))
    random_model(folder / "opened", ends=True, chat_template=OPENED_THINKING_CHATML, added_tokens=THINK)
    random_model(folder / "thinks", ends=True, chat_template=THINKING_CHATML, added_tokens=THINK)
    random_model(folder / "calls", ends=True, chat_template=CALLS, added_tokens=calls)
    random_model(folder / "both", ends=True, chat_template=THINKING_CALLS, added_tokens=(*THINK, *calls[2:]))
    template = random_model(
        folder / "template", ends=True, chat_template=THINKING_CALLS, added_tokens=(*THINK, *calls[2:])
    )
    edit_json(template / "tokenizer_config.json", response_template=RESPONSE_TEMPLATE)
    gpt_oss_model(folder / "harmony")
    return {path.name: Model(name=path.name, path=path) for path in folder.iterdir()}


@pytest.fixture(scope="session")
def service(models):
    os.environ.pop("MLXK_DISABLE_PLUGINS", None)
    with GenerationService(Host.discover(), concurrency=16) as service:
        yield service
