"""What the backend takes and refuses, told from the files without importing MLX."""

from __future__ import annotations

import json

import pytest

from mlxk_core._models.model import Model
from mlxk_mlx.support import architectures
from mlxk_testing.tiny_models import CHATML, gpt_oss_model, mxfp4_model, random_model


def verdict(folder):
    return architectures.accepts(Model(name=folder.name, path=folder))


@pytest.mark.parametrize("write", [random_model, mxfp4_model, gpt_oss_model], ids=lambda write: write.__name__)
def test_models_in_mlx_form_are_taken(tmp_path, write):
    write(tmp_path / "model")
    assert verdict(tmp_path / "model").accepted


def test_a_template_is_not_needed(tmp_path):
    assert verdict(random_model(tmp_path / "model", chat_template=None)).accepted


@pytest.mark.parametrize(
    "model_type", ["llama", "mistral", "qwen3", "gpt_oss", "kimi_k2", "phi-msft", "gemma4_unified"]
)
def test_known_types_and_remapped_ones_are_supported(model_type):
    assert architectures.supports({"model_type": model_type})


def test_an_architecture_may_decide(tmp_path):
    assert architectures.supports({"model_type": "bailing_hybrid", "architectures": ["BailingMoeV3ForCausalLM"]})


@pytest.mark.parametrize("config", [{}, {"model_type": None}, {"model_type": "cache"}, {"model_type": "../llama"}])
def test_parts_of_mlx_lm_are_no_models(config):
    assert not architectures.supports(config)


def test_the_table_is_mlx_lms_own():
    from mlx_lm.utils import MODEL_ARCHITECTURE_REMAPPING, MODEL_REMAPPING

    by_type, by_architecture = architectures._remapping()
    assert dict(by_type) == MODEL_REMAPPING
    assert dict(by_architecture) == MODEL_ARCHITECTURE_REMAPPING


@pytest.mark.parametrize(
    "changes, answer, told",
    [
        ({"model_type": "foo9"}, "no", "foo9"),
        ({"model_type": "gpt_bigcode"}, "no", "in batches"),
        ({"model_type": "bert"}, "no", "does not generate"),
        ({"architectures": ["QwenForSequenceClassification"]}, "no", "QwenForSequenceClassification"),
        ({"model_file": "net.py"}, "no", "net.py"),
        ({"model_type": "foo9", "auto_map": {"AutoModel": "m.M"}}, "no", "code in the repository"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "no", "bitsandbytes"),
        ({"quantization_config": {"bits": 4}}, "no", "quant_method"),
        ({"text_config": {"quantization_config": {"quant_method": "hqq"}}}, "no", "hqq"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 8}}, "no", "8 bits"),
        ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8"}}, "no", "NVFP4 only"),
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}, "no", "fp8"),
        ({"quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized"}}, "no", "float-q"),
        ({"model_type": ...}, "foreign", "model_type"),
    ],
)
def test_a_refusal_says_why(tmp_path, edit, changes, answer, told):
    folder = random_model(tmp_path / "model")
    edit(folder / "config.json", **changes)
    given = verdict(folder)
    assert given.answer == answer
    assert told in given.reason


FOREIGN = [
    {"quantization_config": {"quant_method": "gptq", "bits": 4}},
    {"quantization_config": {"quant_method": "awq"}},
    {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}},
    {"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized"}},
    {"quantization_config": {"quant_method": "fp8", "scale_fmt": "ue8m0", "weight_block_size": [32, 32]}},
    {"model_type": "deepseek_v3", "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}},
    {"model_type": "kimi_k25", "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}},
]


@pytest.mark.parametrize("changes", FOREIGN, ids=str)
def test_what_other_tools_have_packed_is_taken_where_mlx_lm_reads_it(tmp_path, edit, changes):
    folder = random_model(tmp_path / "model")
    edit(folder / "config.json", **changes)
    assert verdict(folder).accepted


def test_gptq_in_an_order_of_its_own_is_refused(tmp_path, edit):
    folder = random_model(tmp_path / "model")
    edit(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    header = json.dumps({"a.g_idx": {"dtype": "I32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert "g_idx" in verdict(folder).reason


@pytest.mark.parametrize(
    "name, told",
    [("pytorch_model.bin", "PyTorch"), ("weights.00.safetensors", "another name"), ("notes.txt", "no weight files")],
)
def test_weights_in_another_form_are_named(tmp_path, name, told):
    folder = random_model(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / name)
    assert told in verdict(folder).reason


def test_a_decoder_that_embeds_is_accepted(tmp_path):
    folder = random_model(tmp_path / "model")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    assert verdict(folder).accepted


def test_a_tokenizer_that_is_code_is_refused(tmp_path, edit):
    folder = random_model(tmp_path / "model", chat_template=CHATML)
    (folder / "tokenizer.json").unlink()
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_x.X", None]})
    assert "tokenizer is code" in verdict(folder).reason


@pytest.mark.parametrize("model_type", ["llama4", "afm7"])
def test_what_mlx_lm_cannot_decode_in_batches_is_refused(tmp_path, edit, model_type):
    folder = random_model(tmp_path / "odd")
    edit(folder / "config.json", model_type=model_type)
    verdict = architectures.accepts(Model(name="odd", path=folder))
    assert (verdict.answer, "in batches" in verdict.reason) == ("no", True)


def test_a_gguf_file_is_none_of_its_business(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    assert architectures.accepts(Model(name="model", path=path)).answer == "foreign"
