"""Where an answer begins and ends by the chat templates of the families: each in the shape of its real one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mlxk_core._generation.prompts import render
from mlxk_core._generation.request import GenerationRequest
from mlxk_core._generation.stop_tokens import turn_terminator
from mlxk_core._host.host import Host
from mlxk_core.api import Channel, ExtractorContext, Message, Model
from mlxk_reasoning import plugin

_ON, _OFF = {"enable_thinking": True}, {"enable_thinking": False}
_THINKS, _SPEAKS, _UNDECIDED = Channel.REASONING, Channel.CONTENT, None


def _template(user: str, assistant: str, prompt: str, closed: str = "") -> str:
    """A template of three kinds of pieces; `{{ m }}` in them is the message."""
    return (
        f"{{% for m in messages %}}{{% if m.role == 'user' %}}{user}{{% else %}}{assistant}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{prompt}{{% else %}}{closed}{{% endif %}}"
    )


def _when(off: str, on: str = "", default: str | None = None) -> str:
    """What a template writes with thinking switched off, and on; by default as if it were on."""
    return (
        f"{{% if enable_thinking is not defined %}}{on if default is None else default}"
        f"{{% elif enable_thinking %}}{on}{{% else %}}{off}{{% endif %}}"
    )


@dataclass(frozen=True)
class Family:
    """A template, and what it says: the format, the end of a turn, and for options what opens the answer."""

    template: str
    format: str | None
    end: str | None
    prompts: tuple[tuple[Mapping[str, Any], str, Channel | None], ...]
    tokens: tuple[str, ...]


_CHATML_USER = "<|im_start|>user\n{{ m.content }}<|im_end|>\n"
_CHATML_THOUGHT = (
    "<|im_start|>assistant\n{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n"
)
_CHATML = ("<|im_start|>", "<|im_end|>")
_CLOSED = "<think>\n\n</think>\n\n"

_FAMILIES = {
    "Qwen3, SmolLM3": Family(
        _template(_CHATML_USER, _CHATML_THOUGHT, "<|im_start|>assistant\n" + _when(_CLOSED)),
        "think",
        "<|im_end|>",
        (({}, "<|im_start|>assistant\n", _SPEAKS), (_OFF, f"<|im_start|>assistant\n{_CLOSED}", _SPEAKS)),
        _CHATML,
    ),
    "Qwen3.5, Nemotron 3, Step 3.5": Family(
        _template(_CHATML_USER, _CHATML_THOUGHT, "<|im_start|>assistant\n" + _when("<think></think>", "<think>\n")),
        "think",
        "<|im_end|>",
        (
            ({}, "<|im_start|>assistant\n<think>\n", _THINKS),
            (_OFF, "<|im_start|>assistant\n<think></think>", _SPEAKS),
        ),
        _CHATML,
    ),
    "DeepSeek V3.1": Family(
        _template(
            "<｜User｜>{{ m.content }}",
            "<｜Assistant｜></think>{{ m.content }}<｜end▁of▁sentence｜>",
            "<｜Assistant｜>" + _when("<think></think>", "<think>", "<think></think>"),
        ),
        "think",
        "<｜end▁of▁sentence｜>",
        (({}, "<｜Assistant｜><think></think>", _SPEAKS), (_ON, "<｜Assistant｜><think>", _THINKS)),
        ("<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
    ),
    "DeepSeek V4, Laguna": Family(
        _template(
            "<｜User｜>{{ m.content }}",
            "<｜Assistant｜></think>{{ m.content }}<｜end▁of▁sentence｜>",
            "<｜Assistant｜>" + _when("</think>", "<think>", "</think>"),
        ),
        "think",
        "<｜end▁of▁sentence｜>",
        (({}, "<｜Assistant｜></think>", _SPEAKS), (_ON, "<｜Assistant｜><think>", _THINKS)),
        ("<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
    ),
    "GLM 4.6, which ends a turn by the next one": Family(
        _template(
            "<|user|>\n{{ m.content }}",
            "<|assistant|>\n<think></think>\n{{ m.content }}",
            "<|assistant|>" + _when("{{ '\\n' }}<think></think>"),
        ),
        "think",
        None,
        (({}, "<|assistant|>", _SPEAKS), (_OFF, "<|assistant|>\n<think></think>", _SPEAKS)),
        ("<|user|>", "<|assistant|>"),
    ),
    "MiniMax-M2, which writes <response> around a tool's": Family(
        _template(
            "]~b]user\n{{ m.content }}[e~[\n{% if tools %}<response>{% endif %}",
            "]~b]ai\n<think>\n{{ m.reasoning_content }}\n</think>\n\n{{ m.content }}[e~[\n",
            "]~b]ai\n<think>\n",
        ),
        "think",
        "[e~[",
        (({}, "]~b]ai\n<think>\n", _THINKS),),
        ("]~b]", "[e~["),
    ),
    "gpt-oss": Family(
        _template(
            "<|start|>user<|message|>{{ m.content }}<|end|>",
            "<|start|>assistant<|channel|>final<|message|>{{ m.content }}"
            "{% if loop.last and not add_generation_prompt %}<|return|>{% else %}<|end|>{% endif %}",
            "<|start|>assistant",
        ),
        "harmony",
        "<|return|>",
        (({}, "<|start|>assistant", _UNDECIDED),),
        ("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"),
    ),
    "Magistral, which always opens the answer": Family(
        _template(
            "[INST]{{ m.content }}[/INST]",
            "{% if m.reasoning_content %}[THINK]{{ m.reasoning_content }}[/THINK]{% endif %}{{ m.content }}</s>",
            "",
        ),
        "mistral",
        "</s>",
        (({}, "[/INST]", _SPEAKS),),
        ("[INST]", "[/INST]", "</s>"),
    ),
    "Gemma 4": Family(
        _template(
            "<|turn>user\n{{ m.content }}<turn|>\n",
            "<|turn>model\n{{ m.content }}<turn|>\n",
            "<|turn>model\n" + _when("<|channel>thought\n<channel|>", "", "<|channel>thought\n<channel|>"),
        ),
        "gemma4",
        "<turn|>",
        (({}, "<|turn>model\n<|channel>thought\n<channel|>", _SPEAKS), (_ON, "<|turn>model\n", _SPEAKS)),
        ("<|turn>", "<turn|>", "<|channel>", "<channel|>"),
    ),
    "Kimi K3, whose <|close|> is no end": Family(
        _template(
            '<|open|>message role="user"<|sep|>{{ m.content }}<|close|>message<|sep|>',
            '<|open|>message role="assistant"<|sep|><|open|>think<|sep|>{{ m.reasoning_content }}<|close|>think<|sep|>'
            "<|open|>response<|sep|>{{ m.content }}<|close|>response<|sep|><|close|>message<|sep|>",
            '<|open|>message role="assistant"<|sep|>' + _when("<|open|>response<|sep|>", "<|open|>think<|sep|>"),
        ),
        "kimi_k3",
        None,
        (
            ({}, '<|open|>message role="assistant"<|sep|><|open|>think<|sep|>', _THINKS),
            (_OFF, '<|open|>message role="assistant"<|sep|><|open|>response<|sep|>', _SPEAKS),
        ),
        ("<|open|>", "<|close|>", "<|sep|>"),
    ),
    "Command A Reasoning": Family(
        _template(
            "<|USER_TOKEN|>{{ m.content }}<|END_OF_TURN_TOKEN|>",
            "<|CHATBOT_TOKEN|><|START_RESPONSE|>{{ m.content }}<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
            "<|CHATBOT_TOKEN|><|START_THINKING|>" + _when("<|END_THINKING|>"),
        ),
        "cohere",
        "<|END_RESPONSE|>",
        (
            ({}, "<|CHATBOT_TOKEN|><|START_THINKING|>", _THINKS),
            (_OFF, "<|CHATBOT_TOKEN|><|START_THINKING|><|END_THINKING|>", _SPEAKS),
        ),
        ("<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|END_RESPONSE|>", "<|START_RESPONSE|>"),
    ),
    "Hunyuan 3, whose tags are put together": Family(
        _template(
            "<｜User｜>{{ m.content }}",
            "<｜Assistant｜>{{ m.content }}",
            "{% set suffix = ':opensource' %}<｜Assistant｜>{{ '<think{}>'.format(suffix) }}"
            + _when("{{ '</think{}>'.format(suffix) }}"),
        ),
        "hunyuan",
        None,
        (
            ({}, "<｜Assistant｜><think:opensource>", _THINKS),
            (_OFF, "<｜Assistant｜><think:opensource></think:opensource>", _SPEAKS),
        ),
        ("<｜User｜>", "<｜Assistant｜>"),
    ),
    "Apriel 1.6": Family(
        _template(
            "<|begin_user|>\n{{ m.content }}",
            "{{ '\\n' }}<|begin_assistant|>\n{{ m.content.split('[BEGIN FINAL RESPONSE]')[-1] }}",
            "{{ '\\n' }}<|begin_assistant|>\nHere are my reasoning steps:\n",
        ),
        "apriel",
        None,
        (({}, "\n<|begin_assistant|>\nHere are my reasoning steps:\n", _THINKS),),
        ("<|begin_user|>", "<|begin_assistant|>"),
    ),
    "Muse Glimmer": Family(
        _template(
            "<|start|>user<|message|>{{ m.content }}<|eot|>",
            "{% if m.reasoning_content %}<|start|>assistant to=self<|message|>{{ m.reasoning_content }}<|eom|>"
            "{% endif %}"
            "<|start|>assistant<|message|>{{ m.content }}<|eot|>",
            "<|start|>assistant",
        ),
        "muse_glimmer",
        "<|eot|>",
        (({}, "<|start|>assistant", _SPEAKS),),
        ("<|start|>", "<|message|>", "<|eom|>", "<|eot|>"),
    ),
    "Solar Open, which ends every message alike": Family(
        _template(
            "<|begin|>user<|content|>{{ m.content }}<|end|>",
            "{% if m.reasoning_content %}<|begin|>assistant<|think|>{{ m.reasoning_content }}<|end|>{% endif %}"
            "<|begin|>assistant<|content|>{{ m.content }}<|end|>",
            _when("<|begin|>assistant<|think|><|end|>") + "<|begin|>assistant",
        ),
        "solar",
        None,
        (
            ({}, "<|begin|>assistant", _SPEAKS),
            (_OFF, "<|begin|>assistant<|think|><|end|><|begin|>assistant", _SPEAKS),
        ),
        ("<|begin|>", "<|think|>", "<|content|>", "<|end|>"),
    ),
    "one whose closed conversation ends like a block begins": Family(
        _template("<user>{{ m.content }}</s>", "<bot>{{ m.content }}</s>", "<think>", "<eos>") + "{# </think> #}",
        "think",
        "</s>",
        (({}, "<think>", _THINKS),),
        ("<eos>", "</s>"),
    ),
    "Phi 3, without reasoning": Family(
        _template(
            "<|user|>\n{{ m.content }}<|end|>\n",
            "<|assistant|>\n{{ m.content }}<|end|>\n",
            "<|assistant|>\n",
            "<|endoftext|>",
        ),
        None,
        "<|end|>",
        (({}, "<|assistant|>\n", None),),
        ("<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"),
    ),
}


class _Engine:
    """An engine that only renders, as transformers does."""

    def __init__(self, model: Model) -> None:
        self._template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(
            model.chat_template or ""
        )
        self._ids = {token.text: token.id for token in model.added_tokens.values()}

    @property
    def tokenizer(self) -> _Engine:
        return self

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [ord(character) for character in text]

    def token_id(self, text: str) -> int | None:
        return self._ids.get(text)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[object] = (),
        generation_prompt: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        written = [{"role": m.role, "content": m.content, "reasoning_content": m.reasoning} for m in messages]
        return self._template.render(messages=written, add_generation_prompt=generation_prompt, **(options or {}))


@pytest.fixture
def host(host: Host) -> Host:
    host.register(plugin, name="reasoning")
    return host


@pytest.mark.parametrize("name", _FAMILIES)
def test_the_template_says_the_format_the_start_and_the_end(name: str, host: Host, tmp_path: Path) -> None:
    family = _FAMILIES[name]
    (tmp_path / "chat_template.jinja").write_text(family.template, encoding="utf-8")
    added = [{"id": 300 + at, "content": token, "special": True} for at, token in enumerate(family.tokens)]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": added, "model": {}}), encoding="utf-8")
    model = Model(name="a model", path=tmp_path)
    engine: Any = _Engine(model)

    found = host.reasoning_format(model)
    assert (found and found[0].name) == family.format
    for options, suffix, start in family.prompts:
        # The last words of a question must not be taken for the answer's opening.
        for question in ("Which way?", "What is <think>?", suffix.strip() or "x", ""):
            request = GenerationRequest(
                model=model, prompt=[Message(role="user", content=question)], template_options=options
            )
            prompt = render(engine, request)
            assert prompt.suffix == suffix
            assert prompt.text.endswith(suffix)
            if found is not None:
                made = host.load(found[0].target)(ExtractorContext(model=model, prompt_suffix=suffix))
                assert made.channel is start
    end = turn_terminator(engine.render, model)
    assert (end.text if end else None) == (family.end or None)
