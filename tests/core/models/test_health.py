"""A model's files are healthy or not, and each thing that is wrong has a code and a sentence."""

import json
import os
import random
import zipfile

import pytest

from mlxk_core._models.classify import Facts
from mlxk_core._models.health import check_health
from mlxk_core._models.model import Model
from mlxk_core._models.token_budget import model_context_length

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 123456\n"


def codes(model: Model) -> list[str]:
    return [problem.code for problem in check_health(model).problems]


def index(*shards: str) -> dict:
    return {"metadata": {}, "weight_map": {f"w{number}": shard for number, shard in enumerate(shards)}}


@pytest.fixture
def whole(safetensors) -> dict:
    """The files of a healthy model."""
    return {"config.json": CONFIG, "tokenizer.json": {"model": {}}, "model.safetensors": safetensors()}


def test_a_whole_model_is_healthy(folder, whole):
    health = check_health(folder(whole))
    assert health.healthy
    assert health.reason is None


def test_a_whole_snapshot_of_links_is_healthy(hub, whole):
    files = {name: data if isinstance(data, bytes) else json.dumps(data).encode() for name, data in whole.items()}
    assert check_health(Model(name="org/m", path=hub("org/m", files))).healthy


def test_shards_with_their_index_are_healthy(folder, whole, safetensors):
    del whole["model.safetensors"]
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert codes(folder({**whole, **dict.fromkeys(names, safetensors())})) == []
    assert codes(folder({**whole, "model.safetensors.index.json": index(*names)})) == []


def test_pytorch_shards_with_their_index_are_healthy(folder, whole):
    del whole["model.safetensors"]
    names = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    files = {**whole, **dict.fromkeys(names, b"x"), "pytorch_model.bin.index.json": index(*names)}
    assert codes(folder(files)) == []


def test_a_gguf_file_needs_neither_config_nor_tokenizer(folder, gguf, tmp_path):
    model = folder({"m-Q4_0.gguf": gguf()})
    assert codes(model) == []
    assert codes(Model(name="m", path=model.path / "m-Q4_0.gguf")) == []


