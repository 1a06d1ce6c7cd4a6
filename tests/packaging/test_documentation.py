"""Every shell block of the README, the installation page and the tutorials works when copied in turn.

Each page runs in one fresh home with one fresh environment. `git clone` gets this working tree, the hub is a local
one, and a block that is a server keeps running while the blocks after it do.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mlxk_testing.tiny_models import scripted_model

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "docs/how-to/install.md",
    *sorted(f"docs/tutorials/{p.name}" for p in ROOT.glob("docs/tutorials/*.md")),
]
REPOSITORY = "https://github.com/mlxk/mlxk"
PULLED = "mlx-community/Qwen3-0.6B-4bit"
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CONFIGURATION = (".config/pip", ".config/uv", ".pip", ".netrc")

pytestmark = [
    pytest.mark.packaging,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]


def blocks(page: str) -> list[str]:
    return _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with the files of this working tree, committed or not."""
    folder = tmp_path_factory.mktemp("origin") / "mlxk"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        pytest.skip("this is not a git checkout")
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], [*identity, "commit", "-q", "-m", "the tree"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


@pytest.fixture
def environment(origin: Path, tmp_path: Path) -> dict[str, str]:
    """The variables of a user with a fresh home, a fresh Python, and no mlxk."""
    home = tmp_path / "home"
    for name in _CONFIGURATION:  # where this machine gets packages from
        if (Path.home() / name).exists():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).symlink_to(Path.home() / name)
    subprocess.run([sys.executable, "-m", "venv", home / "python"], check=True)
    cache = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "UV", "VIRTUAL_ENV", "PYTHONPATH"))}
    return kept | {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(home / "python/bin"), str(home / ".local/bin"), "/usr/bin", "/bin"]),
        "UV_CACHE_DIR": cache,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{origin.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": REPOSITORY,
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_CACHE": str(tmp_path / "hub" / "hub"),
    }


def script(page: str, port: int) -> str:
    """Return the blocks of `page` as one script: `##N` precedes the output of block N."""
    lines = ["set -euo pipefail", "cd ~", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for number, block in enumerate(blocks(page)):
        block = block.replace("localhost:8000", f"localhost:{port}").rstrip()
        lines.append(f"printf '\\n##{number}\\n'")
        if block.startswith("mlxk serve"):
            lines += [f"{block} --port {port} &", f"for i in $(seq 600); do {_ready(port)} && break; sleep 0.2; done"]
        else:
            lines.append(block)
    return "\n".join(lines)


def _ready(port: int) -> str:
    return f"curl --silent --fail --output /dev/null http://localhost:{port}/health"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize("page", PAGES)
def test_every_shell_block_works_in_turn(page, environment, hub, tmp_path) -> None:
    model = scripted_model(tmp_path / "model", says="Because of Rayleigh scattering.")
    hub.add(PULLED, {path.name: path.read_bytes() for path in model.iterdir()})
    environment["HF_ENDPOINT"] = os.environ["HF_ENDPOINT"]
    text = "\n".join(blocks(page))
    tools = [tool for tool in ("pipx", "uv") if f"{tool} " in text and f"install {tool}" not in text]
    if tools:  # a reader of this page has them
        pip = Path(environment["HOME"]) / "python/bin/pip"
        subprocess.run([pip, "install", "--quiet", *tools], check=True, env=environment)

    command = ["bash", "-c", script(page, free_port())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500, check=False)

    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    outputs = re.split(r"^##\d+\n", done.stdout, flags=re.MULTILINE)[1:]
    for block, output in zip(blocks(page), outputs, strict=True):
        if "capital of France" in block:
            assert "Paris" in output
        if f"pull {PULLED}" in block:
            assert "Rayleigh" in output
