"""Tokenizers in a process of their own: which ones, the same results as in this one, and limits."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import textwrap
import threading
from contextlib import contextmanager

import pytest

from mlxk_core.api.errors import BrokenModel, EngineFailure, InsufficientMemory, InvalidOption, SystemLimit
from mlxk_core.api.models import Model
from mlxk_core.api.processes import ProcessNotStarted
from mlxk_mlx.engine.detokenizer import PieceDetokenizer, TokenByteTable, decode_tokens
from mlxk_mlx.engine.template_process import RenderProcesses
from mlxk_mlx.engine.tokenizer import LoadedTokenizer
from mlxk_mlx.engine.tokenizer_process import HostedTokenizer, TokenizerProcess, load_in_process
from mlxk_mlx.loading import runtime
from mlxk_mlx.loading.load import load_tokenizer, read_network, translated_errors
from mlxk_mlx.loading.tokenizer_files import read_copied_tokenizer, read_tokenizer
from mlxk_mlx.loading.tokenizer_trust import check_size, plain_files
from mlxk_testing.tiny_models import random_model

TARGET = "mlxk_mlx.loading.tokenizer_files:read_tokenizer"
TEXTS = ["", "Hello, wörld! 😀", "<|im_start|>user\nx<|im_end|>", "\n\n  a" * 50]
REGEX = {"Regex": "(a*)*b"}
REPLACE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aaa"}
UNIGRAM = {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["a" * 600, -1.0]], "byte_fallback": False}
PIECES = {"type": "Unigram", "unk_id": 0, "vocab": [[f"{n:x>120}", 0.0] for n in range(300)], "byte_fallback": False}
SAME = {"type": "Replace", "pattern": {"String": "a"}, "content": "a"}
MANY_WORDS = {"type": "WordLevel", "unk_token": "a", "vocab": {"a": 0, **{f"w{n}": n for n in range(100_000)}}}
WORDS = {
    "type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "#", "max_input_chars_per_word": 10**9,
    "vocab": {"a": 0},
}  # fmt: skip
PREFIX = {"type": "BPE", "vocab": {"a": 0}, "merges": [], "continuing_subword_prefix": "#" * 100}
VOCABULARY_FILE = {"type": "BPE", "vocab": "/dev/zero", "merges": []}
TEXT = {"Sequence": {"id": "A", "type_id": 0}}
TWICE = {"type": "TemplateProcessing", "single": [TEXT, TEXT], "pair": [TEXT], "special_tokens": {}}
MANY_SPECIAL = {
    "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x", "type_id": 0}}] * 9 + [TEXT], "pair": [TEXT],
    "special_tokens": {"x": {"id": "x", "ids": [1] * 9, "tokens": ["x"] * 9}},
}  # fmt: skip
NOT_PLAIN = {
    "merges that are left out by chance": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.99}},
    "a text with many tokens around it": {"post_processor": MANY_SPECIAL},
    "steps with more than the library uses": {"normalizer": {"type": "NFC", "unused": [[]] * 10_000}},
    "a model with more than the library uses": {
        "model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "unused": [[]] * 10_000}
    },
    "bytes that are doubled": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 4}},
    "a decoder that puts a space between all characters": {"decoder": {"type": "BPEDecoder", "suffix": ""}},
    "another one": {"decoder": {"type": "CTC", "pad_token": "x", "word_delimiter_token": "", "cleanup": True}},
    "a text that comes twice": {"post_processor": TWICE},
    "a text that comes twice, in a sequence": {"post_processor": {"type": "Sequence", "processors": [TWICE]}},
    "a long prefix": {"model": PREFIX},
    "a vocabulary in a file": {"model": VOCABULARY_FILE},
    "a pattern": {"pre_tokenizer": {"type": "Split", "pattern": REGEX, "behavior": "Isolated", "invert": False}},
    "a pattern in a replacement": {"normalizer": {"type": "Replace", "pattern": REGEX, "content": "b"}},
    "replacements that multiply": {"normalizer": {"type": "Sequence", "normalizers": [REPLACE] * 3}},
    "a decoder that multiplies": {"decoder": {"type": "Sequence", "decoders": [REPLACE] * 3}},
    "many replacements": {"normalizer": {"type": "Sequence", "normalizers": [SAME] * 4}},
    "many steps": {"decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"}] * 9}},
    "pieces that take much memory": {"model": PIECES},
    "a large vocabulary": {"model": MANY_WORDS},
    "an unknown part": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "New"}]}},
    "a part that is no object": {"normalizer": "NFC"},
    "words of any length": {"model": WORDS},
    "a long piece": {"model": UNIGRAM},
    "an empty added token": {"added_tokens": [{"id": 300, "content": ""}]},
    "many added tokens": {"added_tokens": [{"id": 300 + n, "content": f"<{n}>"} for n in range(9000)]},
    "long added tokens": {"added_tokens": [{"id": 300 + n, "content": f"{n:_<1000}"} for n in range(100)]},
    "no model": {"model": None},
}


@pytest.fixture
def folder(tmp_path):
    return random_model(tmp_path / "tiny", bos="<s>")


def model_in(folder):
    return Model(name="tiny", path=folder)


def change(folder, name="tokenizer.json", **changes):
    path = folder / name
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **changes}))


@pytest.fixture(scope="module")
def hosted(tmp_path_factory):
    """Starting the process takes seconds: the last test may spoil it."""
    folder = random_model(tmp_path_factory.mktemp("hosted") / "tiny", bos="<s>")
    loaded = load_in_process(model_in(folder), TARGET)
    tokenizer = loaded.adapt(300)
    yield loaded, tokenizer
    tokenizer.close()


def test_a_tiny_tokenizer_is_plain(folder):
    assert plain_files(model_in(folder)) is not None


@pytest.mark.parametrize("changes", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_what_can_take_any_time_is_not_plain(folder, changes):
    change(folder, **changes)
    assert plain_files(model_in(folder)) is None


@pytest.mark.parametrize("pattern", [{"String": " "}, {"String": "a"}])
def test_a_split_at_a_text_is_plain(folder, pattern):
    change(
        folder, pre_tokenizer={"type": "Split", "pattern": pattern, "behavior": "MergedWithPrevious", "invert": False}
    )
    assert plain_files(model_in(folder)) is not None


def test_a_plain_tokenizer_is_read_as_it_was_checked(folder):
    model = model_in(folder)
    files, before = plain_files(model), read_tokenizer(model).backend_tokenizer.to_str()
    change(folder, normalizer={"type": "Sequence", "normalizers": [REPLACE] * 20})
    change(folder, "tokenizer_config.json", tokenizer_class="T5Tokenizer", extra_ids=10**9)
    assert read_copied_tokenizer(model, files).backend_tokenizer.to_str() == before


@pytest.mark.parametrize("side", ["lstrip", "rstrip"])
def test_an_added_blank_that_takes_others_has_a_process_of_its_own(folder, side):
    added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    for content, hosted in (("<x>", False), (" ", True)):
        change(folder, added_tokens=[*added, {"id": 200, "content": content, **flags, side: True}])
        loaded = load_tokenizer(model_in(folder))
        try:
            assert isinstance(loaded.adapt(300), HostedTokenizer) == hosted
        finally:
            loaded.close()


def test_without_room_for_temporary_files_a_model_is_not_called_damaged(folder, tmp_path, monkeypatch):
    model = model_in(folder)
    runtime.start()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(SystemLimit), translated_errors(model):
        read_network(model)
    load_tokenizer(model).close()  # in a process of its own


def test_the_memory_of_a_plain_tokenizer_counts(folder):
    loaded = load_tokenizer(model_in(folder))
    assert loaded.memory > (folder / "tokenizer.json").stat().st_size


def test_the_memory_of_a_process_counts(folder):
    found = load_in_process(model_in(folder), TARGET)
    found.adapt(300).close()
    assert found.memory > 30_000_000


@pytest.mark.parametrize("tokens", [[f"<{n}>" for n in range(9000)], {"chat_template": "x" * 100_000}])
def test_settings_with_many_or_long_tokens_are_not_plain(folder, tokens):
    change(folder, "tokenizer_config.json", extra_special_tokens=tokens)
    assert plain_files(model_in(folder)) is None


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tokenizer_config.json", {"tokenizer_class": "T5Tokenizer", "extra_ids": 10**9}),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["tokenizer.4.0.json"]}),
        ("tokenizer_config.json", {"gguf_file": "x.gguf"}),
        ("tokenizer_config.json", {"tokenizer_class": ["GPT2Tokenizer"]}),
        ("special_tokens_map.json", {"tokenizer_file": "/dev/zero"}),
        ("tekken.json", {}),
    ],
)
def test_what_transformers_reads_beside_tokenizer_json_is_not_plain(folder, name, changes):
    change(folder, name, **changes)
    assert plain_files(model_in(folder)) is None


def test_steps_in_more_sequences_than_can_be_followed_are_not_plain(folder):
    path = folder / "tokenizer.json"
    sequences = '{"type":"Sequence","decoders":[' * 900 + "]}" * 900
    path.write_text(f'{{"decoder":{sequences},' + path.read_text()[1:].replace('"decoder"', '"_decoder"', 1))
    assert plain_files(model_in(folder)) is None


def test_a_key_that_comes_twice_is_not_plain(folder):
    path = folder / "tokenizer.json"
    path.write_text('{"model": {},' + path.read_text()[1:])
    assert plain_files(model_in(folder)) is None


@pytest.mark.parametrize("name", ["GPT2Tokenizer", "PreTrainedTokenizerFast", "LlamaTokenizerFast", None])
def test_usual_classes_are_plain(folder, name):
    change(folder, "tokenizer_config.json", tokenizer_class=name)
    assert plain_files(model_in(folder)) is not None


def test_files_beyond_any_real_tokenizer_are_refused(folder):
    check_size(model_in(folder))
    (folder / "vocab.json").write_text("[" + "[]," * 9_000_000 + "1]")
    with pytest.raises(BrokenModel, match=r"vocab\.json"):
        check_size(model_in(folder))


@pytest.mark.parametrize("key", ["additional_special_tokens", "extra_special_tokens"])
@pytest.mark.parametrize("name", ["special_tokens_map.json", "tokenizer_config.json"])
def test_more_special_tokens_than_can_be_compared_are_an_error(folder, name, key):
    change(folder, name, **{key: [f"<{n}>" for n in range(40_000)]})
    with pytest.raises(BrokenModel, match=key):
        read_tokenizer(model_in(folder))


def test_both_ways_give_the_same(folder, hosted):
    loaded, there = hosted
    own = LoadedTokenizer.of(read_tokenizer(model_in(folder)))
    here = own.adapt(300)
    assert (loaded.special_tokens, loaded.eos_token_id) == (dict(own.special_tokens), own.eos_token_id)
    for text in TEXTS:
        for special in (True, False):
            tokens = here.encode(text, add_special_tokens=special)
            assert there.encode(text, add_special_tokens=special) == tokens
            assert there.decode(tokens) == here.decode(tokens)
    assert [there.piece(token) for token in range(300)] == [here.piece(token) for token in range(300)]
    assert there.encode_pair("a", "bcd", max_tokens=3) == here.encode_pair("a", "bcd", max_tokens=3)
    assert there.token_id("<|im_start|>") == here.token_id("<|im_start|>") == 256
    with pytest.raises(InvalidOption, match="query"):
        there.encode_pair("abcd", "b", max_tokens=2)


def test_only_a_decoder_that_is_no_table_blocks_its_response(folder):
    process = TokenizerProcess(model_in(folder), TARGET)
    assert HostedTokenizer(process, None, vocab_size=1).detokenizer().blocking
    assert not hasattr(HostedTokenizer(process, TokenByteTable(["a"], 0), vocab_size=1).detokenizer(), "blocking")


WAITING = """
    import time
    from mlxk_mlx.loading.tokenizer_files import read_tokenizer

    class Backend:
        def __init__(self, own, folder):
            self._own, self._folder = own, folder

        def __getattr__(self, name):
            return getattr(self._own, name)

        def encode_batch_fast(self, texts, **options):
            if len(texts[0]) > 1 << 20:
                (self._folder / "entered").touch()
                while True:
                    time.sleep(0.01)
            return self._own.encode_batch_fast(texts, **options)

    class Reader:
        def __init__(self, own, folder):
            self._own, self.backend_tokenizer = own, Backend(own.backend_tokenizer, folder)

        def __getattr__(self, name):
            return getattr(self._own, name)

    def read(model):
        return Reader(read_tokenizer(model), model.path)
