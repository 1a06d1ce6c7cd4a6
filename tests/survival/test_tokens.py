"""Survives … texts of megabytes, on every route that makes tokens of them."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlxk_testing.tiny_models import in_hub_cache, random_model

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

MEGABYTE = 1 << 20
MODULES = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
LONG_CHAT = {"messages": [{"role": "user", "content": "a b " * (7 * MEGABYTE // 4)}]}
LONG_RERANK = {"model": "tiny/ranks", "query": "a", "documents": ["b"], "instruction": "x " * (2 * MEGABYTE)}
LONG_INPUT = {"model": "tiny/embeds", "input": "x " * (7 * MEGABYTE // 2)}


def embedding_model(folder):
    random_model(folder)
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in MODULES.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))


def reranker(folder, **options):
    random_model(folder, **options, added_tokens=["<|im_start|>", "<|im_end|>", "<think>", "</think>", "yes", "no"])
    (folder / "README.md").write_text("---\nlibrary_name: mlx\nbase_model: Qwen/Qwen3-Reranker-0.6B\n---\n")


def model_with_a_pattern(folder):
    """Its tokenizer is read in a process of its own, since it has a regular expression."""
    random_model(folder, ends=True)
    file = folder / "tokenizer.json"
    split = {"type": "Split", "pattern": {"Regex": r"\s+"}, "behavior": "Isolated", "invert": False}
    before = [split, json.loads(file.read_text())["pre_tokenizer"]]
    steps = {"type": "Sequence", "pretokenizers": before}
    file.write_text(json.dumps({**json.loads(file.read_text()), "pre_tokenizer": steps}))


@pytest.fixture
def real(launch):
    in_hub_cache("tiny/random", lambda folder: random_model(folder, ends=True) and None)
    in_hub_cache("tiny/embeds", embedding_model)
    in_hub_cache("tiny/ranks", reranker)
    return launch(model="tiny/random")


def test_survives_texts_that_are_too_long(real, kit):
    """They are rejected before they are tokenized as a whole, which takes 300 bytes a character."""
    with kit.Watch(real):
        before = real.reset_peak()
        for path, body in (
            ("/tokenize", LONG_CHAT),
            ("/apply-template", LONG_CHAT),
            ("/v1/messages/count_tokens", LONG_CHAT),
            ("/v1/embeddings", LONG_INPUT),
            ("/v1/rerank", LONG_RERANK),
            ("/api/embed", {**LONG_INPUT, "truncate": False}),
        ):
            assert (path, real.client.post(path, {"model": "tiny/random", **body}).status) == (path, 400)
        assert real.peak - before < 400 * MEGABYTE


def test_survives_a_long_query_for_many_documents(real, kit):
    """The query is read once for each of them, and was kept as often."""
    in_hub_cache("tiny/long-ranks", lambda folder: reranker(folder, context=32_768))
    body = {"model": "tiny/long-ranks", "query": "a" * 20_000}
    with kit.Watch(real):
        before = real.reset_peak()
        refused = real.client.post("/v1/rerank", {**body, "documents": ["b"] * 1024})
        assert (refused.status, refused.json["error"]["param"]) == (400, "documents")
        assert real.peak - before < 100 * MEGABYTE


def test_survives_long_texts_that_are_tokenized_at_once(real, kit):
    """Two of them at a time: each takes 300 MB meanwhile."""
    with kit.Watch(real):
        before = real.reset_peak()
        with ThreadPoolExecutor(6) as pool:
            body = {"model": "tiny/random", "prompt": "word " * (MEGABYTE // 5), "return_token_strs": True}
            answers = list(pool.map(lambda _: real.client.post("/tokenize", body), range(6)))
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
        assert real.peak - before < 1000 * MEGABYTE


def test_survives_texts_of_more_tokens_than_characters(real, kit):
    """Each response with three million tokens took 230 MB."""
    with kit.Watch(real):
        assert real.client.post("/tokenize", {"model": "tiny/random", "prompt": "\u4e16" * 1000}).json["count"] > 2000
        before = real.reset_peak()
        refused = real.client.post("/tokenize", {"model": "tiny/random", "prompt": "\u4e16" * MEGABYTE})
        assert (refused.status, refused.json["error"]["param"]) == (400, "prompt")
        body = {"model": "tiny/random", "prompt": "\u4e16" * 340_000, "return_token_strs": True}
        with ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(lambda _: real.client.post("/tokenize", body), range(5)))
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
        [tokens, texts] = [answers[0].json[name] for name in ("tokens", "token_strs")]
        assert len(tokens) == len(texts) == answers[0].json["count"] == 1_020_000
        assert real.peak - before < 700 * MEGABYTE


def model_with_a_long_token(folder):
    random_model(folder, ends=True)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab["x" * (2 * MEGABYTE)] = vocab.pop("z")
    file.write_text(json.dumps(tokenizer))


@pytest.mark.parametrize("count", [1000, 16_000])
def test_survives_a_token_of_megabytes(launch, kit, count):
    """Its text was joined as often as the client said."""
    in_hub_cache("tiny/random", lambda folder: random_model(folder, ends=True) and None)
    in_hub_cache("tiny/long-token", model_with_a_long_token)
    server = launch(model="tiny/random")
    with kit.Watch(server):
        server.client.post("/tokenize", {"model": "tiny/long-token", "prompt": "a"})
        before = server.reset_peak()
        reply = server.client.post("/detokenize", {"model": "tiny/long-token", "tokens": [ord("z")] * count})
        assert (reply.status, reply.json["error"]["param"]) == (400, "tokens")
        assert server.peak - before < 100 * MEGABYTE


def test_survives_an_embedding_input_that_is_cut(real, kit):
    """With `truncate`, the first tokens of a long text are those of the whole text."""
    with kit.Watch(real):
        vectors = []
        for count in (10_000, MEGABYTE // 2):
            body = {"model": "tiny/embeds", "input": "the cat sat " * count, "truncate": True}
            vectors.append(real.client.post("/v1/embeddings", body).json["data"][0]["embedding"])
        assert vectors[0] == vectors[1]


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="needs a virtual environment to link to")
def test_survives_child_processes_that_cannot_be_started(launch, kit, tmp_path):
    """Not the fault of the model: the next request is answered when they can be started again."""
    (tmp_path / "lib").symlink_to(Path(sys.prefix) / "lib")
    (tmp_path / "pyvenv.cfg").write_bytes((Path(sys.prefix) / "pyvenv.cfg").read_bytes())
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(Path(sys.executable).resolve())
    in_hub_cache("tiny/random", lambda folder: random_model(folder, ends=True) and None)
    in_hub_cache("tiny/pattern", model_with_a_pattern)
    server = launch(model="tiny/random", python=str(python))
    body = {"model": "tiny/pattern", "prompt": "Hi"}
    with kit.Watch(server):
        python.unlink()  # as an upgrade of Python does
        failed = server.client.post("/tokenize", body)
        assert failed.status == 503
        assert "process" in failed.json["error"]["message"]
        python.symlink_to(Path(sys.executable).resolve())
        assert server.client.post("/tokenize", body).json["count"] == 2


def model_that_normalizes(folder, **options):
    random_model(folder, ends=True, **options)
    file = folder / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "normalizer": {"type": "NFKC"}}))


def test_survives_a_text_that_its_normalizer_makes_many_times_as_long(launch, kit):
    """A million of these ligatures became 34 million tokens, and 5 GB."""
    in_hub_cache("tiny/random", lambda folder: random_model(folder, ends=True) and None)
    in_hub_cache("tiny/normalizes", model_that_normalizes)
    server = launch(model="tiny/random")
    text = "\ufdfa" * 500_000
    with kit.Watch(server):
        server.client.post("/tokenize", {"model": "tiny/normalizes", "prompt": "a"})
        before = server.reset_peak()
        for path, body in (
            ("/tokenize", {"prompt": text}),
            ("/v1/completions", {"prompt": text}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": text}]}),
        ):
            answer = server.client.post(path, {"model": "tiny/normalizes", **body})
            assert (path, answer.status) == (path, 400)
        assert server.peak - before < 400 * MEGABYTE
        count = server.client.post("/tokenize", {"model": "tiny/normalizes", "prompt": "\ufdfa \uac00" * 1000})
        assert count.status == 200


def test_survives_a_text_of_millions_of_tokens_for_a_context_of_a_million(launch, kit):
    """This one became 19 million tokens, and 3 GB."""
    in_hub_cache("tiny/random", lambda folder: random_model(folder, ends=True) and None)
    in_hub_cache("tiny/long", lambda folder: model_that_normalizes(folder, context=1 << 20))
    server = launch(model="tiny/random")
    with kit.Watch(server):
        server.client.post("/tokenize", {"model": "tiny/long", "prompt": "a"})
        before = server.reset_peak()
        answer = server.client.post("/v1/completions", {"model": "tiny/long", "prompt": "\ufdfaaaaa0" * 500_000})
        assert answer.status == 400
        assert server.peak - before < 400 * MEGABYTE
