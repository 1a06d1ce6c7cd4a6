"""What the tests with third-party clients share: their environments, and the one server they all talk to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlxk_testing.tiny_models import (
    AFTER_TOOL,
    THINKING_CHATML,
    TOOL_CHATML,
    TOOL_CHATML_TOKENS,
    gpt_oss_model,
    in_hub_cache,
    random_model,
    scripted_model,
)
from tests.encoders.tiny_encoders import REFERENCES, write_encoder
from tests.server_process import ServerProcess, own_home

# As it was before any test changed it: uv finds its cache by it.
_USERS_ENVIRONMENT = dict(os.environ)
_ENVIRONMENTS = Path(__file__).with_name("environments")
_UV = shutil.which("uv") or os.environ.get("UV")
_THINKING_TOKENS = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")


_CODE = 'Thought: I look.\n<code>\nfinal_answer(get_weather(city="Oslo") + " in Oslo")\n</code>'
_TWO_CALLS = (
    '<tool_call>\n{"name": "City", "arguments": {"name": "Oslo", "population": 7, "capital": true}}\n</tool_call>\n'
    '<tool_call>\n{"name": "Person", "arguments": {"name": "Ada", "age": 36}}\n</tool_call>'
)
_PERSON = ['{"', "name", '":"', "Ada", '","', "age", '":', "36", "}"]
_PEOPLE = ['{"tasks":[', *_PERSON[:-1], '},{"name":"', "Grace", '","age":', "45", "}]}"]


def _caller(folder: Path, name: str) -> Path:
    """A model that calls the tool `name`, strict or not, and answers once it has the result."""
    # Pieces as a grammar cuts them: what it forces is then the script's own.
    call = [
        *("<tool_call>", '\n{"name": "', name, '", "arguments": {"'),
        *("city", '":"', "Oslo", '"}}\n', "</tool_call>"),
    ]
    return scripted_model(
        folder,
        call,
        trained=True,
        chat_template=TOOL_CHATML,
        added_tokens=TOOL_CHATML_TOKENS,
        after={AFTER_TOOL: "It rains in Oslo."},
        context=16384,
    )


_COMMAND = "echo hello > hello.txt"
_SHELL: dict[str, tuple[str, dict[str, Any]]] = {
    "claude": ("Bash", {"command": _COMMAND, "description": "Write a file"}),
    "cline": ("run_commands", {"commands": [_COMMAND]}),
    "codex": ("exec_command", {"cmd": _COMMAND}),
    "opencode": ("bash", {"command": _COMMAND, "description": "Write a file"}),
    "qwen": ("run_shell_command", {"command": _COMMAND, "is_background": False}),
}
"""How each coding agent calls its shell: the tool and its arguments."""


def _agent(folder: Path, says: str, after: str = "Done.") -> Path:
    """A model for coding agents: their prompts have up to 100,000 bytes, and each is a token here."""
    return scripted_model(
        folder,
        says,
        chat_template=TOOL_CHATML,
        added_tokens=TOOL_CHATML_TOKENS,
        after={AFTER_TOOL: after},
        context=262144,
    )


def _write_models() -> None:
    in_hub_cache("tiny/talker", lambda folder: scripted_model(folder, "The keeper said: «ça va, 你好» 🌊 and left."))
    in_hub_cache("tiny/endless", lambda folder: scripted_model(folder, "tick tock ", endless=True, context=8192))
    in_hub_cache("tiny/random", random_model)
    shapes = json.loads(REFERENCES.read_text(encoding="utf-8"))
    for name in ("bert", "bert-pairs"):
        in_hub_cache(f"tiny/{name}", partial(write_encoder, name=name, shapes=shapes[name]["shapes"]))
    in_hub_cache("tiny/narrow", lambda folder: random_model(folder, context=128, ends=True))
    in_hub_cache("tiny/maker", lambda folder: random_model(folder, ends=True, context=16384))
    in_hub_cache("tiny/json", lambda folder: scripted_model(folder, '```json\n{"name": "Ada", "age": 36}\n```'))
    in_hub_cache(
        "tiny/thinker",
        lambda folder: scripted_model(
            folder,
            "<think>\nTwo and two.\n</think>\n\nFour.",
            chat_template=THINKING_CHATML,
            added_tokens=_THINKING_TOKENS,
        ),
    )
    in_hub_cache("tiny/coder", lambda folder: scripted_model(folder, _CODE, context=16384))
    in_hub_cache("tiny/person", lambda folder: scripted_model(folder, _PERSON, trained=True))
    in_hub_cache("tiny/people", lambda folder: scripted_model(folder, _PEOPLE, trained=True))
    in_hub_cache("tiny/tools", lambda folder: _caller(folder, "get_weather"))
    in_hub_cache(
        "tiny/two_calls",
        lambda folder: scripted_model(
            folder, _TWO_CALLS, chat_template=TOOL_CHATML, added_tokens=TOOL_CHATML_TOKENS, context=8192
        ),
    )
    in_hub_cache("tiny/for_aider", lambda folder: _agent(folder, "hello.txt\n```\nhello\n```\n"))
    for agent, (tool, arguments) in _SHELL.items():
        call = {"name": tool, "arguments": arguments}
        text = f"<tool_call>\n{json.dumps(call)}\n</tool_call>"
        in_hub_cache(f"tiny/for_{agent}", lambda folder, text=text: _agent(folder, text))
    in_hub_cache("tiny/plugin_tools", lambda folder: _caller(folder, "weather-get_weather"))
    in_hub_cache(
        "tiny/caller",
        lambda folder: gpt_oss_model(
            folder,
            "<|channel|>analysis<|message|>Look it up.<|end|><|start|>assistant<|channel|>commentary "
            'to=functions.get_weather <|constrain|>json<|message|>{"city": "Oslo"}<|call|>',
            context=8192,
        ),
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all clients, with the tiny models of `_write_models`."""
    folder = tmp_path_factory.mktemp("server")
    with own_home(folder):
        _write_models()
        process = ServerProcess(folder)
    try:
        yield process
    except BaseException:
        process.kill()
        raise
    process.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """`serve("--model", path)`: a server of the test's own."""
    processes: list[ServerProcess] = []

    def start(*args: str) -> ServerProcess:
        with own_home(tmp_path):
            processes.append(ServerProcess(tmp_path, *args))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


