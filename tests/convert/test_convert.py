"""`mlxk convert`: tiny real models, quantized on the CPU."""

import fcntl
import json
import os
import signal
import sys
from pathlib import Path

import pexpect
import pytest

from mlxk_convert.destination import Destination
from mlxk_testing.fixtures import run_in_process
from mlxk_testing.tiny_models import in_hub_cache, random_model, scripted_model

SENTENCE = "Paris is the capital of France."


@pytest.fixture
def talker(hub_cache):
    """A model of the cache that says one sentence, also when it is quantized."""
    return in_hub_cache("acme/talker", lambda folder: scripted_model(folder, SENTENCE, dtype="bfloat16"))


def convert(*args):
    """Run the command in this process, with the installed plugins."""
    return run_in_process("convert", *map(str, args), "--json")


def test_a_quantized_model_is_in_the_cache_and_still_says_the_same(mlxk, hub_cache):
    in_hub_cache("acme/wide", lambda folder: random_model(folder, hidden=128, dtype="bfloat16"))
    data = mlxk("convert", "wide", "--json").json["data"]
    assert data["model"] == "local/wide-4bit" and data["quantization"] == {
        "mode": "affine",
        "bits": 4,
        "group_size": 64,
        "mixed": False,
    }
    assert 4 < data["bits_per_weight"] < 5 and data["dtype"] == "bfloat16"
    listed = {model["name"]: model for model in run_in_process("list", "--json").json["data"]["models"]}
    assert listed["local/wide-4bit"]["healthy"] and listed["local/wide-4bit"]["quantization"][0]["bits"] == 4
    assert listed["local/wide-4bit"]["size_bytes"] == data["size_bytes"]
    assert run_in_process("run", "wide-4bit", "Hi", "--max-tokens", "3").code == 0
    # The first name is still the first model, although it is a part of the second name.
    assert run_in_process("show", "wide", "--json").json["data"]["model"]["name"] == "acme/wide"
    assert run_in_process("health", "local/wide-4bit", "--verify").code == 0  # no hub has it
    (Path(data["path"]) / "model.safetensors").unlink()
    damaged = run_in_process("health", "local/wide-4bit")
    assert damaged.code == 1 and "pull" not in damaged.stderr
    assert run_in_process("rm", "-f", "local/wide-4bit").code == 0


@pytest.mark.parametrize("target", ["../id_rsa", "notes/.env"])
def test_a_link_to_a_secret_is_not_copied(tmp_path, target):
    random_model(tmp_path / "cloned")
    (tmp_path / "id_rsa").write_text("secret")
    (tmp_path / "cloned" / "notes").mkdir()
    (tmp_path / "cloned" / "notes" / ".env").write_text("secret")
    (tmp_path / "cloned" / "LICENSE.txt").symlink_to(target)
    result = convert(tmp_path / "cloned", tmp_path / "out", "--no-quantize")
    assert result.code == 1 and "`LICENSE.txt`" in result.json["error"]["message"]
    assert not (tmp_path / "out").exists()


def test_a_link_inside_of_the_folder_is_copied(tmp_path):
    random_model(tmp_path / "source")
    (tmp_path / "source" / "LICENSE.txt").write_text("free")
    (tmp_path / "source" / "COPYING.txt").symlink_to("LICENSE.txt")
    assert convert(tmp_path / "source", tmp_path / "out", "--no-quantize").code == 0
    assert (tmp_path / "out" / "COPYING.txt").read_text() == "free"


def test_nothing_is_overwritten(hub_cache, tmp_path, talker):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("mine")
    assert convert(talker, "--no-quantize", "--name", "once").code == 0
    again = convert(talker, "--no-quantize", "--name", "once")
    assert again.code == 2 and "mlxk rm local/once" in again.json["error"]["message"]
    assert convert(talker, tmp_path / "kept").code == 2
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["file"]


def test_a_folder_is_written_whole_and_without_code(tmp_path):
    source = random_model(tmp_path / "source", hidden=128)
    (source / "modeling.py").write_text("raise SystemExit")
    (source / "training_args.bin").write_bytes(b"x")
    (source / "README.md").write_text("---\nlicense: mit\n---\nHello")
    (source / "LICENSE").write_text("MIT")
    data = convert(source, tmp_path / "out", "--mode", "mxfp4", "--dtype", "float16").json["data"]
    assert data["quantization"]["mode"] == "mxfp4" and data["dtype"] == "float16" and data["revision"] is None
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.safetensors", "tokenizer.json", "LICENSE"} <= names
    assert not {"modeling.py", "training_args.bin"} & names
    assert "license: mit" in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "float16"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_of_a_model_card_only_the_beginning_is_read(tmp_path):
    """The rest is a terabyte of nothing."""
    source = random_model(tmp_path / "source")
    with (source / "README.md").open("w") as file:
        file.write("---\nlicense: mit\n---\nHello")
        file.truncate(1 << 40)
    assert convert(source, tmp_path / "out", "--no-quantize").code == 0
    assert "license: mit" in (tmp_path / "out" / "README.md").read_text()


