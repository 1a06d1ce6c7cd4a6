"""Loading: what weights become, what is read and what is not, and what is said of models that cannot be loaded."""

from __future__ import annotations

import json
import os
import struct
import threading
import traceback

import pytest

from mlxk_core._errors import BrokenModel, Interrupted, UnsupportedModel
from mlxk_core._generation.engine import EngineContext
from mlxk_core._generation.request import Message
from mlxk_core._models.model import Model
from mlxk_mlx.loading import memory, runtime
from mlxk_mlx.loading.load import load, load_tokenizer, prepare, read_network
from mlxk_mlx.loading.weight_files import read_arrays
from mlxk_testing.engine_contract import EngineHarness
from mlxk_testing.tiny_models import (
    CHATML_TOKENS,
    SLIDING_WINDOW,
    gpt_oss_model,
    mxfp4_model,
    random_model,
    scripted_model,
)


def dtypes(engine):
    from mlx.utils import tree_flatten

    return {str(array.dtype).removeprefix("mlx.core.") for _, array in tree_flatten(engine._network.parameters())}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_float32_on_a_cpu(tmp_path, bench, dtype):
    random_model(tmp_path / "half", dtype=dtype)
    with bench(tmp_path / "half") as engine:
        expected = {"float32"} if runtime.start().cpu else {dtype}
        assert engine.run(dtypes) == expected


def test_packed_weights_are_dense_on_a_cpu_with_a_fast_blas(tmp_path, bench, answer):
    mxfp4_model(tmp_path / "packed")
    with bench(tmp_path / "packed") as engine:
        machine = runtime.start()
        assert ("uint32" in engine.run(dtypes)) == (not (machine.cpu and machine.fast_blas))
        assert len(engine.run(lambda e: answer(e, "Hello")).tokens) == 60


@pytest.mark.parametrize("write", [random_model, mxfp4_model, gpt_oss_model], ids=lambda write: write.__name__)
def test_the_estimate_is_what_is_held(tmp_path, write):
    write(tmp_path / "model")
    model = Model(name="m", path=tmp_path / "model")
    tokenizer = load_tokenizer(model)

    def load_with_it(model, context):
        runtime.start_on_engine_thread(context)
        network, _ = read_network(model, context.alive)
        return prepare(model, network, lambda: tokenizer, context)

    with EngineHarness(load_with_it, model) as engine:
        held = engine.run(lambda e: e.memory)
        assert engine.run(lambda _: memory.estimate(model)) == pytest.approx(held, rel=0.2)
        assert engine.run(lambda _: memory.estimate_weights(model)) + tokenizer.memory == held


def test_a_script_is_said_to_its_end(tmp_path, bench, answer):
    says = "Hello, hello, hello! 😀😀 <think>yes, yes</think>\n\n  wörld"
    scripted_model(tmp_path / "said", says, added_tokens=(*CHATML_TOKENS, "<think>", "</think>"))
    with bench(tmp_path / "said") as engine:
        outcome = engine.run(lambda e: answer(e, "Whatever"))
        assert outcome.finish == "stop"
        assert engine.run(lambda e: e.tokenizer.decode(outcome.tokens)) == says + "<|im_end|>"


def test_stop_tokens_of_every_file_count_and_0_is_one(tmp_path, bench, edit):
    folder = random_model(tmp_path / "stops")
    edit(folder / "config.json", eos_token_id=[0, 300], text_config={"eos_token_id": 301})
    edit(folder / "generation_config.json", eos_token_id=302)
    with bench(folder) as engine:
        assert engine.run(lambda e: e.native_stops) == {0, 300, 301, 302, 257}


def test_a_conversation_is_written_by_the_models_template(tmp_path, bench):
    random_model(tmp_path / "chat")
    with bench(tmp_path / "chat") as engine:
        turns = [Message(role="system", content="Be brief."), Message(role="user", content="Hi")]
        assert engine.run(lambda e: e.render(turns)) == (
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        )


def test_special_tokens_are_one_token_in_a_prompt_and_bos_comes_once(tmp_path, bench):
    random_model(tmp_path / "bos", bos="<s>")
    with bench(tmp_path / "bos") as engine:
        tokenizer = engine.run(lambda e: e.tokenizer)
        assert tokenizer.encode("<|im_start|>a", add_special_tokens=False) == [256, 97]
        assert tokenizer.encode("a", add_special_tokens=True) == [258, 97]
        assert tokenizer.encode("<s>a", add_special_tokens=True) == [258, 97]
        assert tokenizer.encode("<s><s>a", add_special_tokens=True) == [258, 258, 97]
        assert tokenizer.encode("<s>a", add_special_tokens=False) == [258, 97]