@pytest.mark.parametrize(
    ("change", "code", "file"),
    [
        ({"config.json": None}, "config_missing", "config.json"),
        ({"config.json": b"{ broken"}, "config_invalid_json", "config.json"),
        ({"config.json": b""}, "config_invalid_json", "config.json"),
        ({"config.json": b"{}"}, "config_invalid_json", "config.json"),
        ({"config.json": b"[1]"}, "config_invalid_json", "config.json"),
        ({"config.json": b"\xff\xfe{"}, "config_invalid_json", "config.json"),
        ({"config.json": b"[" * 100_000}, "config_invalid_json", "config.json"),
        ({"config.json": POINTER}, "lfs_pointer_detected", "config.json"),
        ({"model.safetensors": None}, "no_weights_found", None),
        ({"model.safetensors": None, "training_args.bin": b"x"}, "no_weights_found", None),
        ({"model.safetensors": b""}, "empty_weight_file", "model.safetensors"),
        ({"model.safetensors": POINTER}, "lfs_pointer_detected", "model.safetensors"),
        ({"model.safetensors": b"\x10\0\0"}, "truncated_weight_file", "model.safetensors"),
        ({"model.safetensors": b"\x08\0\0\0\0\0\0\0not json"}, "damaged_weight_header", "model.safetensors"),
        ({"model.safetensors": b"\x02\0\0\0\0\0\0\0[]"}, "damaged_weight_header", "model.safetensors"),
        ({"model.safetensors": b"\xff" * 64}, "damaged_weight_header", "model.safetensors"),
        ({"generation_config.json": b"[]"}, "generation_config_invalid_json", "generation_config.json"),
        (
            {"model.safetensors.index.json": b'{"weight_map": {"a": 1}}'},
            "index_parse_error",
            "model.safetensors.index.json",
        ),
        ({"model.safetensors.index.json": b"{"}, "index_parse_error", "model.safetensors.index.json"),
        ({"model.safetensors.index.json": b'{"weight_map": 3}'}, "index_parse_error", "model.safetensors.index.json"),
        (
            {"model.safetensors.index.json": b'{"weight_map": {"a": "%s"}}' % (b"a/" * 600)},
            "index_parse_error",
            "model.safetensors.index.json",
        ),
        ({"blob.incomplete": b"x"}, "partial_marker", "blob.incomplete"),
        ({"sub/model.safetensors.partial": b"x"}, "partial_marker", "sub/model.safetensors.partial"),
        ({"x.TMP": b""}, "partial_marker", "x.TMP"),
        ({"tokenizer.json": None}, "tokenizer_missing", "tokenizer.json"),
        ({"tokenizer.json": b'{"model": {"vocab": {"a'}, "tokenizer_invalid_json", "tokenizer.json"),
        ({"tokenizer.json": b""}, "tokenizer_invalid_json", "tokenizer.json"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_problem_is_named(folder, whole, change, code, file):
    model = folder({name: data for name, data in {**whole, **change}.items() if data is not None})
    (problem,) = check_health(model).problems
    assert (problem.code, problem.file) == (code, file)
    assert problem.message.endswith(".")
    assert file is None or file.rpartition("/")[2].split(".")[0] in problem.message
    assert check_health(model).reason == problem.message


def test_truncated_safetensors_are_found_wherever_they_end(folder, whole, safetensors):
    data = safetensors(100)
    for length in (1, 7, 8, 20, len(data) - 100, len(data) - 1):
        assert codes(folder({**whole, "model.safetensors": data[:length]})) == ["truncated_weight_file"], length


def test_truncated_gguf_is_found_wherever_it_ends(folder, gguf):
    data = gguf({"tokenizer.ggml.tokens": ["a", "b"]})
    for length in (1, 3, 4, 10, 30, 60, len(data) - 37, len(data) - 1):
        assert codes(folder({"m.gguf": data[:length]})) == ["truncated_weight_file"], length
    assert codes(folder({"m.gguf": data})) == []
    assert codes(folder({"m.gguf": b"GGML" + data[4:]})) == ["damaged_weight_header"]


def test_a_truncated_archive_is_found(folder, whole, tmp_path):
    del whole["model.safetensors"]
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("data.pkl", b"x" * 1000)
    data = (tmp_path / "z").read_bytes()
    assert codes(folder({**whole, "pytorch_model.bin": data})) == []
    assert codes(folder({**whole, "pytorch_model.bin": data[:-60]})) == ["truncated_weight_file"]


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_shard_the_index_names_must_be_there(folder, whole, suffix, safetensors):
    del whole["model.safetensors"]
    names = [f"model-0000{number}-of-00004.{suffix}" for number in (1, 2, 3, 4)]
    files = {**whole, f"model.{suffix}.index.json": index(*names), names[0]: safetensors()}
    (problem,) = check_health(folder(files)).problems
    assert problem.code == "index_missing_shard"
    assert problem.message == f"{names[1]}, {names[2]} and 1 more are missing, named in model.{suffix}.index.json."
    assert codes(folder({**whole, f"model.{suffix}.index.json": index(*names)}, name="none")) == ["index_missing_shard"]


def test_an_index_of_weights_that_were_not_downloaded_is_ignored(folder, whole):
    absent = index("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
    assert codes(folder({**whole, "pytorch_model.bin.index.json": absent})) == []


@pytest.mark.parametrize("suffix", ["safetensors", "gguf", "bin"])
def test_numbered_shards_must_be_complete_without_an_index(folder, whole, suffix, safetensors, gguf):
    del whole["model.safetensors"]
    data = {"safetensors": safetensors(), "gguf": gguf(), "bin": b"x"}[suffix]
    files = {**whole, **{f"model-{number:05}-of-00003.{suffix}": data for number in (1, 3)}}
    (problem,) = check_health(folder(files)).problems
    assert (problem.code, problem.file) == ("missing_shard", f"model-00002-of-00003.{suffix}")


def test_a_dangling_link_is_reported_once(hub, safetensors):
    snapshot = hub("org/m", {"config.json": b'{"model_type": "x"}', "model.safetensors": safetensors()})
    (snapshot / "model.safetensors").resolve().unlink()
    assert codes(Model(name="org/m", path=snapshot)) == ["dangling_link"]


def test_a_revision_without_files_says_so(tmp_path):
    assert codes(Model(name="org/m", path=tmp_path / "nowhere", origin="hub"))[0] == "snapshot_missing"


def test_one_variant_is_judged_without_the_others(folder, gguf):
    files = {"m-Q4_0.gguf": gguf(), "m-Q8_0.gguf": b""}
    assert codes(folder(files)) == ["empty_weight_file"]
    assert codes(folder(files, variant="Q4_0")) == []
    assert codes(folder(files, variant="Q8_0")) == ["empty_weight_file"]


def test_a_model_without_text_input_needs_no_tokenizer(folder, whole):
    del whole["tokenizer.json"]
    assert codes(folder({**whole, "config.json": {"architectures": ["ResNetForImageClassification"]}})) == []
    assert codes(folder({**whole, "tokenizer_config.json": {"tokenizer_class": "ByT5Tokenizer"}})) == []


@pytest.mark.parametrize("name", ["tokenizer.model", "vocab.txt", "tekken.json", "qwen.tiktoken", "source.spm"])
def test_a_tokenizer_comes_in_many_forms(folder, whole, name):
    del whole["tokenizer.json"]
    assert codes(folder({**whole, name: b"x"})) == []


def test_pipelines_and_adapters_have_other_configs(folder, safetensors):
    assert codes(folder({"model_index.json": {}, "unet/model.safetensors": safetensors()}, name="p")) == []
    assert codes(folder({"adapter_config.json": {}, "adapters.safetensors": safetensors()}, name="a")) == []


def test_every_problem_is_reported_the_most_informative_first(folder, whole, safetensors):
    files = {**whole, "config.json": b"", "model.safetensors": b"", "x.tmp": b""}
    assert codes(folder(files)) == ["partial_marker", "config_invalid_json", "empty_weight_file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_reported(folder, whole):
    model = folder(whole)
    (model.path / "config.json").chmod(0)
    assert codes(model) == ["unreadable_file"]
    model.path.chmod(0)
    try:
        assert codes(Model(name="m", path=model.path))[0] == "unreadable_file"
    finally:
        model.path.chmod(0o700)


@pytest.mark.parametrize("seed", range(100))
def test_any_file_content_yields_a_result(folder, safetensors, gguf, seed):
    chance = random.Random(seed)
    values = [None, 0, -1, 1.5, "x", "", [], {}, [1], ["a"], {"a": 1}, True, "7", [[]], {"a": {}}, float("nan")]
    keys = ["model_type", "architectures", "quantization", "quantization_config", "text_config", "vision_config"]
    keys += ["max_position_embeddings", "chat_template", "added_tokens_decoder", "added_tokens", "weight_map"]
    keys += ["metadata", "tokenizer_class", "auto_map"]
    files: dict = {}
    for name in ("config", "tokenizer_config", "tokenizer", "model.safetensors.index", "hf_quant_config"):
        if chance.random() < 0.8:
            files[f"{name}.json"] = {key: chance.choice(values) for key in chance.sample(keys, 5)}
    header = {
        name: chance.choice([*values, {"dtype": "U8", "shape": chance.choice(values), "data_offsets": [0, 4]}])
        for name in chance.sample(["a.weight", "a.scales", "__metadata__"], 2)
    }
    text = json.dumps(header).encode()
    files["model.safetensors"] = len(text).to_bytes(8, "little") + text + bytes(chance.randrange(8))
    model = folder(files)
    facts = Facts(model)
    told = (facts.framework, facts.type, facts.capabilities, facts.architecture, model_context_length(model))
    assert all(each.message for each in check_health(model).problems)
    assert told[-1] is None or told[-1] > 0


def test_a_damaged_image_encoder_does_not_stop_a_gguf_model(folder, gguf):
    model = folder({"m-Q4_0.gguf": gguf({"general.architecture": "llama"}), "mmproj-m-f16.gguf": b"GGUF"})
    assert check_health(model).healthy
