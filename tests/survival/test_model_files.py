"""Survives … the files of a model: whatever they contain, only the request for that model fails."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mlxk_core.api.models import read_gguf_header
from mlxk_testing.tiny_models import mxfp4_model, random_model
from tests.gguf.conftest import make_original
from tests.prepared_command import prepared

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

COMMIT = "a" * 40
BACKTRACKING = {"type": "Split", "pattern": {"Regex": "(?:(x+x+)+y)|(a*)*b"}, "behavior": "Isolated", "invert": False}


def edit(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **changes}))


def append(folder, name, text):
    path = folder / name
    path.write_text(path.read_text().rstrip().removesuffix("}") + text + "}")


def brackets(folder):
    append(folder, "tokenizer.json", ', "x": [' + "[]," * 15_000_000 + "[]]")


def added_tokens(folder):
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    edit(
        folder,
        "tokenizer.json",
        added_tokens=[{**token, "id": 300 + number, "content": f"<|{number}|>"} for number in range(200_000)],
    )


def regex(folder):
    edit(folder, "tokenizer.json", pre_tokenizer=BACKTRACKING)


def overlap(folder):
    """Every tensor begins where the first one does: 80,000 tensors could ask for any amount of memory."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:end])
    for tensor in header.values():
        first, last = tensor.get("data_offsets", (0, 0))
        tensor["data_offsets"] = [0, last - first]
    header = json.dumps({name: tensor for name, tensor in header.items() if name != "__metadata__"}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[end:])


