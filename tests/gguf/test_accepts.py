"""Which GGUF files are run, and what is said about those that are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlxk_core._errors import AmbiguousModel, BrokenModel, UnsupportedModel
from mlxk_core._host.host import Host
from mlxk_core._models.resolve import Resolver
from mlxk_core.api import Model
from mlxk_gguf import plugin
from mlxk_gguf.files import open_files
from mlxk_gguf.support import accepts
from mlxk_testing.tiny_models import in_hub_cache, random_model


@pytest.fixture
def gguf_host(host: Host) -> Host:
    host.register(plugin, name="gguf")
    return host


def in_file(path: Path) -> Model:
    return Model(name="tiny", path=path)


def relabel(path: Path, old: str, new: str) -> None:
    """Changes the number of a tensor type or a text of the same length in a file."""
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
def test_what_mlx_reads_is_accepted(original: Callable[..., Any], tmp_path: Path, kind: str):
    assert accepts(in_file(original().to_gguf(tmp_path / "tiny.gguf", kind))).accepted


def test_another_quantization_is_named(original: Callable[..., Any], tmp_path: Path):
    verdict = accepts(in_file(original().to_gguf(tmp_path / "tiny.gguf", "Q5_1")))
    assert verdict.answer == "no"
    assert "not supported: Q5_1 (" in verdict.reason
    assert "Q4_0" in verdict.reason  # what would be


def test_another_architecture_is_named(original: Callable[..., Any], tmp_path: Path):
    verdict = accepts(in_file(original("falcon").to_gguf(tmp_path / "tiny.gguf")))
    assert verdict.answer == "no"
    assert "not supported: falcon" in verdict.reason


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"llama.expert_count": 8}, "mixture of experts"),
        ({"llama.rope.scaling.type": "longrope"}, "rope scaling not supported: longrope"),
        ({"llama.attention.head_count": 1 << 31}, "attention heads"),
        ({"llama.attention.head_count_kv": 1 << 31}, "attention heads"),
        ({"llama.attention.head_count": True}, "attention.head_count"),
        ({"llama.rope.dimension_count": 4}, "rope.dimension_count"),
        ({"tokenizer.ggml.model": "rwkv"}, "tokenizer not supported: rwkv"),
        ({"tokenizer.ggml.pre": "viking"}, "tokenizer not supported: text splitter `viking`"),
        ({"tokenizer.ggml.pre": [1, 2]}, "tokenizer not supported: text splitter"),
        ({"tokenizer.ggml.model": [1, 2]}, "tokenizer not supported"),
        ({"tokenizer.ggml.tokens": ["a"] * 5000}, "5,000 tokens"),
        ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "attention.layer_norm_rms_epsilon"),
        ({"llama.rope.freq_base": [1, 2]}, "rope.freq_base"),
        ({"llama.context_length": "many"}, "context_length"),
    ],
)
def test_what_would_run_wrongly_is_refused(
    original: Callable[..., Any], tmp_path: Path, extra: dict[str, Any], reason: str
):
    verdict = accepts(in_file(original().to_gguf(tmp_path / "tiny.gguf", extra=extra)))
    assert verdict.answer == "no"
    assert reason in verdict.reason
    assert len(verdict.reason) < 2000


def test_a_tensor_the_architecture_has_not_is_named(original: Callable[..., Any], tmp_path: Path):
    path = original("qwen3").to_gguf(tmp_path / "tiny.gguf", extra={"general.architecture": "qwen2"})
    relabel(path, "qwen3.", "qwen2.")
    verdict = accepts(in_file(path))
    assert verdict.answer == "no"
    assert "attn_q_norm.weight" in verdict.reason


def test_a_damaged_header_is_told_and_raises_nothing(tmp_path: Path):
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF\3\0\0\0")
    verdict = accepts(in_file(tmp_path / "tiny.gguf"))
    assert verdict.answer == "no"
    assert "tiny.gguf" in verdict.reason


def test_a_missing_part_is_named(original: Callable[..., Any], tmp_path: Path):
    path = original().to_gguf(tmp_path / "tiny.gguf", parts=3)
    (tmp_path / "tiny-00002-of-00003.gguf").unlink()
    verdict = accepts(in_file(path))
    assert verdict.answer == "no"
    assert "tiny-00002-of-00003.gguf" in verdict.reason


def test_thousands_of_missing_parts_are_counted(original: Callable[..., Any], tmp_path: Path):
    path = original().to_gguf(tmp_path / "tiny-00001-of-00001.gguf", extra={"split.count": 99_999})
    with pytest.raises(BrokenModel, match="99999 of 99999") as error:
        open_files(in_file(path))
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize("count", [2**32 - 1, "two"])
def test_a_number_of_parts_that_no_file_could_have_counts_for_nothing(
    original: Callable[..., Any], tmp_path: Path, count: int | str
):
    path = original().to_gguf(tmp_path / "tiny-00001-of-00001.gguf", extra={"split.count": count})
    assert accepts(in_file(path)).accepted


def test_models_in_other_forms_are_none_of_its_business(tmp_path: Path):
    assert accepts(in_file(random_model(tmp_path / "mlx"))).answer == "foreign"
    (tmp_path / "empty").mkdir()
    assert accepts(in_file(tmp_path / "empty")).answer == "foreign"


def test_the_reason_reaches_the_user(original: Callable[..., Any], tmp_path: Path, gguf_host: Host):
    path = original("falcon").to_gguf(tmp_path / "tiny.gguf")
    with pytest.raises(UnsupportedModel, match="not supported: falcon"):
        gguf_host.backend_for(in_file(path))


# --- repositories with several variants -------------------------------------------------------------------------------


@pytest.fixture
def repository(original: Callable[..., Any]) -> Callable[..., None]:
    """Puts variants of one model into the hub cache as `org/tiny-GGUF`."""

    def make(*kinds: str) -> None:
        model = original()

        def write(folder: Path) -> None:
            for kind in kinds:
                model.to_gguf(folder / f"tiny-{kind}.gguf", kind)

        in_hub_cache("org/tiny-GGUF", write)

    return make


def test_a_variant_is_chosen_by_name(repository: Callable[..., None], gguf_host: Host):
    repository("Q8_0", "Q4_0")
    model = Resolver(gguf_host).resolve("tiny-GGUF:Q4_0")
    assert model.gguf_path is not None
    assert model.gguf_path.name == "tiny-Q4_0.gguf"
    assert gguf_host.backend_for(model).name == "gguf"


def test_the_only_variant_that_runs_is_taken(repository: Callable[..., None], gguf_host: Host):
    repository("Q5_1", "Q4_0")
    model = Resolver(gguf_host).resolve("org/tiny-GGUF")
    assert model.gguf_path is not None
    assert model.gguf_path.name == "tiny-Q4_0.gguf"


def test_several_variants_that_run_are_listed(repository: Callable[..., None], gguf_host: Host):
    repository("Q8_0", "Q4_0")
    with pytest.raises(AmbiguousModel, match=r":Q4_0.*:Q8_0"):
        Resolver(gguf_host).resolve("org/tiny-GGUF")


def test_the_parts_of_a_variant_must_all_be_there(original: Callable[..., Any], gguf_host: Host):
    def write(folder: Path) -> None:
        original().to_gguf(folder / "tiny-Q4_0.gguf", "Q4_0", parts=2)
        (folder / "tiny-Q4_0-00002-of-00002.gguf").unlink()

    in_hub_cache("org/tiny-GGUF", write)
    with pytest.raises(BrokenModel, match="1 of 2"):
        Resolver(gguf_host).resolve("org/tiny-GGUF")
