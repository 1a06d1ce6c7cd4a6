"""`mlxk run` beside `python -m mlx_lm generate`: seconds to the first text, tokens per second, seconds in all.

    uv run python benchmarks/versus_mlx_lm.py [--model FOLDER] [--runs 5] [--max-tokens 64]

Both answer the same prompt greedily on the same folder of safetensors, in turns, so that a busy machine is busy for
both. Without --model it is SmolLM2-135M, written out of its GGUF file as float32: mlx-lm cannot read GGUF.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMPT = "Write a long story about a lighthouse."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.model or export_smollm2(Path(scratch) / "SmolLM2-135M")
        rows = {"mlxk run": [], "mlx_lm generate": []}
        for number in range(options.runs + 1):
            for name, measure in (("mlxk run", mlxk_run), ("mlx_lm generate", mlx_lm_generate)):
                result = measure(folder, options.max_tokens)
                if number:  # the first round warms the page cache
                    rows[name].append(result)
    print(f"{'':<18}{'first text':>12}{'tokens/s':>12}{'in all':>12}   (median of {options.runs})")
    for name, results in rows.items():
        first, rate, total = (statistics.median(column) for column in zip(*results, strict=True))
        print(f"{name:<18}{first:>10.2f} s{rate:>12.1f}{total:>10.2f} s")


def mlxk_run(folder: Path, max_tokens: int) -> tuple[float, float, float]:
    options = ["--max-tokens", str(max_tokens), "--temperature", "0", "--repetition-penalty", "1", "--verbose"]
    first, output, total = timed([sys.executable, "-m", "mlxk_core", "run", str(folder), PROMPT, *options], skip=0)
    return first, float(re.search(r"\(([\d.]+) tokens/s\)", output)[1]), total


def mlx_lm_generate(folder: Path, max_tokens: int) -> tuple[float, float, float]:
    options = ["--model", str(folder), "--prompt", PROMPT, "--max-tokens", str(max_tokens), "--temp", "0"]
    heading = len("==========\n")
    first, output, total = timed([sys.executable, "-m", "mlx_lm", "generate", *options], skip=heading)
    return first, float(re.search(r"Generation: \d+ tokens, ([\d.]+) tokens-per-sec", output)[1]), total


def timed(command: list[str], *, skip: int) -> tuple[float, str, float]:
    """(seconds to the first byte of standard output behind the first `skip`, all output, seconds to the end)."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    process.stdout.read(skip)
    head = process.stdout.read(1)
    first = time.monotonic() - start
    out, err = process.communicate()
    if process.returncode:
        raise SystemExit(err.decode())
    return first, (head + out + err).decode(errors="replace"), time.monotonic() - start


def export_smollm2(folder: Path) -> Path:
    """The model of mlxk-smollm2 as an ordinary folder: float32 safetensors, config and tokenizer."""
    script = f"""
import json, pathlib
from mlxk_mlx.loading import runtime
runtime.start()
import mlx.core as mx
from mlx.utils import tree_flatten
from mlxk_core.api.host import Host
from mlxk_core.api.models import Resolver
from mlxk_gguf.files import open_files
from mlxk_gguf.network import build_network
from mlxk_gguf.tokenizer import build_tokenizer
from mlxk_mlx.loading.weight_layout import materialize
model = Resolver(Host.discover()).resolve("smollm2")
files = open_files(model)
network, config = build_network(files, lambda: None)
materialize(network, lambda: None)
folder = pathlib.Path({str(folder)!r})
folder.mkdir(parents=True)
config = dict(config)
config.pop("quantization", None)
(folder / "config.json").write_text(json.dumps(config))
mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(network.parameters())))
build_tokenizer(files.parts[0].header, model.chat_template).save_pretrained(folder)
mx.clear_streams()
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    return folder


if __name__ == "__main__":
    main()
