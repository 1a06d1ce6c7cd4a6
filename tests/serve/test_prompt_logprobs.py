"""Log probabilities of the prompt: `echo` with `logprobs`, and vLLM's `prompt_logprobs`."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import mlx.core as mx
import pytest
from mlx_lm.utils import load

from mlxk_testing.tiny_models import in_hub_cache, random_model

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"
WORDS = [(7 * i * i + 3 * i) % 90 + 33 for i in range(1200)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A real network of random weights, in a hub cache of its own; the rest of the module shares one server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        patch.delenv("HF_HUB_CACHE", raising=False)
        folder = in_hub_cache("tiny/random", lambda folder: random_model(folder, context=2048, ends=True))
        command = [sys.executable, "-m", "mlxk_core", "serve", "--port", "0", "--json", "--log-level", "error"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        document = "".join(itertools.takewhile(lambda line: line != "}\n", process.stdout)) + "}"
    yield folder, json.loads(document)["data"]["port"]
    process.terminate()
    process.wait(180)
    process.stdout.close()


@pytest.fixture
def ask(model, kit):
    client = kit.Client(model[1], model="tiny/random")

    def ask(path=TEXT, **fields):
        return client.post(path, {"model": "tiny/random", **fields})

    ask.client = client
    return ask


@pytest.fixture(scope="module")
def reference(model):
    """What mlx-lm's network itself says about token ids: log probabilities, shape [tokens, vocabulary]."""
    network, _ = load(str(model[0]))

    def logprobs(tokens):
        logits = network(mx.array([tokens]))[0].astype(mx.float32)
        return logits - mx.logsumexp(logits, axis=-1, keepdims=True)

    return logprobs


@pytest.mark.parametrize("length", [2, 3, 40, 1200], ids=lambda n: f"{n}-tokens")
def test_prompt_tokens_score_what_the_network_itself_says(ask, reference, length):
    tokens = WORDS[:length]
    choice = ask(prompt=tokens, echo=True, logprobs=2, max_tokens=0).json["choices"][0]
    scored = choice["logprobs"]
    table = reference(tokens)
    assert len(scored["tokens"]) == length
    assert scored["token_logprobs"][0] is None
    assert scored["top_logprobs"][0] is None
    for i in range(1, length):
        assert scored["token_logprobs"][i] == pytest.approx(table[i - 1, tokens[i]].item(), abs=1e-4)
        assert max(scored["top_logprobs"][i].values()) == pytest.approx(table[i - 1].max().item(), abs=1e-4)
        assert scored["top_logprobs"][i][scored["tokens"][i]] >= scored["token_logprobs"][i]
    assert (choice["finish_reason"], "".join(scored["tokens"])) == ("length", choice["text"])
    assert scored["text_offset"] == list(itertools.accumulate(map(len, scored["tokens"][:-1]), initial=0))


def test_the_tokens_after_a_scored_prompt_are_those_without_scores(ask):
    prompt = "The sea is wide and the sky is high."
    plain = ask(prompt=prompt, max_tokens=12, temperature=0, logprobs=1).json
    scored = ask(prompt=prompt, max_tokens=12, temperature=0, logprobs=1, echo=True).json
    text, echoed = plain["choices"][0], scored["choices"][0]
    assert echoed["text"] == prompt + text["text"]
    assert echoed["logprobs"]["tokens"][-12:] == text["logprobs"]["tokens"]
    assert echoed["logprobs"]["token_logprobs"][-12:] == pytest.approx(text["logprobs"]["token_logprobs"], abs=1e-4)
    counts = "prompt_tokens", "completion_tokens"
    assert [scored["usage"][count] for count in counts] == [plain["usage"][count] for count in counts]
    assert ask(prompt="A new and longer prompt!", max_tokens=1, echo=True, logprobs=1).json["usage"][
        "prompt_tokens_details"
    ] == {"cached_tokens": 0}


def test_a_batch_of_prompts_is_scored_in_order_and_equals_each_prompt_alone(ask):
    prompts = [WORDS[i : i + 20 + 3 * i] for i in range(6)]
    batch = ask(prompt=prompts, echo=True, logprobs=1, max_tokens=1, temperature=0).json["choices"]
    for i, prompt in enumerate(prompts):
        alone = ask(prompt=prompt, echo=True, logprobs=1, max_tokens=1, temperature=0).json["choices"][0]
        assert batch[i]["index"] == i
        assert batch[i]["logprobs"]["tokens"] == alone["logprobs"]["tokens"]
        assert batch[i]["logprobs"]["token_logprobs"][1:] == pytest.approx(
            alone["logprobs"]["token_logprobs"][1:], abs=1e-4
        )


