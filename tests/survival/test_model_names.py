"""Survives … a folder of small files whose names declare more than there is."""

from __future__ import annotations

import sys

import pytest

from mlxk_testing.tiny_models import in_hub_cache, random_model

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


def sets_of_shards(folder):
    """Each file is the first of 99,999."""
    random_model(folder)
    for number in range(300):
        for name in (f"model-{number}-00001-of-99999.safetensors", f"m{number}-00001-of-99999.gguf"):
            (folder / name).write_bytes(b"x")


def card(folder):
    random_model(folder)
    (folder / "README.md").write_text(f"---\ntags: [{'.' * 8000}]\n---\n")


@pytest.fixture
def real(launch):
    in_hub_cache("tiny/random", lambda folder: random_model(folder, ends=True) and None)
    in_hub_cache("hostile/shards", sets_of_shards)
    for number in range(8):
        in_hub_cache(f"hostile/card{number}", card)
    return launch(model="tiny/random")


def test_survives_names_of_shards_and_a_model_card(real, kit):
    """The first list took minutes to name all shards that were missing, and searched the card for seconds."""
    with kit.Watch(real):
        listed = [model["id"] for model in real.client.get("/v1/models").json["data"]]
        assert "tiny/random" in listed and "hostile/card0" in listed
        for _ in range(3):
            assert real.client.get("/v1/models/hostile/shards").status == 200
