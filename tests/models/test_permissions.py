"""A cache of which something may not be read: the rest goes on, and what it is about is named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlxk_testing import Result
from mlxk_testing.tiny_models import in_hub_cache, random_model

Ask = Callable[..., Result]


@pytest.fixture
def closed(hub_cache: Path) -> Iterator[Callable[[Path], None]]:
    """`closed(path)`: nobody may read it any more, until the test ends."""
    paths: list[Path] = []

    def close(path: Path) -> None:
        paths.append(path)
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("needs a user whom permissions bind")

    yield close
    for path in paths:
        path.chmod(0o700)


def states(result: Result) -> dict[str, bool]:
    return {model["name"]: model["healthy"] for model in result.json["data"]["models"]}


@pytest.mark.parametrize("part", ["", "config.json", "tokenizer.json", "model.safetensors"])
def test_a_snapshot_or_a_file_of_it_is_told_as_damaged(ask: Ask, closed: Callable[[Path], None], part: str) -> None:
    in_hub_cache("org/good", random_model)
    closed((in_hub_cache("org/closed", random_model) / part).resolve())
    result = ask("list", "--all", "--json")
    assert result.code == 0 and states(result) == {"org/closed": False, "org/good": True}
    assert "Permission denied" in ask("show", "closed").stdout
    assert ask("health", "closed").code == 1


def test_a_repository_hides_nothing_of_the_others(ask: Ask, closed: Callable[[Path], None], hub_cache: Path) -> None:
    in_hub_cache("org/good", random_model)
    in_hub_cache("org/closed", random_model)
    closed(hub_cache / "models--org--closed")
    assert states(ask("list", "--json")) == {"org/good": True}
    assert ask("rm", "org/good", "-f").code == 0
    assert not (hub_cache / "models--org--good").exists()


def test_a_cache_is_not_called_empty(ask: Ask, closed: Callable[[Path], None], hub_cache: Path) -> None:
    in_hub_cache("org/good", random_model)
    closed(hub_cache)
    assert "Permission denied" in ask("list").stderr
