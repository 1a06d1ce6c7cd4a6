"""Encoders with damaged files, unusual requests and many clients: a clear error, and the server goes on."""

from __future__ import annotations

import http.client
import json
import math
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import urlsplit

import pytest

from mlxk_testing.tiny_models import in_hub_cache
from tests.encoders.damage import FAULTS, INDEX_FAULTS, damaged_name

HI = [{"role": "user", "content": "Hi"}]


def code_of(answer):
    status, body = answer
    return status, body["error"]["code"]


@pytest.mark.parametrize(
    ("path", "body", "expected", "param"),
    [
        ("/v1/chat/completions", {"model": "tiny/bert", "messages": HI}, "unsupported_model", "model"),
        ("/v1/completions", {"model": "tiny/roberta-pairs", "prompt": "Hi"}, "unsupported_model", "model"),
        ("/v1/embeddings", {"model": "tiny/bert-pairs", "input": "Hi"}, "unsupported_model", "model"),
        ("/v1/rerank", {"model": "tiny/bert", "query": "Hi", "documents": ["a"]}, "unsupported_model", "model"),
        ("/v1/rerank", {"model": "tiny/bert-pairs", "query": "Hi", "documents": []}, None, "documents"),
        ("/v1/rerank", {"model": "tiny/bert-pairs", "query": "", "documents": ["a"]}, None, "query"),
        ("/v1/rerank", {"model": "tiny/bert-pairs", "query": "a", "documents": ["a"] * 5000}, None, "documents"),
        ("/v1/rerank", {"model": "tiny/bert-pairs", "query": "a", "documents": ["a"], "top_n": 0}, None, "top_n"),
        (
            "/v1/rerank",
            {"model": "tiny/bert-pairs", "query": "a", "documents": ["a"], "instruction": "x"},
            None,
            "instruction",
        ),
        (
            "/v1/rerank",
            {"model": "tiny/bert-pairs", "query": "a", "documents": ["b", "x " * 99]},
            "context_length_exceeded",
            "documents[1]",
        ),
        ("/v1/embeddings", {"model": "tiny/bert", "input": ["a"] * 10_000}, None, "input"),
        ("/v1/embeddings", {"model": "tiny/bert", "input": [[5, 10**6]]}, None, "input[0]"),
        ("/v1/embeddings", {"model": "tiny/bert", "input": "a", "dimensions": 33}, None, "dimensions"),
        ("/v1/embeddings", {"model": "tiny/bert", "input": "a " * 10**5}, "context_length_exceeded", "input[0]"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("/") else "",
)
def test_what_cannot_be_done_is_a_400_that_names_it(post, path, body, expected, param):
    status, answer = post(path, body)
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, expected, param)


def test_a_long_document_is_cut_where_that_is_asked_for(post):
    body = {"model": "tiny/bert-pairs", "query": "the cat", "documents": ["a", "cat " * 10**5], "truncate": True}
    status, found = post("/v1/rerank", body)
    assert status == 200
    assert found["usage"]["prompt_tokens"] == 96 + 6
    assert code_of(post("/v1/rerank", {**body, "query": "cat " * 200})) == (400, None)


def test_the_best_documents_come_first(post):
    documents = ["the cat sat", {"text": "a dog"}, "rain", ""]
    body = {"model": "tiny/roberta-pairs", "query": "cats", "documents": documents}
    results = post("/v2/rerank", body)[1]["results"]
    scores = [entry["relevance_score"] for entry in results]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert {entry["index"]: entry["document"]["text"] for entry in results} == {
        0: "the cat sat",
        1: "a dog",
        2: "rain",
        3: "",
    }
    [best] = post("/v1/rerank", {**body, "top_n": 1, "return_documents": False})[1]["results"]
    assert best == {"index": results[0]["index"], "relevance_score": pytest.approx(scores[0])}


def test_a_damaged_model_is_an_error_about_its_files(post):
    for fault, expected in FAULTS.items():
        status, answer = post("/v1/embeddings", {"model": damaged_name(fault), "input": "Hi"})
        assert (fault, answer["error"]["code"]) == (fault, expected)
        assert status == (500 if expected == "broken_model" else 400)
    assert post("/v1/embeddings", {"model": "tiny/bert", "input": "Hi"})[0] == 200


@pytest.mark.parametrize("fault", INDEX_FAULTS)
def test_an_id_or_position_outside_of_a_table_is_an_error_of_the_model(post, fault):
    """MLX checks no index: it reads other memory, or the process ends."""
    model = {"model": damaged_name(fault)}
    path, body = "/v1/embeddings", {**model, "input": "the cat zzz"}
    if fault.startswith("positions"):
        length = {"positions by a scaling": 20_000, "positions by a padding token": 1}.get(fault, 70)
        body = {**model, "input": [[5] * length]}
    elif INDEX_FAULTS[fault].endswith(("-pairs", "-reranker")):
        path, body = "/v1/rerank", {**model, "query": "the cat", "documents": ["a dog zzz ж"]}
    assert code_of(post(path, body)) == (500, "broken_model")


def test_the_command_line_knows_what_embeds_and_what_ranks(mlxk, encoder):
    for name in ("bert", "bert-pairs"):
        in_hub_cache(f"tiny/{name}", partial(encoder, name=name))
    listed = {entry["name"]: entry for entry in mlxk("list", "--json").json["data"]["models"]}
    assert listed["tiny/bert"]["type"] == "embedding"
    shown = mlxk("show", "tiny/bert-pairs", "--json").json["data"]["model"]
    assert (shown["capabilities"], shown["backend"], shown["runnable"]) == (["rerank"], "encoders", True)
    assert mlxk("health", "tiny/bert").code == 0
    for name in ("bert", "bert-pairs"):
        refused = mlxk("run", f"tiny/{name}", "Hi", "--json")
        assert refused.json["error"]["type"] == "unsupported_model"
    lines = mlxk("embed", "tiny/bert", "the cat", "dogs", "--prompt-name", "query").stdout.splitlines()
    assert [len(json.loads(line)) for line in lines] == [32, 32]


def test_many_embedding_clients_and_chats_share_a_server(encoder_server, post):
    """Sixteen clients embed while eight chat; every answer is the one that it is alone."""
    texts = [f"text number {number} " * (1 + number % 5) for number in range(16)]
    alone = [post("/v1/embeddings", {"model": "tiny/bert", "input": text})[1]["data"][0]["embedding"] for text in texts]

    def chat(_):
        status, answer = post("/v1/chat/completions", {"model": "tiny/talker", "messages": HI})
        assert status == 200, answer
        return answer["choices"][0]["message"]

    def embed(text):
        status, answer = post("/v1/embeddings", {"model": "tiny/bert", "input": [text] * 20})
        assert status == 200, answer
        return answer["data"]

    with ThreadPoolExecutor(24) as pool:
        chats = [pool.submit(chat, number) for number in range(8)]
        embeddings = [pool.submit(embed, text) for text in texts]
        assert {each.result()["content"] for each in chats} == {"The cat sat on the mat."}
        for each, expected in zip(embeddings, alone, strict=True):
            for entry in each.result():
                assert all(math.isclose(x, y, abs_tol=1e-4) for x, y in zip(entry["embedding"], expected, strict=True))
    encoder_server.wait_until_idle()


def test_an_input_that_takes_hours_holds_up_no_chat_and_ends_with_its_client(encoder_server, post):
    url = urlsplit(encoder_server.base_url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=180)
    connection.request("POST", "/v1/embeddings", json.dumps({"model": "tiny/without-limit", "input": [[5] * 300_000]}))
    for _ in range(2400):
        if "tiny/without-limit" in [model["name"] for model in encoder_server.status["models"]]:
            break
        time.sleep(0.05)
    for _ in range(3):
        status, answer = post("/v1/chat/completions", {"model": "tiny/talker", "messages": HI})
        assert (status, answer["choices"][0]["message"]["content"]) == (200, "The cat sat on the mat.")
    assert encoder_server.status["responses"] == 1
    connection.close()
    encoder_server.wait_until_idle()


def test_an_input_that_does_not_fit_into_memory_is_an_error(post):
    assert post("/v1/embeddings", {"model": "tiny/wide", "input": [[5]]})[0] == 200
    status, answer = post("/v1/embeddings", {"model": "tiny/wide", "input": [[5] * 1_000_000]})
    assert (status, answer["error"]["code"]) == (503, "insufficient_memory")


def test_the_document_of_the_server_describes_both_routes(encoder_server):
    with urllib.request.urlopen(encoder_server.base_url.removesuffix("/v1") + "/openapi.json") as response:
        document = json.load(response)
    schemas = document["components"]["schemas"]
    for path, fields in (("/v1/embeddings", {"input", "dimensions"}), ("/v1/rerank", {"query", "documents", "top_n"})):
        operation = document["paths"][path]["post"]
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        assert fields <= set(schemas[reference.rpartition("/")[2]]["properties"])
        assert "400" in operation["responses"]


def test_the_list_of_models_says_what_each_can_do(encoder_server):
    with urllib.request.urlopen(encoder_server.base_url + "/models") as response:
        capabilities = {model["id"]: model["capabilities"] for model in json.load(response)["data"]}
    assert capabilities["tiny/nomic"] == ["embeddings"]
    assert capabilities["tiny/modernbert-pairs"] == capabilities["tiny/qwen3-reranker"] == ["rerank"]