class Environment:
    """A folder of executables with a client in it, and nothing of ours."""

    def __init__(self, folder: Path, commands: Path | None = None) -> None:
        self.folder = folder
        self.commands = commands or folder / "bin"
        self.python = self.commands / "python"

    def run(self, *command: str | Path, variables: Mapping[str, str], folder: Path | None = None) -> str:
        """Run `command` in `folder` and return its standard output. It has to succeed."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        plain = {name: _USERS_ENVIRONMENT[name] for name in ("LANG", "LC_ALL", "TMPDIR") if name in _USERS_ENVIRONMENT}
        path = os.pathsep.join([str(self.commands), _USERS_ENVIRONMENT["PATH"]])
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            env={**plain, "PATH": path, "HOME": str(home), "NO_PROXY": "127.0.0.1", **variables},
            cwd=folder or self.folder,
            timeout=1200,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def check(self, script: Path, server: ServerProcess) -> None:
        """Runs the tests in `script` with the environment's own pytest, against `server`."""
        options = ["-q", "--noconftest", "-c", os.devnull, f"--rootdir={self.folder}", "-p", "no:cacheprovider"]
        self.run(self.python, "-m", "pytest", *options, "-W", "ignore", script, variables=server.variables)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Environment]]:
    """`environment("openai-3")`: the packages of that file in `environments/`, installed once in a module.

    Skips the test where it cannot be made.
    """

    def install(name: str, folder: Path) -> Environment:
        if _UV is None:
            pytest.skip("uv makes the environments of these tests")
        python = str(folder / "venv" / "bin" / "python")
        _install(folder, _UV, "venv", "--python", sys.executable, str(folder / "venv"))
        options = ["-r", _ENVIRONMENTS / f"{name}.in", "-c", _ENVIRONMENTS / f"{name}.txt"]
        _install(folder, _UV, "pip", "install", "--no-cache", "--python", python, *map(str, options))
        return Environment(folder / "venv")

    yield from _installed_once(install, tmp_path_factory)


@pytest.fixture(scope="module")
def node_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Environment]]:
    """`node_environment("node")`: the packages of that file in `environments/`, by npm."""

    def install(name: str, folder: Path) -> Environment:
        npm = shutil.which("npm", path=_USERS_ENVIRONMENT.get("PATH"))
        if npm is None or shutil.which("node", path=_USERS_ENVIRONMENT.get("PATH")) is None:
            pytest.skip("node or npm is not installed")
        shutil.copy(_ENVIRONMENTS / f"{name}.json", folder / "package.json")
        _install(folder, npm, "install", "--silent", "--no-audit", "--no-fund", "--cache", str(folder / "cache"))
        shutil.rmtree(folder / "cache")
        return Environment(folder, folder / "node_modules" / ".bin")

    yield from _installed_once(install, tmp_path_factory)


def _installed_once(
    install: Callable[[str, Path], Environment], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Environment]]:
    """Keep each environment until the module ends: together they are too much for the disk of a small machine."""
    made: dict[str, Environment] = {}
    folders: list[Path] = []

    def make(name: str) -> Environment:
        if name not in made:
            folders.append(tmp_path_factory.mktemp("client"))
            made[name] = install(name, folders[-1])
        return made[name]

    yield make
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _install(folder: Path, *command: str) -> None:
    """Works in `folder`: in ours, uv would hold the client to what our pyproject.toml says of versions."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, env=_USERS_ENVIRONMENT, timeout=300, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{' '.join(command[1:])} takes too long")
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or "it failed").splitlines()[-1]
        pytest.skip(f"{Path(command[0]).name} {' '.join(command[1:])}: {reason}")
