"""`suffix` of completions: fill in the middle, in the form of each family of models."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import pytest

from mlxk_testing.tiny_models import in_hub_cache, random_model, scripted_model

PATH = "/v1/completions"
BEFORE, AFTER = "def f(x: {}):\n    return ", "\n\nprint(f({}))"
FORMS = {
    "qwen": (["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"], "0P1S2"),
    "deepseek": (["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"], "0P1S2"),
    "starcoder": (["<fim_prefix>", "<fim_suffix>", "<fim_middle>"], "0P1S2"),
    "codestral": (["[PREFIX]", "[SUFFIX]"], "1S0P"),
    "codellama": (["▁<PRE>", "▁<SUF>", "▁<MID>"], "0P1S2"),
}


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        patch.delenv("HF_HUB_CACHE", raising=False)
        in_hub_cache("tiny/plain", random_model)
        for family, (markers, _) in FORMS.items():
            in_hub_cache(
                f"tiny/{family}",
                lambda folder, markers=markers: scripted_model(
                    folder, "x * 2", added_tokens=(*markers, "<|im_start|>")
                ),
            )
        ends = ["a + b", "<|file_sep|>", "# never shown"]
        in_hub_cache(
            "tiny/ends",
            lambda folder: scripted_model(folder, ends, added_tokens=(*FORMS["qwen"][0], "<|file_sep|>")),
        )
        command = [sys.executable, "-m", "mlxk_core", "serve", "--port", "0", "--json", "--log-level", "error"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    document = "".join(itertools.takewhile(lambda line: line != "}\n", process.stdout)) + "}"
    yield json.loads(document)["data"]["port"]
    process.terminate()
    process.wait(180)
    process.stdout.close()


@pytest.fixture
def fill(port, kit):
    def fill(model, **fields):
        body = {"model": f"tiny/{model}", "prompt": BEFORE, "suffix": AFTER, "temperature": 0, "max_tokens": 20}
        return kit.Client(port).post(PATH, body | fields)

    return fill


@pytest.mark.parametrize("family", FORMS)
def test_each_family_reads_its_own_form(fill, family):
    markers, form = FORMS[family]
    answer = fill(family, prompt_logprobs=0).json
    scores = answer["choices"][0]["prompt_logprobs"][1:]
    read = [next(iter(score.values()))["decoded_token"] for score in scores]
    parts = {"P": BEFORE, "S": AFTER, **{str(i): marker for i, marker in enumerate(markers)}}
    text = "".join(parts.get(part, part) for part in form)
    assert text.endswith("".join(read))
    assert sum(piece in markers for piece in read) >= len(markers) - 1  # the first token has no score
    assert answer["choices"][0]["text"] == "x * 2"


def test_an_answer_ends_where_the_model_begins_another_file(fill):
    choice = fill("ends").json["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == ("a + b", "stop")
    assert "never shown" in fill("ends", suffix=None).json["choices"][0]["text"]


@pytest.mark.parametrize(
    ("model", "fields", "param"),
    [
        ("plain", {}, "suffix"),
        ("qwen", {"prompt": [72, 105]}, "suffix"),
        ("qwen", {"echo": True}, "echo"),
    ],
)
def test_an_unsupported_suffix_is_an_error(fill, model, fields, param):
    refused = fill(model, **fields)
    assert (refused.status, refused.error["param"]) == (400, param)


def test_an_empty_suffix_is_none(fill):
    assert fill("plain", suffix="").status == 200