# --- models that cannot be loaded -------------------------------------------------------------------------------------


def cut_weights(folder, edit):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def overlong_header(folder, edit):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")


def header_of_99_mb(folder, edit):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 99_000_000) + b"{")


def shape_without_bytes(folder, edit):
    data = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["lm_head.weight"]["shape"] = [10**9, 10**9]
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def missing_shard(folder, edit):
    index = {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


BROKEN = {
    "truncated weights": (cut_weights, "model.safetensors has"),
    "a damaged header": (overlong_header, "damaged safetensors header"),
    "a missing shard": (missing_shard, "model-00002-of-00002.safetensors missing"),
    "a bad config": (lambda folder, _: (folder / "config.json").write_text("{no"), "config.json"),
    "a bad tokenizer": (lambda folder, _: (folder / "tokenizer.json").write_text("{no"), "tokenizer"),
    "an odd tokenizer": (lambda folder, _: (folder / "tokenizer.json").write_text("{}"), "tokenizer"),
    "no tokenizer": (lambda folder, _: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    "a bad generation config": (lambda f, _: (f / "generation_config.json").write_text("[]"), "generation_config.json"),
    "a config without heads": (lambda f, edit: edit(f / "config.json", num_attention_heads=...), "num_attention_heads"),
    "another width": (lambda f, edit: edit(f / "config.json", hidden_size=32), "does not fit its weights"),
    "a hundred million layers": (lambda f, edit: edit(f / "config.json", num_hidden_layers=10**8), "100,000,000"),
    "a thousand million heads": (lambda f, edit: edit(f / "config.json", num_attention_heads=10**9), "num_attention"),
    "a vocabulary without tensors": (lambda f, edit: edit(f / "config.json", vocab_size=10**9), "vocab_size"),
    "a thousand million labels": (lambda f, edit: edit(f / "config.json", num_labels=10**9), "num_labels"),
    "layers of a part": (
        lambda f, edit: edit(f / "config.json", a_config={"text_config": {"num_hidden_layers": 10**9}}),
        "num_hidden_layers",
    ),
    "too many stop tokens": (lambda f, edit: edit(f / "config.json", eos_token_id=[1] * 10**5), "stop tokens"),
    "a million values": (lambda f, edit: edit(f / "config.json", eos_token_id=[1] * 10**6), "values"),
    "a config of 30 MB": (lambda f, edit: edit(f / "config.json", notes="x" * 30_000_000), "too large"),
    "a header of 99 MB": (header_of_99_mb, "damaged safetensors header"),
    "a shape without its bytes": (shape_without_bytes, "damaged safetensors header"),
    "a missing layer": (lambda f, edit: edit(f / "config.json", num_hidden_layers=3), "model.layers.2"),
}
UNSUPPORTED = {
    "an unknown type": ({"model_type": "foo9"}, "model_type foo9"),
    "an encoder": ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "BertForMaskedLM"),
    "code for a network": ({"model_file": "evil.py"}, "evil.py"),
    "code for an unknown type": ({"model_type": "foo9", "auto_map": {"AutoModelForCausalLM": "m.F"}}, "never runs"),
    "an unknown quantization": ({"quantization_config": {"quant_method": "bitsandbytes"}}, "bitsandbytes"),
    "a nameless quantization": ({"quantization_config": {"bits": 4}}, "quant_method"),
}


@pytest.mark.parametrize("damage, told", BROKEN.values(), ids=BROKEN)
def test_a_broken_model_is_named_with_what_is_wrong(tmp_path, bench, edit, damage, told):
    folder = random_model(tmp_path / "broken")
    damage(folder, edit)
    with pytest.raises(BrokenModel, match="broken") as caught, bench(folder):
        pass
    assert told in str(caught.value)


@pytest.mark.parametrize("changes, told", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_an_unsupported_model_is_refused_with_the_reason(tmp_path, bench, edit, changes, told):
    folder = random_model(tmp_path / "other")
    edit(folder / "config.json", **changes)
    with pytest.raises(UnsupportedModel, match="other") as caught, bench(folder):
        pass
    assert told in str(caught.value)


def test_no_code_of_a_repository_runs(tmp_path, bench, edit, answer):
    folder = random_model(tmp_path / "code")
    trap = f"open({str(tmp_path / 'sprung')!r}, 'w')\nclass Evil: pass\n"
    for name in ("evil.py", "tokenization_evil.py", "modeling_evil.py", "configuration_evil.py"):
        (folder / name).write_text(trap)
    edit(folder / "config.json", auto_map={"AutoConfig": "configuration_evil.Evil", "AutoModel": "modeling_evil.Evil"})
    edit(
        folder / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["tokenization_evil.Evil", None]},
        tokenizer_class="Evil",
    )
    with bench(folder) as engine:  # its type is mlx-lm's own and its tokenizer.json needs no code
        assert engine.run(lambda e: answer(e, "Hi")).finish == "length"
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["g[ab]", "g?", "*", "[!x]"])
def test_a_folder_whose_name_is_a_pattern_is_read_itself(tmp_path, bench, answer, name):
    random_model(tmp_path / name)
    for other in ("ga", "g[", "y"):
        (tmp_path / other).mkdir()
        (tmp_path / other / "model.safetensors").write_bytes(b"not a model")
    with bench(tmp_path / name) as engine:
        assert engine.run(lambda e: answer(e, "Hello")).tokens


