"""A model's files say what it is, are read when asked for, and cost what they are worth."""

import json
import os
import pickle
from dataclasses import replace
from types import MappingProxyType

import pytest

from mlxk_core._errors import BrokenModel
from mlxk_core._models.model import AddedToken, File, Model
from mlxk_core._settings.sections import ModelSettings


def test_files_of_a_snapshot_have_the_sizes_of_their_blobs(hub):
    snapshot = hub("org/m", {"config.json": b"{}", "sub/model.safetensors": b"12345"})
    (snapshot / ".hidden").write_text("x")
    (snapshot / "gone").symlink_to("../../blobs/nothing")
    (snapshot / "circle").symlink_to(snapshot)
    model = Model(name="org/m", path=snapshot)
    assert model.files == (File("config.json", 2), File("gone", 0), File("sub/model.safetensors", 5))
    assert model.size == 7


def test_a_single_file_is_itself_and_the_other_shards_of_its_set(folder, gguf):
    parts = [f"m-Q8_0-0000{number}-of-00002.gguf" for number in (1, 2)]
    path = folder({name: gguf() for name in [*parts, "m-Q4_0.gguf"]}).path
    assert [file.name for file in Model(name="x", path=path / "m-Q4_0.gguf").files] == ["m-Q4_0.gguf"]
    for part in parts:
        model = Model(name="x", path=path / part)
        assert [file.name for file in model.files] == parts
        assert model.gguf_path == path / parts[0]
    assert Model(name="x", path=path / "none.gguf").files == ()


