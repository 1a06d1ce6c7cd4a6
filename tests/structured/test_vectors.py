"""Every reasoning format in every state that a prompt leaves it in, with a constraint on, in every cut."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path

import pytest

from mlxk_core.api.formats import ExtractorContext
from mlxk_core.api.generation import Matches, Tool, Vocabulary, sequence
from mlxk_core.api.host import Host
from mlxk_core.api.models import Model
from mlxk_reasoning import plugin
from mlxk_structured.compiler import Compiler
from mlxk_testing.splits import assert_split_invariant

_CASES = Path(__file__).parents[1] / "reasoning" / "cases.toml"
CASES = tomllib.loads(_CASES.read_text(encoding="utf-8"))["case"]
STATES = sorted({(case["format"], case.get("prompt", "")) for case in CASES})
ANSWERS = ["Yes, 42.", '{"a":[1,"</think>"]}']
TOOL = Tool(
    name="get_weather",
    strict=True,
    parameters={
        "type": "object", "properties": {"city": {"enum": ["Oslo", "</think>"]}}, "required": ["city"],
        "additionalProperties": False,
    },
)  # fmt: skip


class Bytes:
    vocab_size = 257

    def piece(self, token):
        return bytes([token]) if token < 256 else b""

    def encode(self, text, *, add_special_tokens):
        return list(text.encode())


VOCABULARY = Vocabulary(tokenizer=Bytes(), markers={}, stop_tokens=frozenset({256}))
COMPILER = Compiler()


def drawn(grammar, end, seed):
    """A response: some tokens of noise, then what ends the reasoning if it is reasoning, then the answer."""
    rng, data = random.Random(seed), bytearray()
    constraint = COMPILER.compile(grammar, VOCABULARY)
    forced = list(end.encode())

    def allowed():
        mask = constraint.mask()
        return [token for token in range(257) if mask[token // 8] >> token % 8 & 1]

    noise = rng.choice([0, 3, 40])
    while not constraint.complete and len(data) < 600:
        free = allowed()
        plain = [token for token in free if 32 <= token < 127 or token in b"\n"]
        if len(data) >= noise and forced and forced[0] in free and len(plain) > 8:
            for token in forced:
                if token not in allowed():
                    break
                constraint.accept(token)
                data.append(token)
            forced = []
            continue
        token = 256 if 256 in free else rng.choice(plain or free)
        constraint.accept(token)
        if token == 256:
            break
        data.append(token)
    return data.decode(), len(data) < 600


@pytest.fixture(scope="module")
def formats(tmp_path_factory):
    host = Host()
    host.register(plugin, name="reasoning")
    model = Model(name="a model", path=tmp_path_factory.mktemp("model"))

    def make(name, prompt, tools=()):
        spec = host.reasoning_format(model, name)[0]
        context = ExtractorContext(model=model, prompt_suffix=prompt, tools=tools)
        extractor, grammar = host.load(spec.target), host.load(spec.grammar)
        return grammar(context), lambda: extractor(context)

    return make


@pytest.mark.parametrize(("name", "prompt"), STATES, ids=lambda text: text[-30:] or "-")
def test_the_answer_is_the_constrained_one_after_any_reasoning(formats, name, prompt):
    form, extractor = formats(name, prompt)
    if form is None:
        pytest.skip("the prompt has begun a message of another kind")
    for seed, answer in enumerate(ANSWERS * 2):
        parts = [part for part in (form.reasoning, form.before_answer, Matches("choice", [answer])) if part]
        text, ended = drawn(sequence(*parts), form.reasoning_end, seed)
        if ended:
            extracted = assert_split_invariant(extractor, text)
            assert extracted.content.strip() == answer, text
            assert not extracted.tool_calls


def test_a_harmony_call_is_valid_after_any_reasoning(formats):
    form, extractor = formats("harmony", "<|start|>assistant", (TOOL,))
    for seed in range(6):
        text, ended = drawn(sequence(form.reasoning, form.calls((TOOL,), False)), "<|end|><|start|>assistant", seed)
        if ended:
            [(name, arguments)] = assert_split_invariant(extractor, text).tool_calls
            assert (name, arguments) in [("get_weather", f'{{"city":"{city}"}}') for city in ("Oslo", "</think>")]


RAW = [
    ("harmony", "<|start|>assistant", "<|channel|>analysis<|message|>JSON.<|end|><|start|>assistant<|channel|>final"
     ' <|constrain|>json<|message|>{"city":"Oslo"}'),
    ("harmony", "<|start|>assistant", '<|channel|>final<|message|>{"city":"Oslo"}'),
    ("think", "", '<think>\nA city, {"a": 1}.\n</think>\n\n{"city":"Oslo"}'),
    ("think", "", '{"city":"Oslo"}'),
]  # fmt: skip


@pytest.mark.parametrize(("name", "prompt", "text"), RAW)
def test_a_valid_answer_is_allowed_in_every_form_that_models_write(formats, name, prompt, text):
    form, extractor = formats(name, prompt)
    answer = Matches("json_schema", TOOL.parameters)
    parts = [part for part in (form.reasoning, form.before_answer, answer) if part]
    assert allows(sequence(*parts), text)
    assert assert_split_invariant(extractor, text).content == '{"city":"Oslo"}'


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if [name for name, _ in case.get("calls", ())] == ["get_weather"]],
    ids=lambda case: case["name"],
)
def test_the_calls_of_the_reasoning_cases_are_allowed(formats, case):
    form, _ = formats("harmony", case["prompt"], (TOOL,))
    text = case["text"].removesuffix("<|call|>")  # a stop token of the model
    assert allows(sequence(form.reasoning, form.calls((TOOL,), False)), text)


def allows(grammar, text):
    """Whether `grammar` allows every byte of `text`, and its end there."""
    constraint = COMPILER.compile(grammar, VOCABULARY)
    for byte in text.encode():
        if not constraint.mask()[byte // 8] >> byte % 8 & 1:
            return False
        constraint.accept(byte)
    return constraint.complete or bool(constraint.mask()[32] & 1)
