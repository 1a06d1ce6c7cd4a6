"""`mlxk show`."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlxk_testing import Result
from mlxk_testing.tiny_models import THINKING_CHATML, gpt_oss_model, in_hub_cache, mxfp4_model, random_model

pytestmark = pytest.mark.needs("mlx", "gguf", "reasoning")

Ask = Callable[..., Result]


def shown(result: Result) -> dict[str, Any]:
    return result.json["data"]["model"]


def configured(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_it_tells_what_a_model_is_and_what_runs_it(ask: Ask) -> None:
    snapshot = in_hub_cache("mlx-community/tiny", random_model)
    text = ask("show", "tiny").stdout
    lines = dict(line.strip().split(None, 1) for line in text.splitlines() if line.startswith("  ") and line[2] != " ")
    assert text.startswith("tiny\n") and "Full name       mlx-community/tiny" in text
    assert lines["Revision"] == snapshot.name
    assert lines["Context"] == "2,048 tokens (config.json)"
    assert lines["Files"] == "healthy"
    assert lines["Runs"].split() == ["with", "mlx"]
    model = shown(ask("show", "tiny", "--json"))
    assert (model["type"], model["framework"], model["backend"]) == ("chat", "MLX", "mlx")
    assert model["stop_tokens"] == [{"id": 257, "text": "<|im_end|>"}]
    assert model["chat_template"] and "chat" in model["capabilities"]


def test_mxfp4_is_named_as_the_advanced_mode_it_is(ask: Ask) -> None:
    in_hub_cache("org/mx", mxfp4_model)
    text = ask("show", "org/mx").stdout
    assert "Advanced mode 'mxfp4' (requires MLX ≥0.29.0)" in [line.strip() for line in text.splitlines()]
    [stored] = shown(ask("show", "org/mx", "--json"))["quantization"]
    assert (stored["requires_mlx"], stored["satisfied"], stored["runnable"]) == ("0.29.0", True, True)


@pytest.mark.parametrize(
    ("settings", "version"), [({"mode": "nvfp4", "group_size": 16}, "0.30.3"), ({"mode": "mxfp8", "bits": 8}, "0.30.3")]
)
def test_other_modes_are_named_with_their_versions(ask: Ask, settings: dict[str, Any], version: str) -> None:
    def write(folder: Path) -> None:
        random_model(folder, config={"quantization": {"bits": 4, "group_size": 32, **settings}})

    in_hub_cache("org/mode", write)
    assert f"Advanced mode '{settings['mode']}' (requires MLX ≥{version})" in ask("show", "org/mode").stdout


def test_the_published_gpt_oss_counts_as_mxfp4(ask: Ask) -> None:
    def write(folder: Path) -> None:
        gpt_oss_model(folder)
        config = json.loads((folder / "config.json").read_text())
        config.pop("quantization", None)
        config["quantization_config"] = {"quant_method": "mxfp4"}
        (folder / "config.json").write_text(json.dumps(config))

    in_hub_cache("openai/gpt-oss-tiny", write)
    assert "Advanced mode 'mxfp4' (requires MLX ≥0.29.0)" in ask("show", "gpt-oss").stdout
    model = shown(ask("show", "gpt-oss", "--json"))
    assert model["quantization"][0]["method"] == "mxfp4"
    assert model["reasoning_format"]["name"] == "harmony" and "template" in model["reasoning_format"]["reason"]
    assert "<|return|>" in [token["text"] for token in model["stop_tokens"]]


def test_exceptions_of_a_mixed_quantization_are_summed_up(ask: Ask) -> None:
    rule = {"group_size": 64, "bits": 6}
    layers = {f"model.layers.{number}.mlp.down_proj": rule for number in range(12)}
    settings = {"group_size": 64, "bits": 4, **layers}
    in_hub_cache("org/mixed", partial(random_model, config={"quantization": settings}))
    text = ask("show", "org/mixed").stdout
    assert "int4 + int6 (group 64)" in text
    assert "int6 (group 64) in 12 layers: mlp.down_proj." in text
    assert shown(ask("show", "org/mixed", "--json"))["quantization"][0]["mixed"]


def test_tensors_that_disagree_with_the_config_are_told_about(ask: Ask) -> None:
    def write(folder: Path) -> None:
        mxfp4_model(folder)
        configured(folder, quantization={"group_size": 64, "bits": 8})

    in_hub_cache("org/liar", write)
    assert "declares int8 (group 64), but 14 layers are stored as mxfp4" in ask("show", "liar").stdout
    assert "using the stored type" in shown(ask("show", "liar", "--json"))["notes"][0]


@pytest.mark.parametrize(
    "settings",
    [
        {"quantization": {"bits": 4, "group_size": 64}},
        {"quantization": {"bits": 4, "group_size": 32, "mode": "mxfp4"}},
        {"quantization_config": {"quant_method": "mxfp4"}},
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
    ],
)
def test_plain_tensors_under_a_quantized_config_are_told_about(ask: Ask, settings: dict[str, Any]) -> None:
    configured(in_hub_cache("org/unpacked", random_model), **settings)
    model = shown(ask("show", "unpacked", "--json"))
    assert "not packed" in model["notes"][0]
    assert "not packed" in ask("show", "unpacked").stdout


def test_what_nothing_runs_says_why(ask: Ask) -> None:
    method = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    in_hub_cache("org/bnb", partial(random_model, config={"quantization_config": method}))
    text = ask("show", "org/bnb").stdout
    assert "nf4 (bitsandbytes)" in text and "does not run here" in text and "no installed backend\n" in text
    model = shown(ask("show", "org/bnb", "--json"))
    assert not model["runnable"] and not model["quantization"][0]["runnable"] and model["reason"]


def test_all_gguf_variants_are_shown_with_sizes_and_missing_shards(ask: Ask, gguf: Callable[..., Path]) -> None:
    def write(folder: Path) -> None:
        gguf(folder / "m-Q8_0.gguf", [("token_embd.weight", (64, 32), "Q8_0")])
        gguf(folder / "m-Q4_0-00001-of-00002.gguf", [("token_embd.weight", (64, 32), "Q4_0")])

    in_hub_cache("org/m-GGUF", write)
    text = ask("show", "m-GGUF").stdout
    assert "Q4_0" in text and "1 of 2 files (incomplete)" in text and "Q8_0" in text
    [stored] = shown(ask("show", "m-GGUF", "--json"))["quantization"]
    variants = {variant["name"]: variant for variant in stored["variants"]}
    assert not variants["Q4_0"]["complete"] and variants["Q4_0"]["shards"] == 2
    assert variants["Q8_0"]["complete"] and variants["Q8_0"]["size"] > 2000


def test_a_repository_with_two_formats_has_two_entries(ask: Ask, gguf: Callable[..., Path]) -> None:
    def write(folder: Path) -> None:
        mxfp4_model(folder)
        gguf(folder / "m-Q8_0.gguf", [("token_embd.weight", (64, 32), "Q8_0")])

    in_hub_cache("org/both", write)
    model = shown(ask("show", "org/both", "--json"))
    assert [(each["format"], each["label"]) for each in model["quantization"]] == [
        ("gguf", "Q8_0"),
        ("safetensors", "mxfp4"),
    ]
    assert "safetensors: mxfp4" in ask("show", "org/both").stdout


def test_a_reasoning_format_is_named_with_its_evidence(ask: Ask) -> None:
    in_hub_cache("org/thinker", partial(random_model, chat_template=THINKING_CHATML))
    assert "think (" in ask("show", "thinker").stdout


def test_files_and_config_come_when_asked_for(ask: Ask) -> None:
    in_hub_cache("org/tiny", random_model)
    plain = ask("show", "tiny", "--json").json["data"]
    assert plain.keys() == {"model"}
    data = ask("show", "tiny", "--files", "--config", "--json").json["data"]
    assert {"name": "model.safetensors", "size_bytes": data["files"][2]["size_bytes"], "kind": "weights"} in data[
        "files"
    ]
    assert data["config"]["model_type"] == "llama"
    text = ask("show", "tiny", "--files", "--config").stdout
    assert "tokenizer.json" in text and '"model_type": "llama"' in text


def test_sampling_defaults_and_the_template_are_shown(ask: Ask) -> None:
    snapshot = in_hub_cache("org/tiny", random_model)
    assert "temperature 0.7 (default of mlxk run; mlxk serve: 1)" in ask("show", "tiny").stdout
    (snapshot / "generation_config.json").unlink(missing_ok=True)
    (snapshot / "generation_config.json").write_text('{"temperature": 0.6, "top_p": 0.95}')
    text = ask("show", "tiny").stdout
    assert "temperature 0.6 (generation_config.json)" in text and "top_p 0.95 (generation_config.json)" in text
    assert shown(ask("show", "tiny", "--json"))["sampling"] == {"temperature": 0.6, "top_p": 0.95}
    template = ask("show", "tiny", "--template", "--json").json["data"]["template"]
    assert template and template.splitlines()[0] in ask("show", "tiny", "--template").stdout


def test_numbers_that_json_does_not_have_are_shown_as_texts(ask: Ask) -> None:
    """Configs of Mamba 2 and its relatives hold them."""
    configured(in_hub_cache("org/mamba", random_model), time_step_limit=[0.0, float("inf")])
    result = ask("show", "mamba", "--config", "--json")
    assert result.code == 0 and result.json["data"]["config"]["time_step_limit"] == [0.0, "Infinity"]
    assert "Infinity" in ask("show", "mamba", "--config").stdout


def test_a_config_is_shown_however_deep_it_is(ask: Ask) -> None:
    snapshot = in_hub_cache("org/deep", random_model)
    file = snapshot / "config.json"
    file.write_text(f'{file.read_text().rstrip().removesuffix("}")}, "deep": {"[" * 600}{"]" * 600}}}')
    assert ask("show", "deep", "--config", "--json").stdout.count("[") > 600


def test_nothing_a_model_says_steers_the_terminal(ask: Ask) -> None:
    evil = "\x1b]0;owned\x07\x9b2J\n"
    snapshot = in_hub_cache("org/evil", random_model)
    configured(snapshot, model_type=evil, quantization_config={"quant_method": evil})
    (snapshot / f"{evil}.txt").write_text("")
    for command in (["show", "evil", "--files"], ["list", "--all", "--verbose"], ["health"], ["run", "evil", "Hi"]):
        result = ask(*command)
        assert not set("\x1b\x07\x9b") & set(result.stdout + result.stderr), command
        assert "\\x1b]0;owned\\x07\\x9b2J" in result.stdout + result.stderr, command


def test_a_damaged_generation_config_is_shown_as_damage(ask: Ask) -> None:
    snapshot = in_hub_cache("org/broken", random_model)
    (snapshot / "generation_config.json").write_text("null")
    result = ask("show", "broken")
    assert result.code == 0 and "generation_config.json is not a JSON object." in result.stdout
    assert shown(ask("show", "broken", "--json"))["sampling"] == {}


def test_a_damaged_model_is_shown_with_what_ails_it(ask: Ask) -> None:
    snapshot = in_hub_cache("org/broken", random_model)
    for name in ("config.json", "tokenizer_config.json"):
        (snapshot / name).unlink()
    (snapshot / "config.json").write_text("{")
    result = ask("show", "broken")
    assert result.code == 0 and "config.json is not valid JSON" in result.stdout
    model = shown(ask("show", "broken", "--json"))
    assert (model["healthy"], model["runnable"]) == (False, False)
    assert model["reason"] == model["problems"][0]["message"]


def test_a_folder_and_a_gguf_file_are_shown_by_path(ask: Ask, tmp_path: Path, gguf: Callable[..., Path]) -> None:
    model = shown(ask("show", str(random_model(tmp_path / "mine")), "--json"))
    assert (model["origin"], model["name"], model["revision"]) == ("path", "mine", None)
    file = gguf(tmp_path / "one-Q4_0.gguf", [("token_embd.weight", (64, 32), "Q4_0")])
    model = shown(ask("show", str(file), "--json"))
    assert (model["framework"], model["quantization"][0]["label"]) == ("GGUF", "Q4_0")


def test_an_unknown_or_ambiguous_name_is_an_error_with_candidates(ask: Ask) -> None:
    for name in ("org/one-tiny", "org/two-tiny"):
        in_hub_cache(name, random_model)
    several = ask("show", "tiny")
    assert (
        several.code == 1
        and several.stderr.splitlines()[1:] == ["  org/one-tiny", "  org/two-tiny"]
        and several.stdout == ""
    )
    assert ask("show", "tiny", "--json").json["error"]["details"]["candidates"] == ["org/one-tiny", "org/two-tiny"]
    missing = ask("show", "nope", "--json")
    assert (missing.code, missing.json["error"]["type"]) == (1, "model_not_found")


LAYER = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("tensors", "method", "label"),
    [
        ({"qweight": ("I32", (8, 64)), "scales": ("F16", (1, 64)), "g_idx": ("I32", (64,))}, "gptq", "gptq"),
        ({"qweight": ("I32", (8, 64)), "scales": ("F16", (1, 64))}, "gptq", "gptq"),
        ({"qweight": ("I32", (64, 8)), "scales": ("F16", (1, 64))}, "awq", "awq"),
        ({"weight": ("U8", (2048, 1)), "weight.absmax": ("F32", (64,))}, "bitsandbytes", "bitsandbytes"),
        (
            {"weight": ("U32", (64, 8)), "scales": ("F16", (64, 1)), "biases": ("F16", (64, 1))},
            "mlx",
            "int4 (group 64)",
        ),
        ({"weight": ("F8_E4M3", (64, 64))}, "none", "fp8"),
        ({"weight": ("I32", (64, 8))}, "none", "unknown"),
    ],
)
def test_packed_tensors_that_no_config_declares_do_not_run(
    ask: Ask, safetensors: Callable[..., Path], tensors: dict[str, Any], method: str, label: str
) -> None:
    snapshot = in_hub_cache("org/packed", random_model)
    (snapshot / "model.safetensors").unlink()
    safetensors(snapshot / "model.safetensors", {f"{LAYER}.{name}": each for name, each in tensors.items()})
    model = ask("show", "packed", "--json").json["data"]["model"]
    [stored] = model["quantization"]
    assert (stored["method"], stored["label"], stored["runnable"]) == (method, label, False)
    assert (model["healthy"], model["runnable"], model["backend"]) == (True, False, None)
    assert "`org/packed` cannot be run" in model["reason"]


def test_each_value_says_where_it_comes_from(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = in_hub_cache("mlx-community/tiny", random_model)
    (snapshot / "generation_config.json").write_text('{"temperature": 0.6, "top_p": 0.95}')
    (tmp_path / "own.jinja").write_text("{{ messages }}")
    config = tmp_path / "config.toml"
    config.write_text(
        '[defaults]\ntemperature = 0.25\nttl = "never"\n[models.tiny]\nsystem = "Be brief."\nstop = ["END"]\n'
        'context_length = 512\nchat_template = "own.jinja"\nbackend = "mlx"\n'
    )
    monkeypatch.setenv("MLXK_CONFIG", str(config))
    settings = {each["name"]: each for each in shown(ask("show", "tiny", "--json"))["settings"]}
    origins = {name: (each["source"], each["origin"]) for name, each in settings.items()}
    assert origins["temperature"] == ("settings", "[defaults] in config.toml, line 2")
    assert origins["top_p"] == ("model", "generation_config.json")
    assert origins["repetition_penalty"][0] == "mlxk"
    own = {name: each["origin"].rpartition(" ")[2] for name, each in settings.items() if "tiny" in each["origin"]}
    assert own == {"system": "5", "stop": "6", "context_length": "7", "chat_template": "8", "backend": "9"}
    assert settings["ttl"]["value"] == "never" and settings["chat_template"]["value"] == str(tmp_path / "own.jinja")
    text = ask("show", "tiny").stdout
    assert "0.25 ([defaults] in config.toml, line 2)" in text and "512 tokens ([models." in text
    assert ask("show", "tiny", "--template").stdout.endswith("{{ messages }}\n")


@pytest.mark.parametrize("command", [["list"], ["show", "tiny"], ["health"], ["rm", "tiny", "-f"]])
def test_a_settings_file_that_cannot_be_read_is_an_error(
    ask: Ask, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_hub_cache("org/tiny", random_model)
    monkeypatch.setenv("MLXK_CONFIG", str(tmp_path))
    result = ask(*command)
    assert result.code != 0 and str(tmp_path) in result.stderr + result.stdout
    assert "Traceback" not in result.stderr
