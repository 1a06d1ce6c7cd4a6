"""Real coding agents through `mlxk launch`: each runs a command of the model's and ends, without an account."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

COMMANDS = Path(__file__).with_name("scripts") / "agents.sh"
SLOW = ["cline"]
"""Takes a minute to install: it is tried where MLXK_TEST_SLOW_CLIENTS is set."""
NODE_AGENTS = {"claude": "agents", "cline": "cline", "codex": "agents", "opencode": "agents", "qwen": "agents"}
VARIABLES = {
    "AIDER_CHECK_UPDATE": "false",
    "CLINE_SESSION_BACKEND_MODE": "local",  # else a process of its own stays behind
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENCODE_DISABLE_AUTOUPDATE": "true",
    "OPENCODE_DISABLE_MODELS_FETCH": "true",
}

pytestmark = pytest.mark.clients


def _arguments(agent: str) -> list[str]:
    """The arguments of `mlxk` in the command that the docs show."""
    command = re.search(rf"start:{agent}\]\n(.*)\n", COMMANDS.read_text())
    assert command
    program, *arguments = shlex.split(command[1])
    assert program == "mlxk"
    return [f"tiny/for_{agent}" if word == "MODEL" else word for word in arguments]


@pytest.mark.parametrize("agent", ["aider", *NODE_AGENTS])
def test_an_agent_writes_a_file(agent, environment, node_environment, server, tmp_path):
    if agent in SLOW and not os.environ.get("MLXK_TEST_SLOW_CLIENTS"):
        pytest.skip("MLXK_TEST_SLOW_CLIENTS is not set")
    installed = node_environment(NODE_AGENTS[agent]) if agent in NODE_AGENTS else environment(agent)
    launch, name, *rest = _arguments(agent)
    command = [sys.executable, "-m", "mlxk_core", launch, name, "--server", server.base_url, *rest]
    output = installed.run(*command, variables=VARIABLES, folder=tmp_path)
    assert (tmp_path / "hello.txt").read_text() == "hello\n"
    if agent != "aider":
        assert "Done." in output