def doubling(folder):
    """A space becomes a letter of two bytes, each of them another one, and so on: 2^30 bytes for one."""
    edit(folder, "tokenizer.json", normalizer={"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 30})


def repeated_text(folder):
    """After tokenizing, the tokens of the text come 1,400 times."""
    text = {"Sequence": {"id": "A", "type_id": 0}}
    template = {"type": "TemplateProcessing", "single": [text] * 1400, "pair": [text], "special_tokens": {}}
    edit(folder, "tokenizer.json", post_processor=template)


def versioned(damage, name, setting):
    """The file `name` is damaged, and there is a sound one; its other name is the one that transformers prefers."""

    def replace(folder):
        sound = (folder / name).read_bytes()
        damage(folder)
        (folder / name).rename(folder / name.replace(".json", ".4.0.json"))
        (folder / name).write_bytes(sound)
        edit(folder, setting[0], **{setting[1]: [name.replace(".json", ".4.0.json")]})

    return replace


def far_number(folder):
    """mlx-lm makes a list of a billion for the layers of a tower, which it then leaves out."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({**json.loads(data[8:end]), "vision_tower.1000000000.x": empty}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[end:])
    edit(folder, "config.json", model_type="gemma3")


def other_settings(folder):
    """mlx-lm opens this file although the config has settings of its own."""
    edit(folder, "config.json", quantization={"group_size": 64, "bits": 4})
    os.mkfifo(folder / "hf_quant_config.json")


def unknown_token(folder):
    """The tokenizer panics, which is no `Exception`, for a text with special tokens around it."""
    random_model(folder, bos="<s>")
    processor = json.loads((folder / "tokenizer.json").read_text())["post_processor"]
    processor["single"][0]["SpecialToken"]["id"] = "?"
    edit(folder, "tokenizer.json", post_processor=processor)


def zero_groups(folder):
    """MLX divides by the group size of a quantized layer."""
    mxfp4_model(folder)
    settings = {"group_size": 32, "bits": 4, "mode": "mxfp4"}
    layer = {"model.layers.0.self_attn.q_proj": {"group_size": 0, "bits": 4}}
    edit(folder, "config.json", quantization={**settings, **layer}, quantization_config=settings)


def nan(folder):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    path.write_bytes(data[:end] + b"\xff" * (len(data) - end))


def index(**shards):
    return lambda folder: edit(folder, "model.safetensors.index.json", weight_map=shards)


def gguf(**metadata):
    """A GGUF file in the place of all others, with these values under `general.` or `llama.`."""

    def replace(folder):
        with tempfile.TemporaryDirectory() as place:
            original = make_original(Path(place) / "original")
            clear(folder)
            extra = {}
            for key, value in metadata.items():
                section = "" if "tokenizer." in key else "general." if key in ("alignment", "x") else "llama."
                extra[f"{section}{key}"] = value
            original.to_gguf(folder / "tiny.gguf", extra=extra)

    return replace


def gguf_overlap(folder):
    """Every tensor begins where the weights do: 100,000 tensors could ask for any amount of memory."""
    gguf()(folder)
    path = folder / "tiny.gguf"
    data = path.read_bytes()
    for tensor in read_gguf_header(path).tensors:
        name = tensor.name.encode() + struct.pack(f"<I{len(tensor.shape)}QI", len(tensor.shape), *tensor.shape, 0)
        data = data.replace(name + struct.pack("<Q", tensor.offset), name + bytes(8))
    path.write_bytes(data)


def many_headers(folder):
    """Files that are headers only: each is small, and all together list hundreds of thousands of tensors."""
    for number in range(10):
        names = (f"a{number}_{index}" for index in range(32_000))
        header = json.dumps({name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in names}).encode()
        (folder / f"model-{number}.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)


def long_header(*, tensors=0, metadata=0):
    """MLX reads it with the interpreter locked, for seconds."""

    def add(folder):
        names = (f"a{index}" for index in range(tensors))
        header = {name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in names}
        header = {"__metadata__": {f"{number}": "" for number in range(metadata)}, **header}
        data = json.dumps(header).encode()
        (folder / "model-x.safetensors").write_bytes(struct.pack("<Q", len(data)) + data)

    return add


def many_axes(folder):
    """The product of their sizes is a number of millions of bits."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**15 - 1] * 30_000, "data_offsets": [0, 0]}}).encode()
    (folder / "model-x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)


def many_templates(folder):
    """Sparse files: half a megabyte on the disk, ten gigabytes of text."""
    (folder / "additional_chat_templates").mkdir()
    for number in range(600):
        with (folder / "additional_chat_templates" / f"{number}.jinja").open("wb") as file:
            file.truncate(16 << 20)


def many_indexes(folder):
    """Links to one file of megabytes."""
    first = folder / "m0.safetensors.index.json"
    first.write_text(json.dumps({"weight_map": {f"{number}": f"{number}.safetensors" for number in range(260_000)}}))
    for number in range(1, 150):
        (folder / f"m{number}.safetensors.index.json").hardlink_to(first)


def gguf_shards(folder):
    """Links to one file: the header of each has the whole vocabulary."""
    gguf(**{"tokenizer.ggml.tokens": [f"token {number}" for number in range(200_000)]})(folder)
    [file] = folder.glob("*.gguf")
    for number in range(1, 301):
        (folder / f"m-{number:05}-of-00300.gguf").hardlink_to(file)
    file.unlink()


def many_files(folder):
    for number in range(10_001):
        os.close(os.open(folder / f"{number}.txt", os.O_CREAT | os.O_WRONLY))


def clear(folder):
    for path in folder.iterdir():
        path.unlink()


def nest(folder, depth):
    """Make folders in each other, which together have a longer path than the system takes, with a file in the last."""
    folder.mkdir(exist_ok=True)
    place = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("a", dir_fd=place)
        below = os.open("a", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(os.open("x.json", os.O_CREAT | os.O_WRONLY, dir_fd=place))
    os.close(place)


def pipe(name):
    def replace(folder):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return replace


HOSTILE = {
    "a hundred and fifty indexes": (many_indexes, "broken_model"),
    "six hundred chat templates": (many_templates, "broken_model"),
    "hundreds of shards with a vocabulary": (gguf_shards, "unsupported_model"),
    "hundreds of thousands of tensors in small files": (many_headers, "broken_model"),
    "a header of too many tensors": (long_header(tensors=33_000), "broken_model"),
    "a header of too many notes": (long_header(metadata=2_000), "broken_model"),
    "a header of hundreds of thousands of notes": (long_header(metadata=395_000), "broken_model"),
    "a tensor of thirty thousand axes": (many_axes, "broken_model"),
    "a tokenizer.json of fifteen million lists": (brackets, "broken_model"),
    "two hundred thousand added tokens": (added_tokens, "broken_model"),
    "a pattern that backtracks": (regex, "broken_model"),
    "a normalizer that doubles each byte": (doubling, "broken_model"),
    "a tokenizer under another name": (
        versioned(doubling, "tokenizer.json", ("tokenizer_config.json", "fast_tokenizer_files")),
        "broken_model",
    ),
    "five million values in a config": (
        lambda folder: append(folder, "config.json", ', "x": [' + "[]," * 5_000_000 + "[]]"),
        "broken_model",
    ),
    "three million values in a generation config": (
        lambda folder: append(folder, "generation_config.json", ', "x": [' + "[]," * 3_000_000 + "[]]"),
        "broken_model",
    ),
    "a chat template of 16 MB": (
        lambda folder: (folder / "chat_template.jinja").write_text("{{ x }}" * 2_000_000),
        "broken_model",
    ),
    "yarn without a factor": (lambda f: edit(f, "config.json", rope_scaling={"rope_type": "yarn"}), "broken_model"),
    "a setting that points outside of an array": (
        lambda f: edit(f, "config.json", text_config={"altup_active_idx": 10**6, "altup_num_inputs": 4}),
        "broken_model",
    ),
    "a group size of zero": (zero_groups, "broken_model"),
    "an index that points outside": (
        lambda f: edit(f, "model.safetensors.index.json", weight_map={"lm_head.weight": "../../../../etc/passwd"}),
        "broken_model",
    ),
    "an index of numbers": (index(a=1, b=None, c="model.safetensors"), "broken_model"),
    "an index with half a character": (index(a="\ud800.safetensors"), "broken_model"),
    "a template with half a character": (
        lambda f: edit(f, "tokenizer_config.json", chat_template="\ud800"),
        "broken_model",
    ),
    "a template of millions of control characters": (
        lambda f: edit(f, "tokenizer_config.json", chat_template=r'{{ "\x00" * 20000000 }}'),
        "template_limit_exceeded",
    ),
    "tensors that overlap": (overlap, "broken_model"),
    "a file name that is not UTF-8": (
        lambda folder: Path(os.fsdecode(os.fsencode(folder) + b"/q\xff-Q4_0.gguf")).write_bytes(b"GGUF" + bytes(99)),
        "broken_model",
    ),
    "a device as a file": (lambda f: (f / "special_tokens_map.json").symlink_to("/dev/zero"), "broken_model"),
    "special tokens of many names": (
        lambda f: edit(f, "tokenizer_config.json", **{f"k{number}_token": "s" * 900 for number in range(100)}),
        "broken_model",
    ),
    "a special token of three megabytes": (
        lambda f: edit(f, "tokenizer_config.json", eos_token="e" * 3_000_000),
        "broken_model",
    ),
    "an empty file": (lambda f: (f / "special_tokens_map.json").write_text(""), "broken_model"),
    "weights that are not numbers": (nan, "broken_model"),
    "a GGUF file without alignment": (gguf(alignment=0), "unsupported_model"),
    "a GGUF file whose tensors overlap": (gguf_overlap, "unsupported_model"),
    "a million numbers in the place of one": (
        gguf(**{"attention.layer_norm_rms_epsilon": [7] * 1_000_000}),
        "unsupported_model",
    ),
    "two million numbers in the place of a name": (
        gguf(**{"rope.scaling.type": [random.uniform(1e-37, 1e-30) for _ in range(2_000_000)]}),
        "unsupported_model",
    ),
    "a GGUF template of 60 megabytes": (gguf(**{"tokenizer.chat_template": " + " * 20_000_000}), "unsupported_model"),
    "ten thousand files": (many_files, "broken_model"),
    "a pipe as weights": (pipe("model.safetensors"), "broken_model"),
    "a pipe as a tokenizer": (pipe("tokenizer.json"), "broken_model"),
    "a pipe that only transformers reads": (pipe("added_tokens.json"), "broken_model"),
    "a pipe that only mlx-lm reads": (other_settings, "broken_model"),
    "a tensor with a number of a billion": (far_number, "broken_model"),
}


LABELS = versioned(
    lambda folder: edit(folder, "config.json", num_labels=10**8), "config.json", ("config.json", "configuration_files")
)
INFINITE = '{"temperature": NaN, "top_p": 1e999, "top_k": -1e999, "min_p": 1%s, "do_sample": true}' % ("0" * 400)


def write(name, damage=lambda folder: None, *, context=2048):
    """Put a tiny model into the hub cache, where its files may be anything."""
    from mlxk_core.api.models import cache_folder_name, hub_cache

    repository = hub_cache() / cache_folder_name(name)
    folder = repository / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    random_model(folder, context=context)
    damage(folder)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server process with every hostile model and two sound ones, within 6 GB, and the folder of the second."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        patch.delenv("HF_HUB_CACHE", raising=False)
        write("hostile/sound", context=48)
        served = write("hostile/served", context=48)
        write("hostile/late")
        write("hostile/infinite", lambda folder: (folder / "generation_config.json").write_text(INFINITE))
        write("hostile/unknown-token", unknown_token)
        write("hostile/repeats", repeated_text)
        write("hostile/labels", LABELS)
        named = write("hostile/name").parents[1]
        named.rename(named.with_name("models--hostile--\udcff"))  # bytes that are not UTF-8
        for name, (damage, _) in HOSTILE.items():
            write(f"hostile/{name.replace(' ', '-')}", damage)
        command = [sys.executable, "-m", "mlxk_core", "serve", "--port", "0", "--json", "--log-level", "error"]
        limited = prepared(command, seconds=3600, limits={"RLIMIT_AS": 6 << 30})
        process = subprocess.Popen(limited, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    document = ""
    while not document.endswith("\n}\n"):
        line = process.stdout.readline()
        assert line, "the server did not start"
        document += line
    yield process, json.loads(document)["data"]["port"], served
    process.send_signal(signal.SIGTERM)
    assert process.wait(180) == 0


class Sound:
    """What `Watch` needs: the process, and a client of the sound model."""

    def __init__(self, kit, process, port):
        self.popen = process
        self.client = kit.Client(port, model="hostile/sound")


@pytest.fixture
def watch(server, kit):
    return kit.Watch(Sound(kit, *server[:2]))


def test_survives_a_list_of_hostile_models(server, watch, kit):
    with watch:
        listed = kit.Client(server[1], model="").get("/v1/models")
    assert "hostile/sound" in [model["id"] for model in listed.json["data"]]


def test_survives_files_that_change_and_go_while_they_are_served(server, watch, kit):
    _, port, folder = server
    client = kit.Client(port, model="hostile/served")
    with watch:
        expected = client.chat(temperature=0).text
        pipe("config.json")(folder)
        (folder / "model.safetensors").write_bytes(b"")
        assert client.chat(temperature=0).text == expected
        with client.chat_stream(temperature=0) as events:
            stream = iter(events)
            first = next(stream)
            shutil.rmtree(folder.parents[1])
            chunks = [first, *(event for event in stream if event != "[DONE]")]
        assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == expected
        kit.until(lambda: client.chat().status == 404)


def test_survives_a_thousand_folders_in_each_other(server, watch, kit, monkeypatch):
    _, port, served = server
    monkeypatch.setenv("HF_HOME", str(served.parents[3]))
    repository = write("hostile/deep").parents[1]
    try:
        for name in ("snapshots", "refs"):
            nest(repository / name / (COMMIT if name == "snapshots" else "x"), 1500)
        with watch:
            client = kit.Client(port, model="hostile/deep")
            assert client.chat(max_tokens=1).status == 200
            listed = {model["id"] for model in client.get("/v1/models").json["data"]}
        assert listed >= {"hostile/deep", "hostile/sound"}
        shown = subprocess.run([sys.executable, "-m", "mlxk_core", "show", "hostile/deep"], capture_output=True)
        assert shown.returncode == 0
    finally:
        subprocess.run(["rm", "-rf", repository], check=True)  # shutil calls itself for each


def test_survives_a_tokenizer_that_repeats_a_text(server, watch, kit):
    """It made a hundred million tokens of it."""
    with watch:
        body = {"model": "hostile/repeats", "prompt": "a" * 60_000}
        answer = kit.Client(server[1]).post("/v1/completions", body)
    assert (answer.status, answer.json["error"]["param"]) == (400, "prompt")


def test_survives_a_config_under_another_name(server, watch, kit):
    """transformers, which reads the tokenizer, would list its labels: they took the memory of the server."""
    with watch:
        assert kit.Client(server[1], model="hostile/labels").chat(max_tokens=1).status == 200


@pytest.mark.parametrize("path", ["/v1/completions", "/tokenize"])
def test_survives_a_tokenizer_that_panics(server, watch, kit, path):
    with watch:
        answer = kit.Client(server[1]).post(path, {"model": "hostile/unknown-token", "prompt": "Hi"})
    assert (answer.status, answer.json["error"]["code"]) == (500, "broken_model")


def test_survives_a_load_without_free_threads(server, watch, kit):
    process, port, _ = server
    late = kit.Client(port, model="hostile/late")
    with watch:
        status = Path(f"/proc/{process.pid}/status").read_text()
        taken = int(status.partition("VmSize:")[2].split()[0]) << 10
        limits = resource.prlimit(process.pid, resource.RLIMIT_AS)
        resource.prlimit(process.pid, resource.RLIMIT_AS, (taken + (20 << 20), limits[1]))
        answer = late.chat(max_tokens=1)
        resource.prlimit(process.pid, resource.RLIMIT_AS, limits)
        assert (answer.status, answer.json["error"]["code"]) == (503, "system_limit")
        assert late.chat(max_tokens=1).status == 200


def test_survives_sampling_values_without_an_end(server, watch, kit):
    with watch:
        answer = kit.Client(server[1], model="hostile/infinite").chat(max_tokens=1)
    assert answer.status == 200


@pytest.mark.parametrize("name", HOSTILE)
def test_survives(server, watch, kit, name):
    with watch:
        answer = kit.Client(server[1], model=f"hostile/{name.replace(' ', '-')}").chat("a" * 500 + "x" * 60)
    assert answer.json["error"]["code"] == HOSTILE[name][1]
