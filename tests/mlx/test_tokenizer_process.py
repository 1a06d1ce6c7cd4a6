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
from mlxk_mlx.engine.tokenizer import TokenizerAdapter, named_special_tokens
from mlxk_mlx.engine.tokenizer_process import HostedTokenizer, TokenizerProcess, load_in_process
from mlxk_mlx.loading import runtime
from mlxk_mlx.loading.load import load_tokenizer, read_network, translated_errors
from mlxk_mlx.loading.tokenizer_files import read_tokenizer
from mlxk_mlx.loading.tokenizer_size import check_size
from mlxk_testing.tiny_models import random_model

TARGET = "mlxk_mlx.loading.tokenizer_files:read_tokenizer"
TEXTS = ["", "Hello, wörld! 😀", "<|im_start|>user\nx<|im_end|>", "\n\n  a" * 50]


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


def test_no_tokenizer_is_read_in_this_process(folder):
    loaded = load_tokenizer(model_in(folder))
    try:
        assert isinstance(loaded.adapt(300), HostedTokenizer)
    finally:
        loaded.close()


def test_without_room_for_temporary_files_a_model_is_not_called_damaged(folder, tmp_path, monkeypatch):
    model = model_in(folder)
    runtime.start()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(SystemLimit), translated_errors(model):
        read_network(model)
    load_tokenizer(model).close()


def test_the_memory_of_a_process_counts(folder):
    ours = bytearray(b"x") * 600_000_000  # is not the child's
    found = load_in_process(model_in(folder), TARGET)
    found.adapt(300).close()
    assert 30_000_000 < found.memory < len(ours)


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
    own = read_tokenizer(model_in(folder))
    here = TokenizerAdapter(own, vocab_size=300)
    assert (loaded.special_tokens, loaded.eos_token_id) == (named_special_tokens(own), own.eos_token_id)
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
