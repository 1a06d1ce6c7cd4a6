"""`mlxk list`."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlxk_core._host.host import Host
from mlxk_core.api import Model, ModelSourceSpec, hookimpl
from mlxk_testing import Result
from mlxk_testing.tiny_models import in_hub_cache, mxfp4_model, random_model

pytestmark = pytest.mark.needs("mlx", "gguf")

Ask = Callable[..., Result]


def names(result: Result) -> list[str]:
    return [model["name"] for model in result.json["data"]["models"]]


@pytest.fixture
def unsupported() -> Path:
    """A whole model that no backend knows."""
    return in_hub_cache("org/of-tomorrow", partial(random_model, config={"model_type": "not_yet_invented"}))


def truncate(snapshot: Path) -> None:
    blob = (snapshot / "model.safetensors").resolve()
    with blob.open("rb+") as file:
        file.truncate(blob.stat().st_size - 1000)


def test_what_runs_here_is_listed_and_the_rest_is_counted(ask: Ask, unsupported: Path) -> None:
    in_hub_cache("mlx-community/tiny", random_model)
    result = ask("list")
    assert "tiny" in result.stdout and "of-tomorrow" not in result.stdout
    assert "1 more model cannot run here" in result.stderr and "list --all" in result.stderr
    assert "of-tomorrow" in ask("list", "--all").stdout


def test_the_json_has_the_same_filter_and_says_how_much_is_hidden(ask: Ask, unsupported: Path) -> None:
    in_hub_cache("org/tiny", random_model)
    assert "org/of-tomorrow" not in names(ask("list", "--json"))
    assert ask("list", "--json").json["data"]["hidden"] == 1
    everything = ask("list", "--all", "--json")
    assert "org/of-tomorrow" in names(everything) and everything.json["data"]["hidden"] == 0
    [model] = ask("list", "tomorrow", "--all", "--json").json["data"]["models"]
    assert not model["runnable"] and "not_yet_invented" in model["reason"] and model["healthy"]


def test_models_of_sources_are_listed_too(ask_with_smollm2: Ask) -> None:
    [model] = ask_with_smollm2("list", "smollm2", "--json").json["data"]["models"]
    assert (model["origin"], model["framework"], model["revision"]) == ("source", "GGUF", None)
    assert model["quantization"][0]["label"] == "Q4_1" and model["quantization"][0]["runnable"]


def test_gguf_files_in_a_snapshot_are_listed_with_their_variants(ask: Ask, gguf: Callable[..., Path]) -> None:
    def write(folder: Path) -> None:
        for kind in ("Q4_0", "Q8_0"):
            gguf(folder / f"tiny-{kind}.gguf", [("token_embd.weight", (64, 32), kind)])

    in_hub_cache("org/tiny-GGUF", write)
    [model] = ask("list", "tiny", "--all", "--json").json["data"]["models"]
    [stored] = model["quantization"]
    assert (model["framework"], stored["format"], stored["label"]) == ("GGUF", "gguf", "Q4_0, Q8_0")
    assert [variant["name"] for variant in stored["variants"]] == ["Q4_0", "Q8_0"]


def test_a_repository_runs_if_one_of_its_variants_does(ask_with_smollm2: Ask, gguf: Callable[..., Path]) -> None:
    ask = ask_with_smollm2
    [smollm2] = ask("list", "smollm2", "--json").json["data"]["models"]

    def write(folder: Path) -> None:
        (folder / "tiny-Q4_1.gguf").symlink_to(smollm2["path"])
        gguf(folder / "tiny-IQ4_XS.gguf", [("token_embd.weight", (256, 32), "IQ4_XS")])
        gguf(folder / "tiny-Q8_0-00001-of-00003.gguf", [("token_embd.weight", (64, 32), "Q8_0")])

    in_hub_cache("org/tiny-GGUF", write)
    [model] = ask("list", "tiny", "--json").json["data"]["models"]
    assert (model["runnable"], model["backend"], model["reason"]) == (True, "gguf", None)
    assert not model["healthy"] and model["quantization"][0]["runnable"]


def test_shards_beyond_the_set_change_nothing_about_it(ask: Ask, gguf: Callable[..., Path]) -> None:
    def write(folder: Path) -> None:
        for number in (0, 1, 2, 5):
            gguf(folder / f"m-Q8_0-{number:05}-of-00002.gguf", [("token_embd.weight", (64, 32), "Q8_0")])

    in_hub_cache("org/m-GGUF", write)
    model = ask("show", "m-GGUF", "--json").json["data"]["model"]
    [variant] = model["quantization"][0]["variants"]
    assert (variant["name"], variant["shards"], variant["complete"]) == ("Q8_0", 2, True)
    assert model["healthy"] and ask("health", "org/m-GGUF").code == 0


def test_the_owner_mlx_community_is_left_out_unless_asked_for(ask: Ask) -> None:
    in_hub_cache("mlx-community/tiny", random_model)
    assert "mlx-community" not in ask("list").stdout
    assert "mlx-community/tiny" in ask("list", "--verbose").stdout


def test_a_pipe_gets_one_line_a_model_in_aligned_columns(ask: Ask) -> None:
    in_hub_cache("mlx-community/" + "long-" * 18 + "name", random_model)
    in_hub_cache("org/mx", mxfp4_model)
    head, *rows = ask("list").stdout.splitlines()
    assert head.split() == ["NAME", "REVISION", "SIZE", "MODIFIED", "TYPE", "FRAMEWORK", "QUANT"]
    assert len(rows) == 2
    for title in ("REVISION", "TYPE", "FRAMEWORK", "QUANT"):
        assert all(row[head.index(title) - 1] == " " != row[head.index(title)] for row in rows)
    assert any("long-" * 18 + "name" in row for row in rows)
    assert any(row.endswith("mxfp4") for row in rows)


def test_names_in_wide_characters_keep_the_columns_in_line(ask: Ask, seen: Callable[..., str]) -> None:
    """A Chinese character takes two columns of a terminal."""
    for name in ("org/小さなモデル", "org/tiny"):
        in_hub_cache(name, random_model)
    for lines in (ask("list").stdout.splitlines(), seen("list").splitlines()):
        head, *rows = lines
        for row in rows:
            wide = sum(unicodedata.east_asian_width(letter) == "W" for letter in row)
            assert row.index("MLX") + wide == head.index("FRAMEWORK")


def test_on_a_terminal_names_stay_whole_and_reasons_stand_below(unsupported: Path, seen: Callable[..., str]) -> None:
    name = "org/" + "Quite-Long-Name-" * 4 + "4bit"
    truncate(in_hub_cache(name, random_model))
    lines = seen("list", "--all", "--health", "--verbose").splitlines()
    assert max(map(len, lines)) <= 80
    at = next(index for index, line in enumerate(lines) if line.rstrip() == name)
    assert "damaged" in lines[at + 1]
    assert " ".join(lines[at + 2].split()).startswith("model.safetensors is cut off: it has")
    assert any(line.startswith("    `org/of-tomorrow` cannot be run") for line in lines)


def test_a_narrow_terminal_drops_columns_before_it_shortens_a_name(seen: Callable[..., str]) -> None:
    ordinary = "Meta-Llama-3.1-8B-Instruct-4bit"
    long = "DeepSeek-R1-Distill-Qwen-32B-abliterated-preview-mlx-4bit"
    for name in (ordinary, long):
        in_hub_cache(f"mlx-community/{name}", random_model)
    lines = [line.rstrip() for line in seen("list").splitlines()]
    assert max(map(len, lines)) <= 80 and len(lines) == 3
    assert lines[0].split()[:2] == ["NAME", "SIZE"] and "QUANT" in lines[0]
    assert lines[2].split()[0] == ordinary
    assert lines[1].startswith("DeepSeek-R1-Distill") and "…" in lines[1] and "mlx-4bit  " in lines[1]
    assert long in seen("list", "--verbose")


def test_names_are_in_natural_order_and_other_orders_can_be_chosen(ask: Ask) -> None:
    for age, (owner, size) in enumerate([("z", 10), ("mlx-community", 2), ("a", 1)]):
        snapshot = in_hub_cache(f"{owner}/tiny-{size}B", partial(random_model, seed=size))
        (snapshot / "notes.txt").write_bytes(bytes(1000 * size))
        os.utime(snapshot, (1e9 - age, 1e9 - age))
    assert ask("list", "-q").stdout.split() == ["a/tiny-1B", "tiny-2B", "z/tiny-10B"]
    assert ask("list", "-q", "--sort", "size").stdout.split() == ["z/tiny-10B", "tiny-2B", "a/tiny-1B"]
    assert ask("list", "-q", "--sort", "modified").stdout.split() == ["z/tiny-10B", "tiny-2B", "a/tiny-1B"]
    assert names(ask("list", "--sort", "size", "--json"))[0] == "z/tiny-10B"
    assert ask("list", "-q", "--json").code == 2


def test_a_pipe_gets_the_reasons_in_a_last_column(ask: Ask, unsupported: Path) -> None:
    head, row = ask("list", "--all", "--verbose").stdout.splitlines()
    assert head.endswith("  RUNS WITH  NOTES")
    assert row.partition("  -  ")[2].strip().startswith("`org/of-tomorrow` cannot be run")


def test_a_pattern_fits_any_part_of_a_name_in_any_case(ask: Ask) -> None:
    in_hub_cache("org/Tiny-One", random_model)
    in_hub_cache("org/other", random_model)
    assert names(ask("list", "tINY", "--json")) == ["org/Tiny-One"]
    nothing = ask("list", "nowhere")
    assert (nothing.code, nothing.stdout) == (0, "") and "nowhere" in nothing.stderr
    assert ask("list", "nowhere", "--json").json["data"] == {"models": [], "hidden": 0}


def test_a_damaged_model_does_not_run_and_health_shows_it_nevertheless(ask: Ask) -> None:
    truncate(in_hub_cache("org/cut", random_model))
    assert "org/cut" not in ask("list").stdout
    shown = ask("list", "--health").stdout
    assert "org/cut" in shown and "is cut off" in shown
    [model] = ask("list", "cut", "--all", "--json").json["data"]["models"]
    assert (model["healthy"], model["runnable"], model["backend"]) == (False, False, None)
    assert model["problems"][0]["code"] == "truncated_weight_file"


def test_one_bad_folder_does_not_affect_the_others(ask: Ask, hub_cache: Path) -> None:
    in_hub_cache("org/good", random_model)
    for bad in (
        "models--org--empty",
        "models--",
        "models--a--b---c",
        "datasets--org--data",
        "models--x--y/snapshots/1",
    ):
        (hub_cache / bad).mkdir(parents=True)
    (hub_cache / "models--org--file").write_text("no folder")
    snapshot = in_hub_cache("org/bad-json", random_model)
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        (snapshot / name).unlink()
        (snapshot / name).write_text("[" if name != "config.json" else "{")
    (hub_cache / "models--org--dangling" / "refs").mkdir(parents=True)
    (hub_cache / "models--org--dangling" / "refs" / "main").write_text("0" * 40)
    result = ask("list", "--all", "--json")
    assert result.code == 0 and {"org/good", "org/bad-json"} <= set(names(result))


def hostile_header(entry: object) -> bytes:
    header = json.dumps({"a.weight": entry, "a.scales": entry}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(64)


DEEP = b"[" * 100_000
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", (100_000).to_bytes(8, "little") + DEEP),
        ("model.safetensors", hostile_header({"dtype": ["BF16"], "shape": [8, 8], "data_offsets": [0, 64]})),
        ("model.safetensors", hostile_header({"dtype": "U32", "shape": [8, "x"], "data_offsets": [0, 64]})),
        ("model.safetensors", hostile_header({"dtype": "U32", "shape": "ab", "data_offsets": [0, 64]})),
        ("model.safetensors", hostile_header({"dtype": "U32", "shape": [8, 8], "data_offsets": [0, 10**400]})),
        ("model.safetensors", hostile_header({"dtype": "U32", "shape": [8, 8], "data_offsets": [0.0, float("nan")]})),
        (INDEX, DEEP),
        (INDEX, b'{"metadata": {"total_size": 1e999, "total_parameters": 1e999}, "weight_map": {}}'),
        (INDEX, b'{"metadata": {"total_size": ' + b"9" * 400 + b', "total_parameters": 1}, "weight_map": {}}'),
        ("hf_quant_config.json", DEEP),
        ("tokenizer.json", b'{"added_tokens": ' + DEEP),
        ("tokenizer_config.json", b'{"added_tokens_decoder": {"' + b"9" * 5000 + b'": {"content": "x"}}}'),
        ("config.json", b'{"model_type": "llama", "max_position_embeddings": "' + b"9" * 5000 + b'"}'),
        ("config.json", b'{"model_type": "llama", "architectures": 5}'),
        ("config.json", b'{"model_type": "llama", "architectures": [["LlamaForCausalLM"]]}'),
        ("config.json", b'{"model_type": "llama", "quantization": {"bits": 4, "group_size": 64, "mode": ""}}'),
        ("config.json", b'{"model_type": "llama", "quantization_config": {"quant_method": ""}}'),
    ],
)
def test_a_hostile_file_affects_only_its_own_model(ask: Ask, name: str, content: bytes) -> None:
    in_hub_cache("org/good", random_model)
    snapshot = in_hub_cache("org/hostile", partial(random_model, seed=1))
    (snapshot / name).unlink(missing_ok=True)
    (snapshot / name).write_bytes(content)
    assert names(ask("list", "--all", "--json")) == ["org/good", "org/hostile"]
    assert ask("show", "hostile", "--json").code == 0
    [good, _] = ask("health", "--json").json["data"]["models"]
    assert good["healthy"]


def test_a_link_in_a_circle_hides_no_other_model(ask: Ask, hub_cache: Path) -> None:
    in_hub_cache("org/good", random_model)
    (hub_cache / "models--org--circle").symlink_to("models--org--circle")
    snapshot = in_hub_cache("org/odd", partial(random_model, seed=1))
    (snapshot / "notes.txt").symlink_to("notes.txt")
    assert names(ask("list", "--all", "--json")) == ["org/good", "org/odd"]
    [good, odd] = ask("health", "--json").json["data"]["models"]
    assert good["healthy"] and [problem["code"] for problem in odd["problems"]] == ["dangling_link"]


def test_times_are_utc_wherever_the_machine_is(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        snapshot = in_hub_cache("org/tiny", random_model)
        moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
        os.utime(snapshot, (moment, moment))
        [model] = ask("list", "tiny", "--json").json["data"]["models"]
        assert model["modified"] == "2026-01-02T03:04:05Z"
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_a_reason_is_told_for_each_variant_that_does_not_run(ask: Ask, gguf: Callable[..., Path]) -> None:
    def write(folder: Path) -> None:
        gguf(folder / "m-Q8_0.gguf", [("token_embd.weight", (64, 32), "Q8_0")])
        gguf(folder / "m-Q4_0-00001-of-00002.gguf", [("token_embd.weight", (64, 32), "Q4_0")])

    in_hub_cache("org/m-GGUF", write)
    [model] = ask("list", "--all", "--json").json["data"]["models"]
    assert "Q4_0: m-Q4_0-00002-of-00002.gguf is missing" in model["reason"]
    assert "Q8_0: `org/m-GGUF" in model["reason"]


def test_no_model_at_all_is_no_error(alone: Ask) -> None:
    result = alone("list")
    assert (result.code, result.stdout) == (0, "") and "mlxk pull" in result.stderr


def test_code_in_a_repository_is_never_run(ask: Ask) -> None:
    """A repository that says it needs its own code is listed like any other; the code is never run."""
    ran = Path(os.environ["HF_HOME"]) / "ran"

    def write(folder: Path) -> None:
        random_model(folder, config={"auto_map": {"AutoModel": "evil.Model"}, "model_file": "evil.py"})
        (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')")

    in_hub_cache("org/evil", write)
    for command in (["list", "--all"], ["show", "org/evil"], ["health", "org/evil"]):
        ask(*command)
    assert not ran.exists()
    assert json.loads(ask("show", "org/evil", "--config", "--json").stdout)["data"]["config"]["model_file"] == "evil.py"


class OddPath(type(Path())):  # type: ignore[misc]
    def __truediv__(self, name: Any) -> Any:
        raise AttributeError("odd")

    __fspath__ = iterdir = stat = is_dir = lambda self, **options: self / ""


class FaultyFinder:
    """A third party's source, whose model has no path that anybody could look at."""

    def names(self) -> list[str]:
        return ["faulty"]

    def find(self, name: str) -> Model:
        return Model(name=name, path=OddPath("odd"), origin="source", source="faulty")


class FaultySource:
    @hookimpl
    def mlxk_model_sources(self) -> Iterable[ModelSourceSpec]:
        yield ModelSourceSpec(name="faulty", summary="A source with a fault.", target=FaultyFinder)


def test_what_nobody_foresaw_of_one_model_spoils_nothing(
    cli: Ask, schema: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host.discover(disabled=["smollm2"])
    host.register(FaultySource(), name="faulty")
    in_hub_cache("org/good", random_model)
    for command in (["list", "--all"], ["health"]):
        result = cli(*command, "--json", host=host)
        schema.validate(result.json)
        faulty, good = result.json["data"]["models"]
        assert (faulty["name"], faulty["healthy"], good["name"], good["healthy"]) == ("faulty", False, "org/good", True)
        assert faulty["problems"][0]["code"] == "examination_failed"
        assert "AttributeError" in faulty["problems"][0]["message"]
        assert "faulty" in cli(*command, host=host).stdout
    assert "Traceback" not in cli("list", host=host).stderr
    monkeypatch.setenv("MLXK_DEBUG", "1")
    assert "Traceback" in cli("list", host=host).stderr