def test_a_pipe_in_the_place_of_weights_is_not_opened(tmp_path):
    pipe = tmp_path / "model.safetensors"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="regular file"):
        read_arrays(pipe)


def test_a_load_nobody_wants_any_more_is_given_up(tmp_path):
    folder = random_model(tmp_path / "unwanted")

    def alive():
        raise Interrupted("nobody wants it")

    context = EngineContext(alive=alive, at_thread_exit=lambda act: None, cache_bytes=0, concurrency=1)
    with pytest.raises(Interrupted):
        load(Model(name="unwanted", path=folder), context)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_is_replaced_during_the_load_is_not_used(tmp_path, edit, name):
    """mlx-lm reads the files again: what it got would not be what was checked."""
    folder = random_model(tmp_path / "replaced")
    later = random_model(tmp_path / "later")
    edit(later / "config.json", rope_theta=77.0)

    def alive():
        if (later / name).exists():
            (later / name).replace(folder / name)

    context = EngineContext(alive=alive, at_thread_exit=lambda call: None, cache_bytes=0, concurrency=1)
    with pytest.raises(BrokenModel) as caught:
        load(Model(name="replaced", path=folder), context)
    assert caught.value.details["file"] == name
    load(Model(name="replaced", path=folder), context).close()


def test_a_load_can_be_ended_while_the_network_is_built(tmp_path):
    """mlx-lm builds a network in one call; a client that has left must not wait for it, nor another model's chat."""
    model = Model(name="deep", path=random_model(tmp_path / "deep", layers=500, hidden=16))
    calls = 0

    def alive():
        nonlocal calls
        calls += 1
        if calls > 1:  # the first call is before the files are read
            raise Interrupted("the client has left")

    context = EngineContext(alive=alive, at_thread_exit=lambda call: None, cache_bytes=0, concurrency=1)
    with pytest.raises(Interrupted) as caught:
        load(model, context)
    assert "load_model" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_a_load_shows_signs_of_life_while_a_template_takes_its_time(tmp_path):
    """The template is rendered for the answer's opening when a cache cannot be cut back; other models go on."""
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    signs = []
    for source in ("{{ messages[0].content }}", "{% if messages[0].content == 'x' %}" + loop + "{% endif %}"):
        folder = tmp_path / str(len(signs))
        random_model(folder, config=SLIDING_WINDOW)
        (folder / "chat_template.jinja").write_text(source + "{{ messages[0].content }}")
        calls = []
        context = EngineContext(
            alive=lambda calls=calls: calls.append(1), at_thread_exit=lambda call: None, cache_bytes=0, concurrency=1
        )
        load(Model(name="m", path=folder), context).close()
        signs.append(len(calls))
    assert signs[1] >= signs[0] + 5


def test_a_load_that_is_given_up_ends_the_rendering_of_its_template(tmp_path):
    """Its thread would go on for ten seconds, and hold the network: loads that were given up filled the memory."""
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    folder = random_model(tmp_path / "m", config=SLIDING_WINDOW)
    (folder / "chat_template.jinja").write_text(loop + "{{ messages[0].content }}")
    calls = 0

    def alive():
        nonlocal calls
        if any(frame.name == "generation_prompt_tokens" for frame in traceback.extract_stack()):
            calls += 1
            if calls > 2:
                raise Interrupted("the client has left")

    context = EngineContext(alive=alive, at_thread_exit=lambda call: None, cache_bytes=0, concurrency=1)
    before = set(threading.enumerate())
    with pytest.raises(Interrupted):
        load(Model(name="m", path=folder), context)
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()
