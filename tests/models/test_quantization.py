"""How weights are stored: told from configs, headers and names by all detectors together."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from mlxk_core._host.host import Host
from mlxk_core._models.model import Model

pytestmark = pytest.mark.needs("mlx", "gguf")

CASES = json.loads((Path(__file__).parent / "quantization_cases.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def detectors() -> Host:
    """All installed detectors; one that raises fails the test."""
    return Host.discover(strict=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_each_way_to_store_weights_is_told_once_by_the_files_alone(
    case: dict[str, Any], tmp_path: Path, detectors: Host, safetensors: Callable[..., Path], gguf: Callable[..., Path]
) -> None:
    lay_out(tmp_path, case, safetensors, gguf)
    found = [asdict(each) for each in detectors.quantizations(Model(name=case["id"], path=tmp_path))]
    assert [_told(each, expected) for each, expected in zip(found, case["expect"], strict=True)] == case["expect"]


def test_what_is_damaged_leaves_what_the_rest_says(tmp_path: Path, detectors: Host) -> None:
    (tmp_path / "config.json").write_text('{"quantization": {"bits": 4, "group_size": 64, "mode": "mxfp4"}}')
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    [found] = detectors.quantizations(Model(name="damaged", path=tmp_path))
    assert (found.mode, found.bits_per_weight, found.notes) == ("mxfp4", None, ())


def test_a_config_that_is_no_json_leaves_what_the_tensors_say(
    tmp_path: Path, detectors: Host, safetensors: Callable[..., Path]
) -> None:
    (tmp_path / "config.json").write_text("{")
    safetensors(tmp_path / "model.safetensors", {"a.weight": ("BF16", (8, 8))})
    [found] = detectors.quantizations(Model(name="damaged", path=tmp_path))
    assert (found.label, found.notes) == ("bf16", ())


def test_settings_of_the_wrong_type_are_no_reason_to_fail(tmp_path: Path, detectors: Host) -> None:
    for settings in (
        {"quantization": {"bits": "four", "group_size": None, "mode": 7}},
        {"quantization": "yes", "quantization_config": [4]},
        {"quantization_config": {"quant_method": 5}},
        {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"group_0": None}}},
        {"quantization_config": {"quant_method": "fp8", "weight_block_size": 128}},
        {"quantization_config": {"quant_method": "modelopt", "quant_algo": "W" + "9" * 5000}},
        {"architectures": None, "text_config": None, "torch_dtype": 16},
    ):
        (tmp_path / "config.json").write_text(json.dumps(settings))
        assert all(each.label for each in detectors.quantizations(Model(name="odd", path=tmp_path)))


@pytest.mark.parametrize("bits", [-(10**320), -1, 0, 10**320])
def test_bits_that_are_none_do_not_count(
    bits: int, tmp_path: Path, detectors: Host, safetensors: Callable[..., Path]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"quantization": {"bits": bits, "group_size": 64}}))
    safetensors(tmp_path / "model.safetensors", {"a.weight": ("U32", (4, 7)), "a.scales": ("F32", (4, 3))})
    [found] = detectors.quantizations(Model(name="odd", path=tmp_path))
    assert found.label == "int4 (group 64)" and found.bits_per_weight is not None and 0 < found.bits_per_weight < 64


def lay_out(folder: Path, case: dict[str, Any], safetensors: Callable[..., Path], gguf: Callable[..., Path]) -> None:
    """The files that a case speaks of."""
    if "config" in case:
        (folder / "config.json").write_text(json.dumps(case["config"]))
    for name, content in case.get("extra", {}).items():
        (folder / name).write_text(json.dumps(content))
    if "tensors" in case:
        safetensors(folder / case.get("name", "model.safetensors"), case["tensors"])
    if "index" in case:
        weight_map = dict.fromkeys(case["tensors"], "model.safetensors")
        index = {"metadata": case["index"], "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for name, size in case.get("files", {}).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size)
    if "gguf" in case:
        written = case["gguf"]
        metadata = {"general.file_type": written["file_type"]} if "file_type" in written else {}
        gguf(folder / written["name"], written["tensors"], metadata)


def _told(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """What a case asks about, out of what was found."""
    told = {key: found[key] for key in expected}
    if "variants" in told:
        keys = ("name", "size", "shards", "complete")
        told["variants"] = [{key: variant[key] for key in keys} for variant in found["variants"]]
    if "notes" in told:
        told["notes"] = list(found["notes"])
    return told