def test_the_other_shards_may_be_anything(folder, gguf):
    parts = [f"m-Q8_0-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    path = folder({parts[0]: gguf()}).path
    (path / parts[1]).symlink_to("nowhere")
    (path / parts[2]).symlink_to(parts[2])
    files = Model(name="m", path=path / parts[0]).files
    assert [(file.name, file.size > 0) for file in files] == [(name, name == parts[0]) for name in parts]


@pytest.mark.parametrize(
    ("files", "asked", "meant"),
    [
        (["m-Q4_0.gguf"], None, "m-Q4_0.gguf"),
        (["m-Q4_0.gguf", "m-Q8_0.gguf"], None, None),
        (["m-Q4_0.gguf", "m-Q8_0.gguf"], "q8_0", "m-Q8_0.gguf"),
        (["m-Q4_0.gguf", "m-Q8_0.gguf"], "Q2_K", None),
        (["m-Q4_0.gguf", "mmproj-F16.gguf"], None, "m-Q4_0.gguf"),
        (["m-Q4_0.gguf", "model.safetensors"], None, None),
        (["m-Q4_0.gguf", "pytorch_model.bin"], None, None),
        (["m-Q4_0.gguf", "imatrix.bin", "training_args.bin"], None, "m-Q4_0.gguf"),
        (["m-Q4_0.gguf", "model.safetensors"], "Q4_0", "m-Q4_0.gguf"),
        (["Q4_0/m-00001-of-00002.gguf", "Q4_0/m-00002-of-00002.gguf"], None, "Q4_0/m-00001-of-00002.gguf"),
        (["model.safetensors"], None, None),
    ],
)
def test_the_gguf_file_to_run_is_the_variant_that_is_meant(folder, files, asked, meant):
    model = folder(dict.fromkeys(files, b"x"), variant=asked)
    assert model.gguf_path == (model.path / meant if meant else None)


def test_an_explicit_gguf_file_is_run_whatever_it_is_called(folder, gguf):
    path = folder({"my-lora-merged.gguf": gguf()}).path / "my-lora-merged.gguf"
    model = Model(name="x", path=path)
    assert model.gguf_path == path
    assert model.gguf.architecture == "llama"


def test_missing_files_read_as_empty(folder):
    model = folder({})
    assert (dict(model.config), dict(model.tokenizer_config), dict(model.generation_config)) == ({}, {}, {})
    assert (model.chat_template, dict(model.added_tokens), model.gguf, model.files) == (None, {}, None, ())


@pytest.mark.parametrize("damage", [b"{ broken", b"[]", b"", b"\xff\xfe", b"[" * 100_000, b"3"])
@pytest.mark.parametrize(
    ("file", "attribute"),
    [
        ("config.json", "config"),
        ("tokenizer_config.json", "tokenizer_config"),
        ("generation_config.json", "generation_config"),
        ("tokenizer_config.json", "chat_template"),
    ],
)
def test_damaged_json_is_broken_and_names_its_file(folder, damage, file, attribute):
    with pytest.raises(BrokenModel, match=file):
        getattr(folder({file: damage}), attribute)


def test_a_sources_defaults_come_before_the_models_own_values(folder):
    own = folder({"generation_config.json": {"temperature": 0.6, "top_k": 20}})
    model = Model(name="m", path=own.path, defaults={"temperature": 0.0})
    assert model.generation_config == {"temperature": 0.0, "top_k": 20}


@pytest.mark.parametrize(
    ("files", "template"),
    [
        ({"chat_template.jinja": b"JINJA", "tokenizer_config.json": {"chat_template": "CONFIG"}}, "JINJA"),
        ({"chat_template.jinja": b" \n", "tokenizer_config.json": {"chat_template": "CONFIG"}}, "CONFIG"),
        (
            {"tokenizer_config.json": {"chat_template": "CONFIG"}, "chat_template.json": {"chat_template": "P"}},
            "CONFIG",
        ),
        ({"chat_template.json": {"chat_template": "P"}}, "P"),
        (
            {
                "tokenizer_config.json": {
                    "chat_template": [{"name": "rag", "template": "R"}, {"name": "default", "template": "D"}]
                }
            },
            "D",
        ),
        ({"tokenizer_config.json": {"chat_template": [{"name": "rag", "template": "R"}, "junk"]}}, "R"),
        ({"tokenizer_config.json": {"chat_template": []}}, None),
        ({"tokenizer_config.json": {"chat_template": [{"name": [], "template": "L"}]}}, None),
        ({"tokenizer_config.json": {"chat_template": [{"name": {}}, {"name": "rag", "template": "R"}]}}, "R"),
        ({"tokenizer_config.json": {"chat_template": ""}}, None),
        ({"tokenizer_config.json": {"chat_template": 3}}, None),
        ({"tokenizer_config.json": {"chat_template": None}}, None),
    ],
)
def test_the_chat_template_is_taken_from_the_first_place_that_has_one(folder, files, template):
    assert folder(files).chat_template == template


def test_a_gguf_file_brings_its_own_template_and_tokens(folder, gguf):
    header = {
        "tokenizer.chat_template": "GGUF",
        "tokenizer.ggml.tokens": ["<s>", "a"],
        "tokenizer.ggml.token_type": [3, 1],
    }
    model = folder({"m-Q4_0.gguf": gguf(header), "chat_template.jinja": b"JINJA", "tokenizer.json": b"{"})
    assert model.chat_template == "GGUF"
    assert model.added_tokens == {"<s>": AddedToken(0, "<s>", True)}


def test_added_tokens_are_joined_from_both_files(folder):
    model = folder(
        {
            "tokenizer_config.json": {
                "added_tokens_decoder": {
                    "1": {"content": "<a>", "special": True},
                    "2": {"content": "<b>", "special": True},
                    "x": {"content": "<c>"},
                    "²": {"content": "<d>"},
                    "3": "junk",
                }
            },
            "tokenizer.json": {
                "version": "1.0",
                "added_tokens": [
                    {"id": 2, "content": "<b>", "special": False},
                    {"id": 4, "content": "<ü>"},
                    7,
                    {"id": "5"},
                ],
                "model": {"vocab": {}},
            },
        }
    )
    assert model.added_tokens == {
        "<a>": AddedToken(1, "<a>", True),
        "<b>": AddedToken(2, "<b>", False),
        "<ü>": AddedToken(4, "<ü>", False),
    }


@pytest.mark.parametrize("count", [0, 1, 700, 5000])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_added_tokens_are_found_however_long_the_list_is(folder, count, ascii_only):
    tokens = [{"id": number, "content": f'<tök"en {number}]>', "special": True} for number in range(count)]
    text = json.dumps({"added_tokens": tokens, "model": {"vocab": {"x": 1}}}, ensure_ascii=ascii_only)
    assert len(folder({"tokenizer.json": text.encode()}).added_tokens) == count


def test_the_vocabulary_of_a_tokenizer_is_not_read_for_its_added_tokens(folder):
    head = json.dumps({"added_tokens": [{"id": 1, "content": "<a>", "special": True}]}).encode()[:-1]
    model = folder({"tokenizer.json": head + b', "model": what follows is never parsed'})
    assert list(model.added_tokens) == ["<a>"]


def test_a_word_of_the_vocabulary_is_not_taken_for_the_list(folder):
    text = json.dumps({"model": {"vocab": {"added_tokens": 3, '"added_tokens": [': 4}}, "added_tokens": []})
    assert folder({"tokenizer.json": text.encode()}).added_tokens == {}
    assert folder({"tokenizer.json": {"model": {}}}, name="none").added_tokens == {}


def test_a_tokenizer_cut_off_in_the_list_is_broken(folder):
    with pytest.raises(BrokenModel, match=r"tokenizer\.json"):
        _ = folder({"tokenizer.json": b'{"added_tokens": [{"id": 1, "cont'}).added_tokens


def test_nothing_that_was_read_travels_with_a_pickled_model(folder):
    read = folder({"config.json": {"model_type": "x" * 10_000}})
    model = Model(name=read.name, path=read.path, defaults=MappingProxyType({"temperature": 0}))
    assert model.config["model_type"]
    assert model.files
    assert len(pickle.dumps(model)) < 1000
    copy = pickle.loads(pickle.dumps(model))
    assert copy == model
    assert hash(copy) == hash(model)
    assert copy.config == model.config
    assert copy.defaults == {"temperature": 0}


def test_code_in_a_repository_is_never_run(folder, tmp_path):
    code = f"open({os.fspath(tmp_path / 'ran')!r}, 'w')"
    model = folder(
        {
            "config.json": {"auto_map": {"AutoConfig": "evil.Config"}, "model_file": "evil.py"},
            "evil.py": code.encode(),
            "__init__.py": code.encode(),
        }
    )
    assert model.config["auto_map"]
    assert model.files
    assert not (tmp_path / "ran").exists()


def test_a_template_of_the_settings_has_the_limit_of_the_models_own(folder, tmp_path):
    """Templates are searched in one step, which takes a tenth of a second for each megabyte."""
    (tmp_path / "chat.jinja").write_text("{{ messages }}" + " " * (1 << 20))
    model = replace(folder({}), settings=ModelSettings(chat_template=str(tmp_path / "chat.jinja")))
    assert model.chat_template.startswith("{{ messages }}")
    (tmp_path / "chat.jinja").write_text("{{ messages }}" + " " * (2 << 20))
    with pytest.raises(BrokenModel, match=r"chat\.jinja"):
        _ = replace(model).chat_template
