"""Names that a misspelled one may mean."""

from __future__ import annotations

import random
import time

from mlxk_core._models.similar_names import similar_name, similarity

NAMES = [f"mlx-community/{family}-{size}B-{kind}" for family in ("Qwen3", "Llama-3.2", "gemma-3", "SmolLM2")
         for size in (1, 3, 7, 8, 14, 27, 32, 70) for kind in ("Instruct-4bit", "it-8bit", "Base-bf16")]  # fmt: skip


def test_the_most_similar_name_is_found():
    draw = random.Random(5)
    for name in NAMES:
        at = draw.randrange(len("mlx-community/"), len(name))
        typed = name[:at] + (name[at] if name[at].isdigit() else "x") + name[at + 1 :]
        found = similar_name(typed, NAMES)
        assert found is not None
        assert similarity(typed, found) >= similarity(typed, name)


def test_a_long_name_costs_less_than_a_similar_one():
    """Clients may send any name: of those that cannot be similar only the letters are compared."""
    seconds = []
    for typed in ("".join(random.Random(3).choices(NAMES[0], k=256)), NAMES[0] + "x"):
        begun = time.thread_time()
        for _ in range(5):
            similar_name(typed, NAMES)
        seconds.append(time.thread_time() - begun)
    long, similar = seconds
    assert long < similar
