"""The header of a GGUF file is read without its weights, and what is damaged is refused at once."""

import pickle
import random
import struct
from pathlib import Path

import pytest

from mlxk_core._errors import BrokenModel
from mlxk_core._models.gguf import GGUFTensor, read_gguf_header


@pytest.fixture
def read(tmp_path):
    def header(data: bytes):
        (tmp_path / "m.gguf").write_bytes(data)
        return read_gguf_header(tmp_path / "m.gguf")

    return header


def test_metadata_and_tensors_are_read(read, gguf):
    metadata = {
        "llama.context_length": 2048,
        "llama.rope.freq_base": 0.5,
        "general.name": "Ein Modell – ü",
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.tokens": ["<s>", "a", "ü"],
        "tokenizer.ggml.token_type": [3, 1, 4],
    }
    tensors = {"a": ((32, 2), 2, 36), "b": ((3,), 0, 12)}
    data = gguf(metadata, tensors)
    header = read(data)
    assert dict(header.metadata) | {"tokenizer.ggml.tokens": list(header.metadata["tokenizer.ggml.tokens"])} == {
        "general.architecture": "llama",
        **metadata,
    }
    assert header.architecture == "llama"
    assert header.tensors == (GGUFTensor("a", (32, 2), "Q4_0", 0), GGUFTensor("b", (3,), "F32", 64))
    assert [tensor.size for tensor in header.tensors] == [36, 12]
    assert list(header.added_tokens()) == [(0, "<s>", True), (2, "ü", False)]
    assert header.file_size == len(data)


def test_the_alignment_of_the_file_holds(read, gguf):
    data = gguf({"general.alignment": 128}, {"a": ((32,), 0, 128), "b": ((32,), 0, 128)}, alignment=128)
    assert read(data).file_size == len(data)


def test_a_type_that_is_not_known_is_named_by_its_number(read, gguf):
    (tensor,) = read(gguf(tensors={"a": ((32,), 99, 8)})).tensors
    assert (tensor.type, tensor.size) == ("type 99", None)


def test_a_header_of_many_megabytes_is_read(read, gguf):
    tokens = [f"token number {number} of a large vocabulary" for number in range(60_000)]
    header = read(gguf({"tokenizer.ggml.tokens": tokens}))
    read_tokens = header.metadata["tokenizer.ggml.tokens"]
    assert (len(read_tokens), read_tokens[-1], read_tokens[:2]) == (60_000, tokens[-1], tokens[:2])
    assert list(read_tokens) == tokens
    assert header.file_size > 1 << 21


@pytest.mark.parametrize(
    ("number", "value"), [(0, 200), (1, -3), (4, 2**31), (6, 0.5), (10, 2**63), (11, -5), (12, 1e300)]
)
def test_a_long_array_of_numbers_is_read(read, number, value):
    code, count = {0: "B", 1: "b", 4: "I", 6: "f", 10: "Q", 11: "q", 12: "d"}[number], 5000
    key = struct.pack("<Q1sIIQ", 1, b"x", 9, number, count)
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key + struct.pack(f"<{count}{code}", *[value] * count)
    assert list(read(data).metadata["x"]) == [value] * count
    with pytest.raises(BrokenModel, match="cut off"):
        read(data[:-1])


def test_a_header_cut_anywhere_is_cut_off(read, gguf):
    data = gguf({"tokenizer.ggml.tokens": ["a", "b"], "tokenizer.ggml.token_type": [1, 1], "x": "y"})
    for length in range(read(data).data_offset - 32):
        with pytest.raises(BrokenModel, match=r"m\.gguf has a damaged GGUF header: it is cut off"):
            read(data[:length])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\x03\x04", "does not begin with GGUF"),
        (b"GGUF" + struct.pack("<I", 1), "version 1 is not 2 or 3"),
        (b"GGUF" + struct.pack(">I", 3), "version 50331648"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "declares"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "declares"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 60), "string ends"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1025), "at most 1,024"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1025), "at most 1,024"),
        (b"GGUF" + struct.pack("<IQQQcIQ", 3, 0, 1, 1, b"k", 8, 1 << 60), "string ends"),
        (b"GGUF" + struct.pack("<IQQQcIQ", 3, 0, 1, 1, b"k", 8, 1025 << 10), "at most 1,048,576"),
        (b"GGUF" + struct.pack("<IQQQ20sIQ", 3, 0, 1, 20, b"general.architecture", 8, 1025), "at most 1,024"),
        (b"GGUF" + struct.pack("<IQQQcIIQ", 3, 0, 1, 1, b"k", 9, 4, 1 << 60), "arrays declare"),
        (b"GGUF" + struct.pack("<IQQQcI", 3, 0, 1, 1, b"k", 77), "unknown type 77"),
        (b"GGUF" + struct.pack("<IQQQcIIQ", 3, 0, 1, 1, b"k", 9, 77, 1), "unknown type 77"),
        (b"GGUF" + struct.pack("<IQQQcI", 3, 1, 0, 1, b"t", 1000), "1000 axes"),
        (b"GGUF" + struct.pack("<IQQQcI", 3, 0, 1, 1, b"k", 9) + struct.pack("<IQ", 9, 1) * 5000, "array of arrays"),
    ],
)
def test_a_damaged_header_is_rejected_at_once(read, data, reason):
    with pytest.raises(BrokenModel, match=reason):
        read(data)


