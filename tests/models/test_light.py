"""What the commands cost: no library that only running a model needs, and no more work than there are models."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from mlxk_testing import HEAVY, assert_light, modules_after
from mlxk_testing.tiny_models import gpt_oss_model, in_hub_cache, mxfp4_model, random_model

COUNT = """
import sys, os
opened, read = [], 0
def watch(event, arguments):
    if event == "open" and "models--" in str(arguments[0]) and os.path.exists(arguments[0]):
        opened.append(arguments[0])
sys.addaudithook(watch)
from mlxk_core._cli.main import run
run(["list", "--all"])
print(len(opened), max(map(opened.count, opened)), sum("tokenizer.json" in path for path in opened), file=sys.stderr)
"""


def test_the_plugin_itself_is_light() -> None:
    assert_light("mlxk_models.plugin")


@pytest.mark.parametrize("command", [["list", "--all", "--verbose"], ["show", "mx", "--files"], ["health"]])
def test_looking_at_models_imports_nothing_that_runs_them(command: list[str]) -> None:
    in_hub_cache("org/mx", mxfp4_model)
    in_hub_cache("org/gpt-oss-tiny", gpt_oss_model)
    loaded = {
        name.partition(".")[0] for name in modules_after(f"from mlxk_core.api.commands import run; run({command!r})")
    }
    assert not loaded & HEAVY


def test_deleting_one_needs_the_hubs_library_and_no_other(hub_cache: Path) -> None:
    in_hub_cache("org/tiny", random_model)
    code = "from mlxk_core._cli.main import run; run(['rm', 'org/tiny', '-f'])"
    loaded = {name.partition(".")[0] for name in modules_after(code)}
    assert not loaded & {"mlx", "mlx_lm", "transformers", "torch", "numpy"}
    assert not list(hub_cache.glob("models--*"))


def test_list_opens_each_file_of_a_model_a_few_times_at_most() -> None:
    """What makes `list` slow on many models is reading them again and again; a count is the same on every machine."""
    number = 20
    for index in range(number):
        in_hub_cache(f"org/tiny-{index}", partial(random_model, seed=index))
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    files, most, whole_tokenizers = map(int, done.stderr.split()[-3:])
    assert files <= 8 * number and most <= 2 and whole_tokenizers <= number
