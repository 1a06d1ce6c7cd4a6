"""GGUF files are grouped into variants by their names."""

import pytest

from mlxk_core._models.model import File
from mlxk_core._models.variants import gguf_variants


def variants(*names: str, size: int = 10) -> dict[str, tuple]:
    found = gguf_variants(File(name, size) for name in names)
    return {each.name: (each.shards, each.complete, each.size, each.files) for each in found}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Llama-3.2-3B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-7b-instruct-q4_k_m.gguf", "Q4_K_M"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("model_q8_0.gguf", "Q8_0"),
        ("GLM-4.5-Air-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("m-IQ2_XXS.gguf", "IQ2_XXS"),
        ("m.i1-Q4_K_S.gguf", "Q4_K_S"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("m-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("m-BF16.gguf", "BF16"),
        ("m-f16.gguf", "F16"),
        ("m-fp16.gguf", "FP16"),
        ("m-TQ1_0.gguf", "TQ1_0"),
        ("F16-trained-Q4_0.gguf", "Q4_0"),
        ("UPPER-Q4_0.GGUF", "Q4_0"),
        ("UD-Q2_K/m-00001-of-00001.gguf", "UD-Q2_K"),
        ("BF16/model.gguf", "BF16"),
        ("ggml-model.gguf", "ggml-model"),
        ("Q4X-model.gguf", "Q4X-model"),
    ],
)
def test_a_variant_is_called_after_its_encoding(file, name):
    assert variants(file) == {name: (1, True, 10, (file,))}


def test_shards_are_one_variant_and_their_sizes_are_summed():
    names = [f"m-q4_k_m-0000{number}-of-00003.gguf" for number in (3, 1, 2)]
    assert variants(*names) == {"Q4_K_M": (3, True, 30, tuple(sorted(names)))}


def test_a_set_with_missing_shards_is_marked():
    assert variants("m-Q8_0-00002-of-00003.gguf") == {"Q8_0": (3, False, 10, ("m-Q8_0-00002-of-00003.gguf",))}


def test_variants_may_be_folders():
    names = ["UD-Q4_K_XL/m-UD-Q4_K_XL-00001-of-00002.gguf", "UD-Q4_K_XL/m-UD-Q4_K_XL-00002-of-00002.gguf"]
    assert variants(*names, "Q8_0/m.gguf") == {
        "Q8_0": (1, True, 10, ("Q8_0/m.gguf",)),
        "UD-Q4_K_XL": (2, True, 20, tuple(names)),
    }


@pytest.mark.parametrize(
    "companion",
    ["mmproj-F16.gguf", "m-mmproj-f16.gguf", "m-Q4_0.imatrix.gguf", "imatrix_unsloth.gguf", "m-F16-LoRA.gguf",
     "ggml-vocab-qwen2.gguf", "README.md", "model.safetensors"],
)  # fmt: skip
def test_companion_files_of_a_model_are_not_variants(companion):
    assert list(variants("m-Q4_0.gguf", companion)) == ["Q4_0"]


def test_two_models_with_one_encoding_are_called_after_their_files():
    assert list(variants("a-Q4_0.gguf", "b-Q4_0.gguf", "b-Q8_0.gguf")) == ["Q8_0", "a-Q4_0", "b-Q4_0"]


def test_the_smallest_variant_comes_first():
    files = [File("m-Q8_0.gguf", 8), File("m-Q4_0.gguf", 4), File("m-F16.gguf", 16)]
    assert [each.name for each in gguf_variants(files)] == ["Q4_0", "Q8_0", "F16"]


def test_without_gguf_files_there_are_none():
    assert gguf_variants([File("model.safetensors", 1)]) == ()