@pytest.mark.parametrize(
    ("metadata", "tensors", "reason"),
    [
        ({"general.alignment": 0}, {}, "alignment"),
        ({"general.alignment": 48}, {}, "alignment"),
        ({"general.alignment": 1 << 31}, {}, "alignment"),
        ({"general.alignment": "32"}, {}, "alignment"),
        ({}, {"a": ((32, 0), 0, 0)}, "shape"),
        ({}, {"a": ((1 << 31,), 0, 0)}, "shape"),
        ({}, {"a": ((33,), 2, 36)}, "do not fill blocks of 32"),
        ({}, {"a": ((), 8, 34)}, "do not fill blocks of 32"),
    ],
)
def test_what_no_reader_may_compute_with_is_refused(read, gguf, metadata, tensors, reason):
    with pytest.raises(BrokenModel, match=reason):
        read(gguf(metadata, tensors))


def test_two_of_one_name_or_place_are_refused(read, gguf):
    data = gguf({"k1": 1, "k2": 2}, {"t1": ((32,), 0, 128), "t2": ((32,), 0, 128)})
    with pytest.raises(BrokenModel, match="the key 'k1' twice"):
        read(data.replace(b"k2", b"k1"))
    with pytest.raises(BrokenModel, match="the tensor 't1' twice"):
        read(data.replace(b"t2", b"t1"))
    place = struct.pack("<I", 0)  # the type
    with pytest.raises(BrokenModel, match="'t1' and 't2' overlap"):
        read(data.replace(place + struct.pack("<Q", 128), place + struct.pack("<Q", 96)))


def test_only_a_tokenizer_may_have_large_texts(read, gguf):
    large = "x" * (1 << 21)
    for key in ("tokenizer.chat_template", "tokenizer.huggingface.json"):
        assert read(gguf({key: large})).metadata[key] == large
    assert list(read(gguf({"tokenizer.ggml.tokens": [large]})).metadata["tokenizer.ggml.tokens"]) == [large]
    for key, value in (("general.license", large), ("general.license", [large]), ("tokenizer.ggml.model", large)):
        with pytest.raises(BrokenModel, match="at most 1,048,576"):
            read(gguf({key: value}))


def test_chat_templates_have_a_size_together(read, gguf):
    """They are searched in one step, with the interpreter locked: 62 MB took five seconds."""
    with pytest.raises(BrokenModel, match="at most 2,097,152"):
        read(gguf({"tokenizer.chat_template": "é" * ((1 << 20) + 1)}))
    with pytest.raises(BrokenModel, match="at most 97,152"):
        read(gguf({"tokenizer.chat_template": "x" * 2_000_000, "tokenizer.chat_template.rag": "x" * 100_000}))


def test_a_long_array_is_one_word_in_a_message(read):
    """Two million numbers take ten seconds to write, with the interpreter locked."""
    key = struct.pack("<Q1sIIQ", 1, b"x", 9, 12, 2_000_000)
    value = read(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key + bytes(16_000_000)).metadata["x"]
    assert f"{value} {value!r}" == "<2,000,000 numbers> <2,000,000 numbers>"
    assert pickle.loads(pickle.dumps(value)) == value


def test_no_damage_at_all_leads_to_another_error(read, gguf):
    data = bytearray(gguf({"tokenizer.ggml.tokens": ["a", "b"], "tokenizer.ggml.token_type": [1, 1], "x": 1.5}))
    chance = random.Random(7)
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(data) - 64)] = chance.randrange(256)
        try:
            header = read(bytes(damaged))
            list(header.added_tokens())
            assert header.file_size >= 0
        except BrokenModel:
            pass


def test_a_file_that_is_not_there_is_broken_too():
    with pytest.raises(BrokenModel, match="cannot be read"):
        read_gguf_header(Path("/nowhere/m.gguf"))
