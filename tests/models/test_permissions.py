"""A cache of which something may not be read: the rest goes on, and what it is about is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlxk_testing import Result
from mlxk_testing.tiny_models import in_hub_cache, random_model

Ask = Callable[..., Result]


@pytest.fixture
def closed() -> Iterator[Callable[..., None]]:
    """`closed(path, mode=0)`: no more than `mode` may be done with it, until the test ends."""
    paths: list[Path] = []

    def close(path: Path, mode: int = 0) -> None:
        paths.append(path)
        path.chmod(mode)

    yield close
    for path in paths:
        path.chmod(0o700)


def states(result: Result) -> dict[str, bool]:
    return {model["name"]: model["healthy"] for model in result.json["data"]["models"]}


@pytest.mark.parametrize("part", ["", "config.json", "tokenizer.json", "model.safetensors"])
def test_a_snapshot_or_a_file_of_it_is_told_as_damaged(bound: Ask, closed: Callable[..., None], part: str) -> None:
    in_hub_cache("org/good", random_model)
    closed((in_hub_cache("org/closed", random_model) / part).resolve())
    result = bound("list", "--all", "--json")
    assert result.code == 0 and states(result) == {"org/closed": False, "org/good": True}
    assert "Permission denied" in bound("show", "closed").stdout
    assert bound("health", "closed").code == 1


@pytest.mark.parametrize("mode", [0, 0o444])
@pytest.mark.parametrize("part", ["", "snapshots"])
def test_a_repository_hides_nothing_of_the_others_and_is_not_called_missing(
    bound: Ask, closed: Callable[..., None], hub_cache: Path, part: str, mode: int
) -> None:
    pytest.importorskip("mlxk_run")
    in_hub_cache("org/good", random_model)
    in_hub_cache("org/closed", random_model)
    folder = hub_cache / "models--org--closed" / part
    closed(folder, mode)
    assert states(bound("list", "--json")) == {"org/good": True}
    checked = bound("health", "--json")
    assert checked.code == 1 and states(checked) == {"org/good": True, "org/closed": False}
    for command in (("run", "org/closed", "Hi"), ("show", "closed"), ("rm", "-f", "org/closed")):
        result = bound(*command, "--json")
        message = result.json["error"]["message"]
        assert "Permission denied" in message and str(folder) in message and "pull" not in message
    assert bound("rm", "org/good", "-f").code == 0
    assert not (hub_cache / "models--org--good").exists()


@pytest.mark.parametrize("mode", [0, 0o444])
def test_a_cache_is_not_called_empty(bound: Ask, closed: Callable[..., None], hub_cache: Path, mode: int) -> None:
    for plugin in ("mlxk_run", "mlxk_service"):
        pytest.importorskip(plugin)
    in_hub_cache("org/good", random_model)
    closed(hub_cache, mode)
    assert "Permission denied" in bound("list").stderr
    assert bound("health").code == bound("doctor").code == 1
    for command in (("run", "org/good", "Hi"), ("show", "good"), ("rm", "-f", "org/good")):
        message = bound(*command, "--json").json["error"]["message"]
        assert "Permission denied" in message and str(hub_cache) in message and "pull" not in message


def test_a_cache_that_may_not_be_listed_has_models_by_their_full_names(
    bound: Ask, closed: Callable[..., None], hub_cache: Path
) -> None:
    pytest.importorskip("mlxk_run")
    in_hub_cache("org/good", random_model)
    closed(hub_cache, 0o311)
    assert "Permission denied" in bound("list").stderr
    assert "Permission denied" in bound("show", "good", "--json").json["error"]["message"]
    assert bound("run", "org/good", "Hi", "--max-tokens", "2").code == 0
    assert bound("rm", "-f", "org/good").code == 0


def test_locks_that_may_not_be_read_do_not_keep_a_model(
    bound: Ask, closed: Callable[..., None], hub_cache: Path
) -> None:
    in_hub_cache("org/good", random_model)
    (hub_cache / ".locks" / "models--org--good").mkdir(parents=True)
    closed(hub_cache / ".locks")
    assert bound("rm", "-f", "org/good").code == 0