def test_plain_weights_come_back_from_quantized_ones(tmp_path):
    random_model(tmp_path / "source", hidden=128)
    assert convert(tmp_path / "source", tmp_path / "small", "--bits", "8").code == 0
    twice = convert(tmp_path / "small", tmp_path / "again")
    assert twice.code == 2 and "--dequantize" in twice.json["error"]["message"]
    plain = convert(tmp_path / "small", tmp_path / "plain", "--dequantize").json["data"]
    assert plain["quantization"] is None and plain["bits_per_weight"] == 32
    texts = {
        name: run_in_process("run", str(tmp_path / name), "Hi", "-t", "0", "--max-tokens", "5").stdout
        for name in ("small", "plain")
    }
    assert texts["small"] == texts["plain"]


@pytest.mark.parametrize(
    ("change", "type"),
    [
        ({"model_type": "unheard_of", "architectures": ["Unheard"]}, "unsupported_model"),
        ({"model_file": "model.py"}, "unsupported_model"),
        (None, "broken_model"),
    ],
)
def test_what_mlx_lm_cannot_convert_is_an_error_and_nothing_is_written(tmp_path, change, type):
    source = random_model(tmp_path / "source", hidden=128)
    if change is None:
        whole = (source / "model.safetensors").read_bytes()
        (source / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    else:
        config = json.loads((source / "config.json").read_text()) | change
        (source / "config.json").write_text(json.dumps(config))
    result = convert(source, tmp_path / "out")
    assert result.code == 1 and result.json["error"]["type"] == type
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    "options",
    [
        ("--bits", "3", "--mode", "nvfp4"),
        ("--bits", "4", "--dequantize"),
        ("--no-quantize", "--dequantize"),
        ("--recipe", "mixed_4_6", "--bits", "4"),
        ("--name", "../x"),
        ("--name", "a/b/c"),
    ],
)
def test_options_that_exclude_each_other_are_an_error(options, talker):
    assert convert(talker, *options).code == 2


def test_a_group_size_that_fits_no_layer_is_an_error_or_a_warning(tmp_path):
    random_model(tmp_path / "narrow", hidden=16)
    result = convert(tmp_path / "narrow", tmp_path / "out")
    assert result.json["error"]["details"]["group_size"] == 64
    random_model(tmp_path / "mixed", hidden=32)
    assert "warning" in convert(tmp_path / "mixed", tmp_path / "out").stderr


def test_a_full_disk_leaves_nothing(tmp_path):
    random_model(tmp_path / "source", hidden=256)
    limited = tmp_path / "limited.sh"
    limited.write_text(f"ulimit -f 200\nexec {sys.executable} -m mlxk_core convert ./source out --json\n")
    child = pexpect.run(f"bash {limited}", cwd=str(tmp_path), withexitstatus=True, timeout=180)
    assert child[1] == 1 and b"not_writable" in child[0]
    assert not list(tmp_path.glob("*out*")) and not list(tmp_path.glob(".out*"))


def test_ctrl_c_leaves_nothing(tmp_path):
    random_model(tmp_path / "source", hidden=1024, layers=6)
    command = ["-m", "mlxk_core", "convert", "./source", "out"]
    child = pexpect.spawn(sys.executable, command, cwd=str(tmp_path), encoding="utf-8", timeout=180)
    child.expect("Converting")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_termination_leaves_nothing(tmp_path):
    with pytest.raises(SystemExit), Destination.folder(tmp_path / "out").stage() as files:
        (files / "half").write_bytes(b"x")
        signal.raise_signal(signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_replaced_and_what_a_running_one_writes_is_not(tmp_path):
    random_model(tmp_path / "source", hidden=128)
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half")
    holder = os.open(partial, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert convert(tmp_path / "source", tmp_path / "out").code == 2
    os.close(holder)
    assert convert(tmp_path / "source", tmp_path / "out").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]
