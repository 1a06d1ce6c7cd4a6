"""The network out of a GGUF file computes what the original computes."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlxk_core.api import Model
from mlxk_gguf.files import open_files
from mlxk_testing.tiny_models import LLAMA3_ROPE

mx = pytest.importorskip("mlx.core")
IN_MODIFY, IN_CLOSE_WRITE = 2, 8  # of inotify
PROMPT = [*b"Once upon a time"]


def logits(path: Path) -> np.ndarray:
    from mlxk_gguf.network import build_network

    network, _ = build_network(open_files(Model(name="tiny", path=path)), lambda: None)
    network.set_dtype(mx.float32)
    return np.array(network(mx.array([PROMPT]))[0])


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
def test_every_type_of_tensor_gives_the_originals_logits(original: Callable[..., Any], tmp_path: Path, kind: str):
    model = original()
    path = model.to_gguf(tmp_path / f"tiny-{kind}.gguf", kind)
    assert np.allclose(logits(path), model.logits(PROMPT), atol=2e-2)


@pytest.mark.parametrize("kind", ["Q4_K", "Q6_K"])
def test_the_types_of_q4_k_m_files_give_the_originals_logits(original: Callable[..., Any], tmp_path: Path, kind: str):
    model = original(hidden=256, layers=1)
    path = model.to_gguf(tmp_path / f"tiny-{kind}.gguf", kind)
    assert np.allclose(logits(path), model.logits(PROMPT), atol=5e-2)


@pytest.mark.parametrize("architecture", ["llama", "smollm3", "qwen2", "qwen3"])
def test_every_architecture_gives_the_originals_logits(original: Callable[..., Any], tmp_path: Path, architecture: str):
    model = original(architecture, layers=4)
    path = model.to_gguf(tmp_path / "tiny.gguf", "F32")
    assert np.allclose(logits(path), model.logits(PROMPT), atol=1e-3)


def test_gemma_gives_the_originals_logits(original: Callable[..., Any], tmp_path: Path):
    model = original("gemma")
    assert np.allclose(logits(model.to_gguf(tmp_path / "tiny.gguf")), model.logits(PROMPT), atol=1e-3)


def test_gemma_2_gives_the_originals_logits(original: Callable[..., Any], tmp_path: Path):
    model = original("gemma2", config={"query_pre_attn_scalar": 16, "final_logit_softcapping": 20.0})
    path = model.to_gguf(tmp_path / "tiny.gguf", extra={"gemma2.final_logit_softcapping": 20.0})
    assert np.allclose(logits(path), model.logits(PROMPT), atol=1e-3)


def test_gemma_3_gives_the_originals_logits(original: Callable[..., Any], tmp_path: Path):
    """Five layers look back 8 tokens of the 16, with a rope of their own; the sixth sees all."""
    settings = {"query_pre_attn_scalar": 16, "sliding_window": 8, "rope_theta": 1e6}
    model = original("gemma3", layers=6, config=settings)
    path = model.to_gguf(tmp_path / "tiny.gguf", extra={"gemma3.attention.sliding_window": 8})
    assert np.allclose(logits(path), model.logits(PROMPT), atol=1e-3)


def test_metadata_that_mlx_misreads_does_not_reach_it(original: Callable[..., Any], tmp_path: Path):
    model = original()
    path = model.to_gguf(tmp_path / "tiny.gguf", extra={"general.x": np.float64(1e308), "general.y": "z"})
    assert np.allclose(logits(path), model.logits(PROMPT), atol=2e-2)


def test_tensors_that_do_not_fit_one_excerpt_are_all_read(original: Callable[..., Any], tmp_path: Path):
    model = original(hidden=1024, layers=3)
    path = model.to_gguf(tmp_path / "tiny.gguf")
    assert sum(tensor.elements for tensor in open_files(Model(name="tiny", path=path)).tensors) > 3 << 22
    assert np.allclose(logits(path), model.logits(PROMPT), atol=1e-2)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K"])
def test_the_slices_of_a_large_tensor_are_joined(original: Callable[..., Any], tmp_path: Path, kind: str):
    from mlxk_gguf.weights import read_weights

    model = original(hidden=256, layers=1)
    rows = np.random.default_rng(1).normal(size=(2000, 256)).astype(np.float32)
    model.weights["model.embed_tokens.weight"] = np.concatenate([rows] * 20)  # 10 million numbers
    path = model.to_gguf(tmp_path / f"tiny-{kind}.gguf", kind)
    steps: list[None] = []
    found = read_weights(open_files(Model(name="tiny", path=path)), lambda: steps.append(None))
    expected: Any = mx.load(str(path), format="gguf")
    names = [name for name in expected if name.startswith("token_embd.")]
    assert len(names) == (3 if kind in ("Q8_0", "Q4_0", "Q4_1") else 1)
    for name in names:
        ours = found[name.replace("token_embd.", "model.embed_tokens.")]
        assert ours.shape == expected[name].shape
        assert mx.array_equal(ours, expected[name])
    assert len(steps) >= 4


@pytest.mark.skipif(sys.platform != "linux", reason="uses inotify")
def test_the_file_is_not_opened_for_writing(original: Callable[..., Any], tmp_path: Path):
    path = original().to_gguf(tmp_path / "tiny.gguf")
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    try:
        assert libc.inotify_add_watch(watch, os.fsencode(path), IN_MODIFY | IN_CLOSE_WRITE) >= 0
        logits(path)
        with pytest.raises(BlockingIOError):  # no event
            os.read(watch, 4096)
    finally:
        os.close(watch)


def test_tied_embeddings_are_found_out(original: Callable[..., Any], tmp_path: Path):
    model = original()
    del model.weights["lm_head.weight"]
    model.configure(tie_word_embeddings=True)
    path = model.to_gguf(tmp_path / "tiny.gguf", "Q8_0")
    assert np.allclose(logits(path), model.logits(PROMPT), atol=2e-2)


def test_llama_3_rope_factors_are_applied(original: Callable[..., Any], tmp_path: Path):
    from mlx_lm.models.rope_utils import Llama3RoPE

    model = original(config=LLAMA3_ROPE)
    head = model.config["head_dim"]
    scaled = np.array(Llama3RoPE(head, base=10000.0, scaling_config=LLAMA3_ROPE["rope_scaling"])._freqs)
    factors = scaled / 10000.0 ** (np.arange(0, head, 2) / head)
    path = model.to_gguf(tmp_path / "tiny.gguf", rope_factors=factors)
    assert factors.max() > 1
    assert np.allclose(logits(path), model.logits(PROMPT), atol=1e-3)


def test_a_linear_rope_scaling_is_applied(original: Callable[..., Any], tmp_path: Path):
    model = original(config={"rope_scaling": {"type": "linear", "factor": 4.0}})
    path = model.to_gguf(
        tmp_path / "tiny.gguf", extra={"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    )
    assert np.allclose(logits(path), model.logits(PROMPT), atol=1e-3)


def test_parts_are_one_model(original: Callable[..., Any], tmp_path: Path):
    model = original()
    path = model.to_gguf(tmp_path / "tiny.gguf", "Q8_0", parts=3)
    assert np.allclose(logits(path), model.logits(PROMPT), atol=2e-2)
