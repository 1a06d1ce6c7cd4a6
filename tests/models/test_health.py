"""`mlxk health`."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlxk_testing import Result
from mlxk_testing.tiny_models import in_hub_cache, random_model

Ask = Callable[..., Result]


def cut(snapshot: Path) -> None:
    blob = (snapshot / "model.safetensors").resolve()
    with blob.open("rb+") as file:
        file.truncate(blob.stat().st_size // 2)


def test_whole_models_are_healthy_and_the_exit_code_says_so(ask: Ask) -> None:
    in_hub_cache("org/good", random_model)
    result = ask("health")
    assert result.code == 0
    assert "1 model: 1 healthy, 0 damaged." in result.stdout
    assert ask("health", "--json").json["data"]["summary"] == {"total": 1, "healthy": 1, "unhealthy": 0}


def test_one_damaged_model_fails_the_run_and_the_data_is_there(ask: Ask) -> None:
    in_hub_cache("org/good", random_model)
    cut(in_hub_cache("org/bad", random_model))
    result = ask("health", "--json")
    assert (result.code, result.json["status"], result.json["error"]["type"]) == (1, "error", "broken_model")
    found = {model["name"]: model for model in result.json["data"]["models"]}
    assert found["org/good"]["healthy"] and not found["org/bad"]["healthy"]
    assert found["org/bad"]["problems"][0]["code"] == "truncated_weight_file"
    text = ask("health")
    assert text.code == 1 and "1 of 2 models is damaged: org/bad" in text.stderr
    assert "is cut off" in text.stdout


def test_only_the_model_asked_for_counts(ask: Ask) -> None:
    in_hub_cache("org/good", random_model)
    cut(in_hub_cache("org/bad", random_model))
    assert ask("health", "good").code == 0
    assert ask("health", "bad").code == 1


def test_an_unknown_model_fails_the_run(ask: Ask) -> None:
    result = ask("health", "nope", "--json")
    assert (result.code, result.json["error"]["type"]) == (1, "model_not_found")


def test_an_empty_name_does_not_mean_all_models(ask: Ask) -> None:
    """`mlxk health "$MODEL"` with an empty variable must not come out well."""
    in_hub_cache("org/good", random_model)
    assert ask("health", "").code == 1


def test_on_a_terminal_every_problem_stands_below_its_model(seen: Callable[..., str]) -> None:
    snapshot = in_hub_cache("org/bad", random_model)
    cut(snapshot)
    (snapshot / "tokenizer.json").unlink()
    _, row, *problems = seen("health").splitlines()
    assert row.split() == ["org/bad", snapshot.name[:7], "damaged", "-"]
    assert problems[0].startswith("    model.safetensors is cut off")
    assert any(problem.startswith("    The tokenizer is missing") for problem in problems)


@pytest.mark.needs("mlx")
def test_a_whole_model_that_nothing_runs_is_healthy(ask: Ask) -> None:
    in_hub_cache("org/tomorrow", partial(random_model, config={"model_type": "not_yet_invented"}))
    result = ask("health", "tomorrow", "--json")
    [model] = result.json["data"]["models"]
    assert result.code == 0 and model["healthy"] and not model["runnable"]
    assert "not_yet_invented" in model["reason"]


def test_a_revision_whose_files_never_came_is_damaged(ask: Ask, hub_cache: Path) -> None:
    in_hub_cache("org/half", random_model)
    (hub_cache / "models--org--half" / "refs" / "main").write_text("0" * 40)
    result = ask("health", "--json")
    found = {model["name"]: model for model in result.json["data"]["models"]}
    assert result.code == 1 and found["org/half"]["problems"][0]["code"] == "snapshot_missing"


def test_a_local_folder_is_checked_too(ask: Ask, tmp_path: Path) -> None:
    folder = random_model(tmp_path / "mine")
    assert ask("health", str(folder)).code == 0
    (folder / "tokenizer.json").unlink()
    result = ask("health", str(folder), "--json")
    assert result.code == 1 and result.json["data"]["models"][0]["problems"][0]["code"] == "tokenizer_missing"


@pytest.fixture
def verified(hub: Any, tmp_path: Path) -> Path:
    """A model that is on the local hub and, the same, in the cache; its snapshot folder."""
    folder = random_model(tmp_path / "tiny")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    commit = hub.add("org/tiny", {**files, "onnx/model.bin": b"not wanted here"}).branches["main"]
    return in_hub_cache("org/tiny", random_model, revision=commit)


def test_verify_finds_a_flipped_byte_that_no_size_shows(verified: Path, alone: Callable[..., Result]) -> None:
    assert alone("health", "org/tiny", "--verify", "--json").code == 0
    with (verified / "model.safetensors").resolve().open("rb+") as file:
        file.seek(-100, 2)
        byte = file.read(1)[0]
        file.seek(-100, 2)
        file.write(bytes([byte ^ 1]))
    assert alone("health", "org/tiny", "--json").code == 0
    result = alone("health", "org/tiny", "--verify", "--json")
    assert result.code == 1
    [problem] = result.json["data"]["models"][0]["problems"]
    assert (problem["code"], problem["file"]) == ("wrong_checksum", "model.safetensors")
    assert "mlxk pull --verify" in result.json["error"]["message"]


def test_models_that_are_not_on_the_hub_are_unverified_and_the_others_compared(
    verified: Path, alone: Callable[..., Result]
) -> None:
    in_hub_cache("org/only-here", random_model)
    result = alone("health", "--verify", "--json")
    found = {model["name"]: model["verified"] for model in result.json["data"]["models"]}
    assert result.code == 1 and "org/only-here" in result.json["error"]["message"]
    assert found == {"org/only-here": False, "org/tiny": True}
    assert result.json["data"]["summary"]["unhealthy"] == 0


def test_verify_without_a_hub_is_an_error(hub_cache: Path, alone: Callable[..., Result]) -> None:
    in_hub_cache("org/tiny", random_model)
    result = alone("health", "org/tiny", "--verify", "--json")
    assert (result.code, result.json["error"]["type"]) == (1, "hub_unavailable")
    assert result.json["data"]["models"][0]["verified"] is False


@pytest.mark.needs("run")
def test_broken_links_of_a_moved_cache_are_named(ask: Ask, gguf: Callable[..., Path], hub_cache: Path) -> None:
    def write(folder: Path) -> None:
        gguf(folder / "m-Q4_0.gguf", [("token_embd.weight", (64, 32), "Q4_0")])

    snapshot = in_hub_cache("org/moved-GGUF", write)
    link = snapshot / "m-Q4_0.gguf"
    link.unlink()
    link.symlink_to("/old/place/hub/models--org--moved-GGUF/blobs/0123")
    for command in (["health", "moved"], ["run", "moved", "Hi"], ["list", "--health"], ["show", "moved"]):
        result = ask(*command)
        assert "m-Q4_0.gguf is a link to /old/place/hub" in result.stdout + result.stderr, command
    assert "mlxk pull org/moved-GGUF" in ask("health", "moved").stderr


@pytest.mark.needs("run")
def test_missing_files_from_the_hub_are_unfinished_not_damaged(ask: Ask) -> None:
    (in_hub_cache("acme/slow", random_model) / "model.safetensors").unlink()
    result = ask("health", "acme/slow", "--json")
    [model] = result.json["data"]["models"]
    assert (result.code, model["state"], model["problems"][0]["code"]) == (1, "unfinished", "no_weights_found")
    assert "Run `mlxk pull acme/slow` to finish it." in result.json["error"]["message"]
    assert "mlxk pull acme/slow" in ask("run", "acme/slow", "Hi").stderr


def part(repository: Path) -> Path:
    """What a download that was killed leaves."""
    path = repository / "blobs" / "0123.deadbeef.incomplete"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(4096))
    return path


@pytest.mark.parametrize("remembered", [True, False])
def test_a_model_with_nothing_but_partial_files_is_unfinished(ask: Ask, hub_cache: Path, remembered: bool) -> None:
    repository = hub_cache / "models--org--begun"
    part(repository)
    if remembered:
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("a" * 40)
    for asked in (["health"], ["health", "org/begun"]):
        result = ask(*asked, "--json")
        assert (result.code, result.json["error"]["type"]) == (1, "broken_model")
        [model] = result.json["data"]["models"]
        [problem] = model["problems"]
        assert (model["name"], problem["code"]) == ("org/begun", "download_unfinished")
        assert "`mlxk pull org/begun`" in problem["message"] and model["state"] == "unfinished"
    assert "org/begun" in ask("list", "--all").stdout and "org/begun" not in ask("list").stdout
    assert "unfinished" in ask("list", "--health").stdout
    assert ask("show", "org/begun", "--json").json["error"]["type"] == "model_not_found"
    assert ask("rm", "org/begun", "-f").code == 0
    assert ask("health").code == 0 and not repository.exists()


def test_partial_files_of_a_complete_model_are_a_note(ask: Ask) -> None:
    part(in_hub_cache("org/good", random_model).parent.parent)
    result = ask("health", "--json")
    [model] = result.json["data"]["models"]
    assert result.code == 0 and model["healthy"] and model["problems"] == []
    assert "4.1 kB" in model["notes"][0] and "`mlxk pull org/good`" in model["notes"][0]
    assert "4.1 kB" in ask("health", "org/good").stdout


def test_a_named_pipe_in_place_of_a_file_does_not_block(alone: Callable[..., Result]) -> None:
    places = ("config.json", "tokenizer.json", "model.safetensors", "README.md", "tokenizer_config.json")
    for number, place in enumerate(places):
        snapshot = in_hub_cache(f"org/pipe-{number}", random_model)
        (snapshot / place).unlink(missing_ok=True)
        os.mkfifo(snapshot / place)
    listed = alone("list", "--all", "--json").json["data"]["models"]
    assert len(listed) == len(places)
    result = alone("health", "--json")
    assert result.code == 1
    found = {model["problems"][0]["file"]: model["problems"][0] for model in result.json["data"]["models"]}
    assert set(found) == set(places)
    assert {problem["code"] for problem in found.values()} == {"unreadable_file"}
    assert alone("show", "org/pipe-0", "--json").code == 0
