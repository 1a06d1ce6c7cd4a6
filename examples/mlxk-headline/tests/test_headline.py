import pytest

from mlxk_testing import assert_light
from mlxk_testing.tiny_models import in_hub_cache, scripted_model

pytest.importorskip("mlxk_serve")


# --8<-- [start:test]
@pytest.fixture
def running(server, hub_cache, tmp_path):
    in_hub_cache("org/writer", lambda folder: scripted_model(folder, "Cat Sits"))
    (tmp_path / "keys").write_text("secret-key\n")
    (tmp_path / "keys").chmod(0o600)
    return server("--api-key-file", str(tmp_path / "keys"), plugins={"headline": "mlxk_headline"})


def test_a_headline(running):
    pytest.importorskip("mlxk_mlx")
    key = {"Authorization": "Bearer secret-key"}
    done = running.post("/headline", {"model": "org/writer", "text": "A cat sat."}, **key)
    assert (done.status, done.json) == (200, {"headline": "Cat Sits"})
    assert done.headers["x-headlines"] == "yes"
    assert 'headlines_total{model="org/writer"} 1' in running.get("/metrics", **key).body.decode()


# --8<-- [end:test]


def test_errors_in_its_own_words(running):
    key = {"Authorization": "Bearer secret-key"}
    invalid = running.post("/headline", {"model": "x"}, **key)
    assert (invalid.status, invalid.json["field"]) == (400, "text")
    missing = running.post("/headline", {"model": "nowhere", "text": "x"}, **key)
    assert (missing.status, missing.json["field"]) == (404, "model")
    assert running.post("/headline", {"model": "x", "text": "x"}).status == 401


def test_a_field_of_chat_requests(running):
    pytest.importorskip("mlxk_mlx")
    key = {"Authorization": "Bearer secret-key"}
    body = {"model": "org/writer", "messages": [{"role": "user", "content": "Hi"}]}
    plain, dry = (
        running.post("/v1/chat/completions", {**body, **more}, **key).json["usage"]["prompt_tokens"]
        for more in ({}, {"tone": "dry"})
    )
    assert dry > plain
    wrong = running.post("/v1/chat/completions", {**body, "tone": 7}, **key)
    assert (wrong.status, wrong.json["error"]["param"]) == (400, "tone")


def test_the_page_needs_no_key(running):
    assert b"Headlines" in running.get("/headline/page").body


def test_it_is_light():
    assert_light("mlxk_headline")
