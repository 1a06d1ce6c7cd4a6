"""A second `uv tool install` from a checkout whose code has changed installs the new code, without --reinstall."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.packaging,
    pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed"),
]


def test_installing_again_installs_what_has_changed(tmp_path: Path) -> None:
    checkout = tmp_path / "mlxk"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "tests", "docs", "site", "dist", "*.lock")
    shutil.copytree(ROOT, checkout, ignore=ignored)
    env = {
        **{name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"},
        "UV_TOOL_DIR": str(tmp_path / "tools"),
        "UV_TOOL_BIN_DIR": str(tmp_path / "bin"),
    }

    def install_and_ask() -> str:
        command = ["uv", "tool", "install", "--quiet", "./mlxk", "--constraints", "constraints.txt"]
        subprocess.run(command, cwd=checkout, env=env, check=True)
        asked = [tmp_path / "bin" / "mlxk", "config", "--help"]
        return subprocess.run(asked, env=env, check=True, capture_output=True, text=True).stdout

    assert "Show and change the settings file." in install_and_ask()
    code = checkout / "plugins" / "config" / "mlxk_config" / "config.py"
    code.write_text(code.read_text().replace("Show and change the settings file.", "A newer version."))
    assert "A newer version." in install_and_ask()
