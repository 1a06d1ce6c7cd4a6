"""The import of a plugin's module: what it costs, and what else it does."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY_MODULES = frozenset(
    {
        "mlx", "mlx_lm", "transformers", "torch", "numpy", "safetensors", "tokenizers", "huggingface_hub", "requests",
        "httpx", "falcon", "waitress", "msgspec", "rich", "prompt_toolkit", "jinja2",
    }
)  # fmt: skip
"""Libraries that take long to import; the module of an entry point must not import them."""
_SLOW_IMPORT = 0.5
_IMPORT = """
import sys, time, io, json
out, sys.stdout = sys.stdout, io.StringIO()
import mlxk_core.api.hooks
before, began = set(sys.modules), time.process_time()
__import__(sys.argv[1])
seconds, printed = time.process_time() - began, bool(sys.stdout.getvalue())
print(json.dumps([sorted({name.partition(".")[0] for name in sys.modules}), seconds, printed]), file=out)
"""


def import_problems(module: str) -> list[str]:
    """Import `module` in a process of its own, and return what is wrong with that."""
    done = subprocess.run([sys.executable, "-P", "-c", _IMPORT, module], capture_output=True, text=True, check=False)
    try:
        modules, seconds, printed = json.loads(done.stdout)
    except ValueError:
        return [f"importing {module} ends the process with exit code {done.returncode}"]
    problems = []
    if heavy := sorted(HEAVY_MODULES & set(modules)):
        problems.append(f"importing {module} imports {', '.join(heavy)}: name it by a target string")
    elif seconds > _SLOW_IMPORT:
        problems.append(f"importing {module} takes {seconds:.1f} s of CPU time; every run of mlxk waits for it")
    if printed:
        problems.append(f"importing {module} prints to standard output")
    return problems
