"""guidellm, a load generator: its requests ask for exactly as many tokens as it wants."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

COMMAND = Path(__file__).with_name("scripts") / "guidellm.sh"

pytestmark = pytest.mark.clients


def test_a_load_test_gets_the_tokens_it_asks_for(environment, server, tmp_path):
    if not os.environ.get("MLXK_TEST_SLOW_CLIENTS"):
        pytest.skip("MLXK_TEST_SLOW_CLIENTS is not set")
    folder = next(server.folder.glob("hub/models--tiny--random/snapshots/*"))
    words = {"SERVER": server.base_url.removesuffix("/v1"), "MODEL": "tiny/random", "FOLDER": str(folder)}
    command = COMMAND.read_text()
    for word, value in words.items():
        command = command.replace(word, value)
    environment("guidellm").run(*shlex.split(command, comments=True), variables={}, folder=tmp_path)
    [benchmark] = json.loads((tmp_path / "report.json").read_text())["benchmarks"]
    requests = benchmark["requests"]["successful"]
    assert len(requests) == 6 and not benchmark["requests"]["errored"]
    assert {request["output_tokens"] for request in requests} == {8}
