"""Other people's clients, each in an environment of its own, against a server of ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.clients
CLIENTS = Path(__file__).with_name("clients")
SECONDS_TO_INSTALL = 300


@pytest.fixture(scope="module")
def python_with(tmp_path_factory):
    """`python_with("openai")`: the Python of a fresh environment that has the package."""
    if shutil.which("uv") is None:
        pytest.skip("uv makes the environments, and is not here")

    def make(package):
        folder = tmp_path_factory.mktemp(package.replace("-", "_"))
        python = folder / "bin" / "python"
        for command in (
            ["uv", "venv", "-q", "--python", sys.executable, str(folder)],
            ["uv", "pip", "install", "-q", "--only-binary", ":all:", "--python", str(python), package],
        ):
            _or_skip(command, package, cwd=folder.parent)  # elsewhere: uv would read this project's overrides
        return python

    return make


def _or_skip(command, package, cwd=None):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_TO_INSTALL, cwd=cwd)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{package} was not installed within {SECONDS_TO_INSTALL} s")
    if done.returncode:
        pytest.skip(f"{package} cannot be installed here: {done.stderr.strip().splitlines()[-1:]}")


def use(command, client, cwd=None):
    url = f"http://127.0.0.1:{client.port}/v1"
    done = subprocess.run([*map(str, command), url, "fake"], capture_output=True, text=True, timeout=120, cwd=cwd)
    assert done.stdout.strip().endswith("done"), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("package", "script"),
    [
        ("openai", "openai_python.py"),
        ("langchain-openai", "langchain_openai_chat.py"),
        ("litellm", "litellm_completion.py"),
        ("llm", "llm_prompt.py"),
    ],
)
def test_a_python_client_works_with_the_base_url_changed(client, python_with, package, script, kit):
    use([python_with(package), CLIENTS / script], client)
    kit.until(lambda: client.status()["answers"] == 0)


def test_instructor_reads_what_a_model_wrote(client, engine, python_with):
    engine.script.answer = lambda prompt: '```json\n{"name": "Paris", "people": 2000000}\n```'
    use([python_with("instructor"), CLIENTS / "instructor_model.py"], client)


def test_the_node_client_works_with_the_base_url_changed(client, tmp_path, kit):
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("Node is not here")
    (tmp_path / "package.json").write_text(json.dumps({"name": "client", "private": True}))
    _or_skip(["npm", "install", "--no-audit", "--no-fund", "--silent", "openai"], "openai (npm)", cwd=tmp_path)
    shutil.copy(CLIENTS / "openai_node.mjs", tmp_path)
    use(["node", "openai_node.mjs"], client, cwd=tmp_path)
    kit.until(lambda: client.status()["answers"] == 0)


def test_prometheus_reads_the_metrics(client, python_with):
    client.chat()
    read = """import sys
from prometheus_client.parser import text_string_to_metric_families
names = [family.name for family in text_string_to_metric_families(sys.stdin.read())]
assert "mlxk_time_to_first_token_seconds" in names
"""
    metrics = client.get("/metrics").body
    done = subprocess.run([python_with("prometheus-client"), "-c", read], input=metrics, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_no_generated_request_breaks_the_server_or_its_description(client, engine, python_with):
    """schemathesis against our own document: a model that exists, or most cases would be a 404."""
    engine.script.answer = lambda prompt: "ok"
    python = python_with("schemathesis")
    document = client.get("/openapi.json").json
    for request in ("ChatRequest", "TextRequest"):
        document["components"]["schemas"][request]["properties"]["model"] = {"const": "fake"}
    parameter = document["paths"]["/v1/models/{model}"]["parameters"][0]
    parameter["schema"] = {"enum": ["fake"]}
    path = python.parent.parent / "openapi.json"
    path.write_text(json.dumps(document))
    command = [
        python.parent / "schemathesis", "run", path, "--url", f"http://127.0.0.1:{client.port}", "--seed", "7",
        "--max-examples", "60", "--phases", "examples,fuzzing", "--workers", "1",
        "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
    ]  # fmt: skip
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, cwd=path.parent)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert client.chat().text == "ok"
