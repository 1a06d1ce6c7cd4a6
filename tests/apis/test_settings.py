"""The settings file and every API of the server: what a request does not say comes from the file."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from mlxk_testing.tiny_models import CHATML, in_hub_cache, scripted_model
from tests.server_process import ServerProcess, own_home

SAYS = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def settings_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings")
    (folder / "own.jinja").write_text(CHATML.replace("<|im_start|>assistant", "(own template)<|im_start|>assistant"))
    config = folder / "config.toml"
    config.write_text(
        """
        [defaults]
        model = "pal"
        [aliases]
        pal = "tiny/talker"
        "llama3:8b" = "tiny/talker"
        [models."tiny/talker"]
        system = "Be brief."
        stop = [":"]
        chat_template = "own.jinja"
        context_length = 500
        [models."tiny/short"]
        max_tokens = 3
        """
    )
    with own_home(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLXK_CONFIG", str(config))
        in_hub_cache("tiny/talker", lambda folder: scripted_model(folder, "The keeper said: hello."))
        in_hub_cache("tiny/short", lambda folder: scripted_model(folder, "The keeper said: hello."))
        process = ServerProcess(folder)
    yield process
    process.kill()


@pytest.fixture
def server(settings_server, client_of):
    url = urlsplit(settings_server.base_url)
    return client_of((url.hostname, url.port))


ANSWERS = {
    "/v1/chat/completions": (
        {"messages": SAYS},
        lambda answer: answer["choices"][0]["message"]["content"],
        lambda answer: answer["usage"]["prompt_tokens"],
    ),
    "/v1/responses": (
        {"input": "Hi"},
        lambda answer: answer["output"][-1]["content"][0]["text"],
        lambda answer: answer["usage"]["input_tokens"],
    ),
    "/v1/messages": (
        {"messages": SAYS, "max_tokens": 50},
        lambda answer: answer["content"][-1]["text"],
        lambda answer: answer["usage"]["input_tokens"] + answer["usage"]["cache_read_input_tokens"],
    ),
    "/api/chat": (
        {"messages": SAYS, "stream": False},
        lambda answer: answer["message"]["content"],
        lambda answer: answer["prompt_eval_count"],
    ),
    "/api/generate": (
        {"prompt": "Hi", "stream": False},
        lambda answer: answer["response"],
        lambda answer: answer["prompt_eval_count"],
    ),
}


@pytest.mark.parametrize("path", ANSWERS)
@pytest.mark.parametrize("name", ["tiny/talker", "llama3:8b"])
def test_every_api_uses_the_settings_of_the_model(server, path, name):
    body, text, prompt_tokens = ANSWERS[path]
    answer = server.post(path, {"model": name, **body}).json
    rendered = server.post("/apply-template", {"model": name, "messages": SAYS}).json["prompt"]
    tokens = server.post("/tokenize", {"model": name, "messages": SAYS}).json
    assert text(answer) == "The keeper said"
    assert "Be brief." in rendered and "(own template)" in rendered
    assert prompt_tokens(answer) == tokens["count"] and tokens["max_model_len"] == 500


def test_a_request_comes_before_the_settings(server):
    body = {"model": "pal", "messages": SAYS, "stop": ["hello"]}
    assert server.post("/v1/chat/completions", body).json["choices"][0]["message"]["content"] == "The keeper said: "
    own = [{"role": "developer", "content": "Sing."}, *SAYS]
    rendered = server.post("/apply-template", {"model": "pal", "messages": own}).json["prompt"]
    assert "Sing." in rendered and "Be brief." not in rendered


@pytest.mark.parametrize(
    ("path", "unlimited"),
    [("/v1/chat/completions", {"max_tokens": -1}), ("/api/chat", {"options": {"num_predict": -1}})],
)
def test_a_request_for_no_limit_lifts_that_of_the_settings(server, path, unlimited):
    body, text, _ = ANSWERS[path]
    limited = text(server.post(path, {"model": "tiny/short", **body}).json)
    whole = text(server.post(path, {"model": "tiny/short", **body, **unlimited}).json)
    assert whole == "The keeper said: hello." and whole.startswith(limited) and limited != whole


def test_a_request_without_a_model_gets_the_default_one(server):
    answer = server.post("/v1/chat/completions", {"messages": SAYS}).json
    assert answer["choices"][0]["message"]["content"] == "The keeper said"
    listed = {each["id"]: each["context_length"] for each in server.get("/v1/models").json["data"]}
    assert listed["tiny/talker"] == 500
