"""Which format a model is taken to write, and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlxk_core._host.host import Host
from mlxk_core.api import Model, Strength
from mlxk_reasoning import plugin
from mlxk_testing.imports import assert_light


@pytest.fixture
def host(host: Host) -> Host:
    host.register(plugin, name="reasoning")
    return host


@pytest.fixture
def a_model(tmp_path: Path) -> Callable[..., Model]:
    """A model with just the files that evidence is read off."""

    def write(
        template: str | None = None,
        tokens: tuple[str, ...] = (),
        name: str = "org/some-model",
        config: dict[str, Any] | None = None,
    ) -> Model:
        if template is not None:
            (tmp_path / "chat_template.jinja").write_text(template, encoding="utf-8")
        added = [{"id": index, "content": token, "special": True} for index, token in enumerate(tokens)]
        (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": added, "model": {"vocab": {}}}))
        (tmp_path / "config.json").write_text(json.dumps(config or {}))
        return Model(name=name, path=tmp_path)

    return write


# What is telling in each family's template, in few words.
_TEMPLATES = {
    "harmony": "{{ '<|start|>assistant<|channel|>analysis<|message|>' + message.thinking + '<|end|>' }}",
    "think": "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}",
    "mistral": "{{ '[SYSTEM_PROMPT]First draft your thinking: [THINK]…[/THINK] then answer.[/SYSTEM_PROMPT]' }}",
    "gemma4": "{{ '<|turn>model\\n<|channel>thought\\n<channel|>' }}",
    "seed": "{% set think_begin_token = '<seed:think>' %}",
    "cohere": "{{ '<|CHATBOT_TOKEN|><|START_THINKING|>' }}{{ '<|START_RESPONSE|>' }}",
    "granite_text": "{{ \"Write the thought process after 'Here is my thought process:'\" }}",
    "granite": "{{ '<|start_of_role|>' }}Write your thoughts between <think></think>, then <response></response>.",
    "hunyuan": "{% if '<answer>' in c %}{% set c = c.split('<answer>')[-1] %}{% endif %}{{ '<think>\\n\\n</think>' }}",
    "ernie": "{{ '<think>\\n' }}{{ '</think>\\n\\n<response>\\n' }}",
    "exaone_deep": "{{ '[|assistant|]<thought>\\n' }}",
    "apriel": "{{ '<|begin_assistant|>\\nHere are my reasoning steps:\\n' }}",
    "apertus": "{% set inner_token = '<|inner_prefix|>' %}",
    "kimi_text": "{{ '◁think▷' }}",
    "kimi_k3": "{{ '<|open|>think<|sep|>' }}{{ '<|close|>message<|sep|>' }}",
    "minimax_m3": "{{ ']~b]ai\\n<mm:think>' }}",
    "longcat": "{% set content = content.split('</longcat_think>')[-1] %}",
    "k2_horizon": "{{ '<ifm|think_' + reasoning_effort + '>' }}",
    "think_start": "{{ '<|think:start|>' }}",
    "solar": "{{ '<|begin|>assistant<|think|>' + message.reasoning }}{{ '<|begin|>assistant<|content|>' }}",
}


@pytest.mark.parametrize("name", _TEMPLATES)
def test_the_chat_template_tells_the_format(name: str, host: Host, a_model: Callable[..., Model]) -> None:
    # The tokens of another family must not matter: many vocabularies have <think> and never write it.
    found = host.reasoning_format(a_model(_TEMPLATES[name], tokens=("<think>", "</think>", "[THINK]", "[/THINK]")))
    assert found is not None
    spec, evidence = found
    assert (spec.name, evidence.strength) == (name, Strength.TEMPLATE)
    assert evidence.detail.startswith("the chat template writes ")


_VOCABULARIES = {
    "harmony": ("<|start|>", "<|end|>", "<|channel|>", "<|message|>"),
    "think": ("<|im_end|>", "<think>", "</think>"),
    "mistral": ("[INST]", "[THINK]", "[/THINK]"),
    "gemma4": ("<|channel>", "<channel|>"),
    "seed": ("<seed:think>", "</seed:think>"),
    "apertus": ("<|inner_prefix|>", "<|inner_suffix|>"),
    "kimi_k3": ("<|open|>", "<|close|>", "<|sep|>"),
    "hunyuan": ("<think:opensource>", "</think:opensource>"),
}


@pytest.mark.parametrize("template", [None, "{{ messages }}"], ids=["no template", "a template that does not tell"])
@pytest.mark.parametrize("name", _VOCABULARIES)
def test_the_vocabulary_tells_where_the_template_does_not(
    name: str, template: str | None, host: Host, a_model: Callable[..., Model]
) -> None:
    found = host.reasoning_format(a_model(template, tokens=_VOCABULARIES[name]))
    assert found is not None
    assert (found[0].name, found[1].strength) == (name, Strength.VOCABULARY)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("org/gpt-oss-20b-MLX", {}),
        ("org/GPT_OSS-tuned", {}),
        ("org/some-model", {"model_type": "gpt_oss"}),
        ("org/some-MXFP4", {}),
        ("org/some-model", {"quantization_config": {"quant_method": "mxfp4"}}),
    ],
)
def test_a_name_is_a_hint_at_harmony_only_without_a_template(
    name: str, config: dict[str, Any], host: Host, a_model: Callable[..., Model]
) -> None:
    found = host.reasoning_format(a_model(name=name, config=config))
    assert found is not None
    assert (found[0].name, found[1].strength) == ("harmony", Strength.NAME)

    assert host.reasoning_format(a_model("{{ messages }}", name=name, config=config)) is None


def test_the_tokens_speak_louder_than_the_name(host: Host, a_model: Callable[..., Model]) -> None:
    found = host.reasoning_format(a_model(name="org/QwQ-mxfp4", tokens=("<think>", "</think>")))
    assert found is not None
    assert found[0].name == "think"


def test_a_name_with_think_in_it_means_nothing(host: Host, a_model: Callable[..., Model]) -> None:
    assert host.reasoning_format(a_model("{{ messages }}", name="org/Think-R1-QwQ-Magistral")) is None


def test_kimi_vl_is_known_by_its_architecture(host: Host, a_model: Callable[..., Model]) -> None:
    found = host.reasoning_format(a_model("{{ messages }}", config={"model_type": "kimi_vl"}))
    assert found is not None
    assert found[0].name == "kimi_text"


def test_harmony_ends_at_return_and_call_but_not_at_the_end_of_a_message(
    host: Host, a_model: Callable[..., Model]
) -> None:
    policy = host.stop_policies(a_model(tokens=_VOCABULARIES["harmony"]))
    assert policy.stop_tokens == {"<|return|>", "<|call|>"}
    assert policy.keep_tokens == {"<|end|>"}
    assert host.stop_policies(a_model(_TEMPLATES["harmony"])).keep_tokens == {"<|end|>"}


def test_the_markers_of_a_block_end_no_answer(host: Host, a_model: Callable[..., Model]) -> None:
    assert host.stop_policies(a_model(_TEMPLATES["kimi_k3"])).keep_tokens == {"<|open|>", "<|sep|>", "<|close|>"}


def test_a_token_that_ends_thoughts_and_answer_alike_ends_no_answer_of_solar(
    host: Host, a_model: Callable[..., Model]
) -> None:
    assert "<|end|>" in host.stop_policies(a_model(_TEMPLATES["solar"])).keep_tokens


def test_the_end_of_a_message_stops_other_models(host: Host, a_model: Callable[..., Model]) -> None:
    phi = a_model("{{ '<|user|>' }}{{ '<|end|>' }}{{ '<|assistant|>' }}", tokens=("<|user|>", "<|end|>"))
    assert host.stop_policies(phi).keep_tokens == frozenset()
    assert host.stop_policies(phi).stop_tokens == frozenset()


def test_naming_formats_imports_nothing_heavy() -> None:
    assert_light("mlxk_reasoning.plugin")
