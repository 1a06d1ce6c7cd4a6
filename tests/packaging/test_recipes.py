"""The recipes of packagers parse, and name every dependency. Tools that are missing here are left out."""

from __future__ import annotations

import plistlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
FOLDERS = sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))


def checked(*command: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_lists_of_dependencies_are_those_of_the_distributions():
    checked(sys.executable, ROOT / "tools" / "recipes.py", "--check")


def test_the_launchd_agent_starts_the_server():
    agent = plistlib.loads((PACKAGING / "launchd" / "mlxk.plist").read_bytes())
    assert "serve" in " ".join(agent["ProgramArguments"])
    assert agent["Label"]


def test_the_systemd_unit_is_valid(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    unit = PACKAGING / "systemd" / "mlxk.service"
    assert "mlxk serve" in unit.read_text(encoding="utf-8")
    if shutil.which("systemd-analyze"):
        checked("systemd-analyze", "verify", "--user", unit)


def test_the_container_file_builds_every_distribution_and_runs_as_a_user():
    text = (PACKAGING / "container" / "Containerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n", " ", text).splitlines()
    instructions = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    known = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    assert {name for name, _, _ in instructions} <= known
    assert [name for name, _, _ in instructions].index("USER") < [n for n, _, _ in instructions].index("ENTRYPOINT")
    for name, _, command in instructions:
        if name == "RUN":
            checked("sh", "-n", "-c", command)
            assert shlex.split(command)
    assert "./plugins/*" in text and "--constraint constraints.txt" in text


def test_the_debian_package_has_pages_and_completion():
    checked("sh", "-n", PACKAGING / "debian" / "build.sh")
    rules = (PACKAGING / "debian" / "rules").read_text(encoding="utf-8")
    for part in ("help --install-man", "completion bash", "completion zsh", "completion fish", "mlxk.service"):
        assert part in rules


def test_the_formula_is_ruby():
    formula = PACKAGING / "homebrew" / "mlxk.rb"
    text = formula.read_text(encoding="utf-8")
    opened = re.findall(r"^\s*(?:class|def|test do|service do)\b|\bdo\b.*$", text, re.MULTILINE)
    assert len(re.findall(r"^\s*end$", text, re.MULTILINE)) == len([each for each in opened if each.strip()])
    if shutil.which("ruby"):
        checked("ruby", "-c", formula)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_expression_of_nix_has_every_plugin(name):
    text = (PACKAGING / "nix" / "default.nix").read_text(encoding="utf-8")
    meta = tomllib.loads((ROOT / "mlxk" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    expected = name != "openblas" and any(line.startswith(f"mlxk-{name}>=") for line in meta["dependencies"])
    assert f'plugin "{name}"' in text or not expected


def test_every_recipe_has_the_version_of_the_distributions():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    named = {
        "conda/recipe.yaml": r'version: "(.+?)"',
        "nix/default.nix": r' version = "(.+?)"',
        "homebrew/mlxk.rb": r"tags/v(.+?)\.tar",
        "debian/changelog": r"\Amlxk \((.+?)\)",
    }
    for file, pattern in named.items():
        assert re.findall(pattern, (PACKAGING / file).read_text(encoding="utf-8")) == [version], file
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    container = (PACKAGING / "container" / "Containerfile").read_text(encoding="utf-8")
    pinned = set(re.findall(r"[\w-]+==[\w.]+", container))
    assert pinned
    assert pinned <= set(pins)
