"""Selection of files, from listings shaped like real repositories."""

from __future__ import annotations

import pytest

from mlxk_core._errors import BrokenModel, ModelNotFound
from mlxk_hub.client import RemoteFile
from mlxk_pull.selection import Filter, NoWeights, select

BESIDE = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "merges.txt",
    "README.md",
    "LICENSE",
]


def taken(*names, variant=None, **patterns):
    files = [RemoteFile(name, 10, name, True) for name in names]
    return [file.name for file in select("org/name", files, Filter(**patterns), variant).files]


def test_config_tokenizer_and_licence_go_with_the_weights():
    assert taken(*BESIDE, "chat_template.jinja", "model.safetensors") == [
        *BESIDE, "chat_template.jinja", "model.safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        "modeling_custom.py", "pytorch_model.bin", "tf_model.h5", "original/consolidated.00.pth", "metal/model.bin",
        "original/model.safetensors", "original/config.json", "onnx/model.onnx", "figure.png", ".gitattributes",
        "consolidated.safetensors", "model-Q4_0.gguf",
    ],
)  # fmt: skip
def test_what_the_model_does_not_need_stays_on_the_hub(other):
    assert other not in taken("config.json", "model.safetensors", other)


def test_safetensors_under_another_name_are_weights_too():
    assert taken("config.json", "weights.00.safetensors") == ["config.json", "weights.00.safetensors"]
    assert taken("config.json", "weights.npz") == ["config.json", "weights.npz"]


def test_all_shards_of_one_variant_and_of_no_other():
    shards = ["UD-Q4_K_XL/m-00001-of-00002.gguf", "UD-Q4_K_XL/m-00002-of-00002.gguf"]
    files = ["config.json", *shards, "m-Q8_0.gguf", "mmproj-F16.gguf", "imatrix.gguf"]
    assert taken(*files, variant="ud-q4_k_xl") == ["config.json", *shards]


def test_a_variant_is_taken_beside_safetensors_only_where_it_is_asked_for():
    files = ["config.json", "m-Q4_0.gguf", "model.safetensors"]
    assert taken(*files) == ["config.json", "model.safetensors"]
    assert taken(*files, variant="Q4_0") == ["config.json", "m-Q4_0.gguf"]


def test_exclude_takes_away_and_include_replaces():
    files = ["config.json", "README.md", "model.safetensors", "original/params.json", "original/consolidated.00.pth"]
    assert taken(*files, exclude=["*.md"]) == ["config.json", "model.safetensors"]
    assert taken(*files, include=["original/"]) == ["original/params.json", "original/consolidated.00.pth"]


@pytest.mark.parametrize("name", ["model-00001-of-00003.safetensors", "m-Q4_0-00001-of-00002.gguf"])
def test_a_model_whose_shards_are_not_all_there_is_refused(name):
    with pytest.raises(BrokenModel, match="incomplete on the hub"):
        taken("config.json", name)


def test_weights_in_other_formats_are_named():
    with pytest.raises(NoWeights, match=r"Its weights are pytorch_model.bin; select them with --include"):
        taken("config.json", "pytorch_model.bin")


@pytest.mark.parametrize("patterns", [{"include": ["*.json"]}, {"exclude": ["*.safetensors"]}], ids=str)
def test_patterns_that_leave_no_weights_are_refused(patterns):
    with pytest.raises(NoWeights, match="--include and --exclude select no weights"):
        taken("config.json", "model.safetensors", **patterns)


def test_a_variant_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ModelNotFound, match=r"no variant `Q5_K_M`. Available: Q4_0, Q8_0"):
        taken("m-Q4_0.gguf", "m-Q8_0.gguf", variant="Q5_K_M")