"""


DYING = """
import os
import threading
from mlxk_mlx.loading.tokenizer_files import read_tokenizer


class Backend:
    def __init__(self, own):
        self._own = own

    def __getattr__(self, name):
        return getattr(self._own, name)

    def encode_batch_fast(self, texts, **options):
        signal, _, rest = texts[0].partition(" ")
        if len(rest) < 100:
            return self._own.encode_batch_fast(texts, **options)
        os.kill(os.getpid(), int(signal))
        threading.Event().wait()


class Reader:
    def __init__(self, own):
        self._own, self.backend_tokenizer = own, Backend(own.backend_tokenizer)

    def __getattr__(self, name):
        return getattr(self._own, name)


def read(model):
    with (model.path / "started").open("a") as file:
        file.write("x")
    return Reader(read_tokenizer(model))
"""


def test_a_text_does_not_wait_for_a_much_longer_one_and_closing_ends_both(folder, tmp_path, monkeypatch):
    (tmp_path / "waiting_reader.py").write_text(textwrap.dedent(WAITING))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    tokenizer = load_in_process(model_in(folder), "waiting_reader:read").adapt(300)
    errors = []

    def encode_long():
        with pytest.raises(EngineFailure) as raised:
            tokenizer.encode("x" * 1_100_000, add_special_tokens=False)
        errors.append(raised.value)

    thread = threading.Thread(target=encode_long)
    thread.start()
    while not (folder / "entered").exists():
        assert thread.is_alive()
        thread.join(0.01)
    assert tokenizer.encode("ab", add_special_tokens=False) == [97, 98]
    assert len(tokenizer.encode("x" * 100_000, add_special_tokens=False)) == 100_000
    assert thread.is_alive()
    tokenizer.close()
    thread.join(60)
    assert len(errors) == 1


@contextmanager
def no_free_descriptor():
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="descriptors are given in another order")
def test_a_process_that_cannot_be_started_is_not_a_damaged_model(folder):
    process = TokenizerProcess(model_in(folder), TARGET)
    with no_free_descriptor(), pytest.raises(ProcessNotStarted):
        process.load()
    process.close()
    templates = RenderProcesses(1)
    with no_free_descriptor():
        templates.warm_up()
        with pytest.raises(ProcessNotStarted):
            templates.render("x", {})
    try:
        assert templates.render("x", {}) == "x"
    finally:
        templates.close()


@pytest.mark.parametrize("strip", [0, 1, 2])
@pytest.mark.parametrize("text", ["", "  a", " ", "   ", "a 😀 b", "😀" * 20_000])
def test_all_tokens_at_once_have_the_text_of_one_after_the_other(strip, text):
    table = TokenByteTable([chr(byte) for byte in range(256)], strip)
    tokens = [*text.encode(), 0xF0, 300]  # a character that is cut, and padding of the vocabulary
    detokenizer = PieceDetokenizer(table)
    assert decode_tokens(table, tokens) == "".join([*map(detokenizer.add, tokens), detokenizer.finish()])


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGKILL, InsufficientMemory), (signal.SIGABRT, BrokenModel)], ids=["kill", "abort"]
)
def test_two_processes_that_end_are_reported(folder, tmp_path, monkeypatch, number, error):
    (tmp_path / "dying_reader.py").write_text(DYING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    tokenizer = load_in_process(model_in(folder), "dying_reader:read").adapt(300)
    started = set()
    for _ in range(2):  # at once the second time
        with pytest.raises(error):
            tokenizer.encode(f"{int(number)} {'x' * 120}", add_special_tokens=False)
        started.add((folder / "started").read_text())
    assert started == {"xx"}
    assert tokenizer.encode("9 xx", add_special_tokens=False) == [57, 32, 120, 120]  # shorter texts are of others
    with pytest.raises(error):
        tokenizer.encode("y" * 80, add_special_tokens=False)
    tokenizer.close()


def test_a_text_of_more_tokens_than_usual_does_not_end_the_process(folder):
    """NFC makes three characters of four bytes of each of these."""
    change(folder, normalizer={"type": "NFC"})
    tokenizer = load_in_process(model_in(folder), TARGET).adapt(300)
    process = tokenizer._process._children[0]
    assert len(tokenizer.encode("\U0001d160" * 9000, add_special_tokens=False)) == 9000 * 12
    with pytest.raises(InvalidOption, match="tokens"):
        tokenizer.encode("\U0001d160" * 400_000, add_special_tokens=False)
    assert tokenizer.encode("a", add_special_tokens=False) == [97]
    assert tokenizer._process._children == [process]
    tokenizer.close()


def test_a_process_that_died_between_requests_costs_none(folder):
    tokenizer = load_in_process(model_in(folder), TARGET).adapt(300)
    for _ in range(2):
        os.kill(tokenizer._process._children[0]._process.pid, signal.SIGKILL)
        assert tokenizer.encode("a", add_special_tokens=False) == [97]
    tokenizer.close()
