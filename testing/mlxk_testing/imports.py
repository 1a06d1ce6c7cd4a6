"""Checks that something can be imported, or run, without the heavy libraries."""

from __future__ import annotations

import subprocess
import sys

HEAVY = frozenset(
    {
        "mlx",
        "mlx_lm",
        "transformers",
        "torch",
        "numpy",
        "safetensors",
        "tokenizers",
        "huggingface_hub",
        "requests",
        "httpx",
        "falcon",
        "waitress",
        "msgspec",
        "rich",
        "prompt_toolkit",
        "jinja2",
    }
)


def modules_after(code: str) -> frozenset[str]:
    """Return the names of all modules that a new Python process has imported after running `code`."""
    script = "\n".join(
        ["import sys", "try:", f"    exec({code!r}, {{}})", "except SystemExit:", "    pass", "print('', *sys.modules)"]
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{code} failed:\n{done.stderr}")
    return frozenset(done.stdout.splitlines()[-1].split())


def assert_light(*modules: str) -> None:
    """Assert that importing `modules` (such as a plugin's `plugin.py`) does not import a heavy library."""
    for module in modules:
        heavy = {name.partition(".")[0] for name in modules_after(f"import {module}")} & HEAVY
        assert not heavy, f"{module} imports {', '.join(sorted(heavy))}: name it by a target string, or import it later"
