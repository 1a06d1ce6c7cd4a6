"""Survives … requests for many models, of each of which a client asks one thing."""

from __future__ import annotations

import struct
import sys
import time

import pytest

from mlxk_core.api.models import hub_cache
from mlxk_testing.tiny_models import in_hub_cache, random_model

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

MEGABYTE = 1 << 20
MODELS, TOKENS = 16, 700_000


def text(value):
    return struct.pack("<Q", len(value)) + value


def large_header(folder):
    """A file that is a header with a vocabulary: it takes 60 MB of memory once its tokens were looked at."""
    tokens = b"".join(text(b"%d" % number) for number in range(TOKENS))
    metadata = [
        text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama"),
        text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, TOKENS) + tokens,
        text(b"tokenizer.ggml.token_type") + struct.pack("<IIQ", 9, 4, TOKENS) + bytes(4 * TOKENS),
    ]
    (folder / "m-Q8_0.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(metadata)) + b"".join(metadata))


@pytest.fixture
def real(launch):
    in_hub_cache("tiny/random", lambda folder: random_model(folder, ends=True) and None)
    for number in range(MODELS):
        in_hub_cache(f"tiny/header{number}", large_header)
    return launch(model="tiny/random")


def test_survives_what_it_reads_of_many_models(real, kit):
    """What was read of a model's files stays for the next request, of a few models: it was that of a thousand."""
    with kit.Watch(real):
        assert real.client.get("/v1/models/tiny/header0").status == 200
        before = real.memory
        for number in range(1, MODELS):
            assert real.client.get(f"/v1/models/tiny/header{number}").status == 200
        assert real.memory - before < 400 * MEGABYTE


def test_survives_names_of_no_model_in_a_cache_of_thousands(real, kit):
    """Each waited until the files of all models were looked at, a minute for 10,000 of them."""
    for number in range(4000):
        (hub_cache() / f"models--tiny--{number}").symlink_to("models--tiny--random")
    with kit.Watch(real):
        for name in ("unknown", "tiny/unknown", "tiny/random1", "org/3:Q4", "17"):
            began = time.monotonic()
            found = real.client.get(f"/v1/models/{name}").status
            assert time.monotonic() - began < 5
            assert found == (200 if name == "17" else 404)
