"""An agent for `mlxk launch`: how to start the program `pal` on a local model."""

from __future__ import annotations

import json
from collections.abc import Iterable

from mlxk_core.api.hooks import AgentEndpoint, AgentSetup, AgentSpec, hookimpl

__version__ = "0.1.0"


# --8<-- [start:agent]
@hookimpl
def mlxk_agents() -> Iterable[AgentSpec]:
    yield AgentSpec(
        name="pal",
        summary="A coding agent that reads pal.json.",
        executable="pal",
        install="npm install -g pal-agent",
        target="mlxk_pal:setup",
    )


def setup(endpoint: AgentEndpoint) -> AgentSetup:
    """Return arguments, variables and files. `{folder}` is where the files are written, and removed afterwards."""
    settings = {"model": endpoint.model, "baseUrl": endpoint.openai_url, "contextWindow": endpoint.context or 8192}
    return AgentSetup(
        arguments=("--config", "{folder}/pal.json"),
        variables={"PAL_API_KEY": endpoint.key},
        files={"pal.json": json.dumps(settings)},
    )


# --8<-- [end:agent]