@pytest.mark.parametrize("max_tokens", [0, 5])
def test_scores_streamed_are_the_scores_of_the_whole_response(ask, max_tokens):
    body = {"prompt": "Well then: ", "echo": True, "logprobs": 2, "max_tokens": max_tokens, "temperature": 0}
    whole = ask(**body).json["choices"][0]
    text, joined = "", {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    with ask.client.stream({"model": "tiny/random", **body}, TEXT) as events:
        for event in events:
            for choice in event["choices"] if event != "[DONE]" else ():
                text += choice["text"]
                for name, values in (choice["logprobs"] or {}).items():
                    joined[name] += values
    assert (text, joined["tokens"]) == (whole["text"], whole["logprobs"]["tokens"])
    assert joined["text_offset"] == whole["logprobs"]["text_offset"]
    assert joined["token_logprobs"][1:] == pytest.approx(whole["logprobs"]["token_logprobs"][1:], abs=1e-4)


@pytest.mark.parametrize("path", [TEXT, CHAT])
def test_prompt_logprobs_have_the_shape_of_vllm(ask, path, reference):
    source = {"prompt": WORDS[:9]} if path == TEXT else {"messages": [{"role": "user", "content": "Hi"}]}
    answer = ask(path, **source, prompt_logprobs=2, max_tokens=1).json
    scores = answer["prompt_logprobs"] if path == CHAT else answer["choices"][0]["prompt_logprobs"]
    assert scores[0] is None
    assert len(scores) == answer["usage"]["prompt_tokens"]
    for i, score in enumerate(scores[1:], start=1):
        assert {1, 2} <= {entry["rank"] for entry in score.values()}
        if path == TEXT:
            entry = score[str(WORDS[i])]
            assert entry["decoded_token"] == chr(WORDS[i])
            assert entry["logprob"] == pytest.approx(reference(WORDS[:i])[-1, WORDS[i]].item(), abs=1e-4)
    streamed = ask(path, **source, prompt_logprobs=2, stream=True)
    assert (streamed.status, streamed.error["param"]) == (400, "prompt_logprobs")


def test_an_echo_of_no_tokens_is_the_prompt(ask):
    answer = ask(prompt="Only this.", echo=True, max_tokens=0).json
    assert (answer["choices"][0]["text"], answer["choices"][0]["logprobs"]) == ("Only this.", None)
    assert answer["usage"]["completion_tokens"] == 0


def test_a_prompt_that_fills_the_context_can_be_scored_but_not_continued(ask):
    prompt = (WORDS * 2)[:2048]
    assert ask(prompt=prompt, echo=True, logprobs=1, max_tokens=0).status == 200
    assert ask(prompt=prompt, echo=True, logprobs=1, max_tokens=1).error["code"] == "context_length_exceeded"
    assert ask(prompt=[*prompt, 40], echo=True, logprobs=1, max_tokens=0).error["code"] == "context_length_exceeded"


def test_a_backend_that_does_not_score_prompts_says_so(client):
    for fields in ({"echo": True, "logprobs": 1}, {"prompt_logprobs": 0}):
        refused = client.post(TEXT, {"model": "fake", "prompt": "x", **fields})
        assert (refused.status, refused.error["param"]) == (400, "prompt_logprobs")


def test_a_stop_token_has_an_entry_after_a_scored_prompt_and_none_in_other_responses(ask):
    info = ask.client.get("/tokenizer_info?model=tiny/random").json
    [end] = ask.client.post("/tokenize", {"model": "tiny/random", "prompt": info["eos_token"]}).json["tokens"]
    fields = {"prompt": "Well", "logprobs": 1, "max_tokens": 3, "logit_bias": {str(end): 100}, "temperature": 0}
    echoed, plain = (ask(**fields, echo=echo).json["choices"][0] for echo in (True, False))
    assert (echoed["text"], echoed["finish_reason"], len(echoed["logprobs"]["tokens"])) == ("Well", "stop", 5)
    assert (plain["text"], plain["logprobs"]) == ("", None)
