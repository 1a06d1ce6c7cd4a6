"""`mlxk run` as real processes on real MLX models: what it says, where, and how it ends."""

import json
import shutil
import subprocess

import pytest

from mlxk_testing.tiny_models import in_hub_cache, random_model, scripted_model
from tests.prepared_command import prepared

SAID = "Grüße 🙂👩‍🚀 aus Wörtern.\nAnd a second line"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of tiny models, written once."""
    folder = tmp_path_factory.mktemp("models")
    scripted_model(folder / "talker", says=SAID)
    random_model(folder / "babbler", seed=1, context=50_000)
    random_model(folder / "small", seed=2, context=64)
    return folder


@pytest.mark.smollm2
def test_the_capital_of_france(mlxk):
    result = mlxk("run", "smollm2", "What is the capital of France?")
    assert result.code == 0 and "Paris" in result.stdout
    assert result.stderr == ""


def test_characters_of_several_tokens_arrive_whole(mlxk, models):
    result = mlxk("run", str(models / "talker"), "Hi")
    assert (result.code, result.stdout, result.stderr) == (0, SAID + "\n", "")


def test_stream_batch_and_json_say_the_same_with_the_same_seed(mlxk, models):
    asked = ("run", str(models / "babbler"), "Talk", "--seed", "7", "--max-tokens", "80")
    stream, batch, document = mlxk(*asked), mlxk(*asked, "--no-stream"), mlxk(*asked, "--json").json
    assert stream.stdout == batch.stdout == document["data"]["response"] + "\n"
    assert document["data"]["usage"]["completion_tokens"] == 80
    other = mlxk("run", str(models / "babbler"), "Talk", "--seed", "8", "--max-tokens", "80")
    assert other.stdout != stream.stdout


def test_a_stop_string_over_several_tokens_ends_the_answer(mlxk, models):
    result = mlxk("run", str(models / "talker"), "Hi", "--stop", "a second")
    assert result.stdout == SAID.partition("a second")[0] + "\n"


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(mlxk, models):
    result = mlxk("run", str(models / "small"), "x" * 200, "--json")
    assert result.code == 1
    error = result.json["error"]
    assert error["type"] == "context_length_exceeded" and error["details"]["context_length"] == 64
    assert str(error["details"]["prompt_tokens"]) in error["message"]


def test_a_reader_that_goes_away_ends_the_answer_silently(mlxk, models):
    command = subprocess.Popen(
        mlxk.command("run", str(models / "babbler"), "Talk", "--temperature", "0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    assert command.stdout.read(10)
    command.stdout.close()
    assert command.wait(180) != 0
    assert command.stderr.read() == b""


@pytest.mark.parametrize("closed, code", [(0, 0), (1, 1), (2, 0)])
def test_a_standard_stream_that_is_closed_is_not_mistaken_for_a_file(mlxk, models, closed, code):
    done = subprocess.run(
        prepared(mlxk.command("run", str(models / "talker"), "Hi"), closed=closed),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == code
    assert done.stdout.decode() == ("" if closed == 1 else SAID + "\n")
    assert done.stderr == (b"mlxk run: error: Standard output cannot be written: it is closed.\n" if code else b"")


def torn_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def bad_config(folder):
    (folder / "config.json").write_text("{nonsense")


def no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()


def unknown_type(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "never_heard_of"}))


@pytest.mark.parametrize(
    "damage, kind, word",
    [
        (torn_weights, "broken_model", "model.safetensors"),
        (bad_config, "broken_model", "config.json"),
        (no_tokenizer, "broken_model", "tokenizer"),
        (unknown_type, "unsupported_model", "never_heard_of"),
    ],
)
def test_a_damaged_or_foreign_model_is_a_clear_error(mlxk, models, tmp_path, damage, kind, word):
    folder = tmp_path / "patient"
    shutil.copytree(models / "talker", folder)
    damage(folder)
    result = mlxk("run", str(folder), "Hi", "--json")
    assert result.code == 1
    assert result.json["error"]["type"] == kind and word in result.json["error"]["message"]
    assert "Traceback" not in result.stderr


def test_a_name_is_completed_and_an_ambiguous_one_refused(mlxk, hub_cache):
    in_hub_cache("org/Talker-One", lambda folder: scripted_model(folder, says="one"))
    in_hub_cache("org/Talker-Two", lambda folder: scripted_model(folder, says="two"))
    assert mlxk("run", "talker-two", "Hi").stdout == "two\n"
    result = mlxk("run", "talker", "Hi", "--json")
    assert result.code == 1 and result.json["error"]["details"]["candidates"] == ["org/Talker-One", "org/Talker-Two"]


def test_a_model_that_is_not_here_names_the_command_that_gets_it(mlxk):
    result = mlxk("run", "org/absent", "Hi")
    assert result.code == 1 and result.stdout == "" and "mlxk pull org/absent" in result.stderr
