"""`mlxk health`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from mlxk_core.testing import Result
from mlxk_core.testing.models import in_hub_cache, random_model

Ask = Callable[..., Result]


def cut(snapshot: Path) -> None:
    blob = (snapshot / "model.safetensors").resolve()
    with blob.open("rb+") as file:
        file.truncate(blob.stat().st_size // 2)


def test_whole_models_are_healthy_and_the_exit_code_says_so(ask: Ask) -> None:
    in_hub_cache("org/good", random_model)
    result = ask("health")
    assert result.code == 0
    assert "2 models: 2 healthy, 0 damaged." in result.stdout  # with smollm2
    assert ask("health", "--json").json["data"]["summary"] == {"total": 2, "healthy": 2, "unhealthy": 0}


def test_one_damaged_model_fails_the_run_and_the_data_is_there(ask: Ask) -> None:
    in_hub_cache("org/good", random_model)
    cut(in_hub_cache("org/bad", random_model))
    result = ask("health", "--json")
    assert (result.code, result.json["status"], result.json["error"]["type"]) == (1, "error", "broken_model")
    found = {model["name"]: model for model in result.json["data"]["models"]}
    assert found["org/good"]["healthy"] and not found["org/bad"]["healthy"]
    assert found["org/bad"]["problems"][0]["code"] == "truncated_weight_file"
    text = ask("health")
    assert text.code == 1 and "1 of 3 models are damaged: org/bad" in text.stderr
    assert "is cut off" in text.stdout


def test_only_the_model_asked_for_counts(ask: Ask) -> None:
    in_hub_cache("org/good", random_model)
    cut(in_hub_cache("org/bad", random_model))
    assert ask("health", "good").code == 0
    assert ask("health", "bad").code == 1


def test_an_unknown_model_fails_the_run(ask: Ask) -> None:
    result = ask("health", "nope", "--json")
    assert (result.code, result.json["error"]["type"]) == (1, "model_not_found")


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
