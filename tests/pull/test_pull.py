"""What a pull downloads, repairs, leaves alone and reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxk_core.api import Model, ModelSourceSpec, hookimpl
from mlxk_testing import assert_light

NAME = "org/tiny"
FOLDER = "models--org--tiny"


@pytest.fixture
def repository(hub, model_files):
    others = {"pytorch_model.bin": b"x" * 100, "modeling.py": b"raise SystemExit", "original/model.safetensors": b"y"}
    return hub.add(NAME, {**model_files, **others, "README.md": b"# tiny", "chat_template.jinja": b"{{ x }}"})


def test_an_accepted_token_pulls_the_weights_with_config_and_tokenizer(
    hub, repository, mlxk, model_files, snapshot, hub_cache, listing
):
    repository.gated, repository.allowed = "manual", {"someone"}
    hub.account("hf_one")
    hub.page_size = 3
    before = listing()
    result = mlxk("pull", NAME, env={"HF_TOKEN": "hf_one"})
    assert result.code == 0, result
    commit = repository.branches["main"]
    assert snapshot(NAME, commit) == {**model_files, "README.md": b"# tiny", "chat_template.jinja": b"{{ x }}"}
    assert (hub_cache / FOLDER / "refs" / "main").read_text() == commit
    assert result.stdout.startswith(f"Downloaded org/tiny ({commit[:7]}): 7 files")
    assert {request.token for request in hub.asked("/cdn/")} == {None}
    assert {request.token for request in hub.asked("/resolve/|/api/")} == {"hf_one"}
    assert {name.split("/")[0] for name in listing().keys() - before.keys()} == {"hub"}
    assert not list((hub_cache / ".locks").rglob("*.lock"))

    healthy = mlxk("health", NAME)
    assert healthy.code == 0, healthy

    with hub.watching() as requests:
        before = listing()
        again = mlxk("pull", NAME, "--json", env={"HF_TOKEN": "hf_one"})
        assert again.json["data"]["status"] == "already_there"
        assert listing() == before
    assert not [one for one in requests if "/resolve/" in one.path]


def test_a_model_that_is_here_needs_no_hub(hub, repository, mlxk, listing, cached):
    cached(repository)
    before = listing()
    result = mlxk("pull", NAME, env={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert result.code == 0
    assert "is already here and healthy" in result.stdout
    assert "Cannot connect to" in result.stderr
    assert listing() == before


@pytest.mark.parametrize(
    "address",
    [
        "https://huggingface.co/org/tiny",
        "hf.co/org/tiny/tree/main",
        "hf://org/tiny",
        "HUB/org/tiny/blob/main/config.json",
        "huggingface.co/org/tiny?library=mlx",
    ],
)
def test_the_address_of_a_page_is_a_name(hub, repository, mlxk, address):
    data = mlxk("pull", address.replace("HUB", hub.url), "--dry-run", "--json").json["data"]
    assert (data["model"], data["revision"]) == (NAME, repository.branches["main"])


def test_the_address_of_a_gguf_file_is_a_variant(hub, mlxk):
    hub.add("org/gguf", {"m-Q4_0.gguf": b"GGUF4", "m-Q8_0.gguf": b"GGUF8888"})
    for address in ("https://huggingface.co/org/gguf/blob/main/m-Q8_0.gguf?download=true", "hf.co/org/gguf:q8_0"):
        assert mlxk("pull", address, "--dry-run", "--json").json["data"]["variant"] == "Q8_0"


def test_several_models_are_pulled_and_a_failure_does_not_stop_the_others(hub, repository, mlxk, model_files, snapshot):
    other = hub.add("org/other", model_files)
    result = mlxk("pull", NAME, "org/nope", "org/other", "--json")
    models = {each["model"]: each["status"] for each in result.json["data"]["models"]}
    assert models == {NAME: "downloaded", "org/nope": "failed", "org/other": "downloaded"}
    assert (result.code, result.json["error"]["type"]) == (1, "not_on_hub")
    assert snapshot("org/other", other.branches["main"]) == model_files


def test_a_complete_model_in_a_cache_that_cannot_be_written_is_already_there(hub, repository, mlxk, hub_cache, cached):
    cached(repository)
    reference = hub_cache / FOLDER / "refs" / "main"
    reference.write_text("0" * 40)
    # A folder in the way of the new file: what a read-only disk does, also for root.
    reference.unlink()
    reference.mkdir()
    result = mlxk("pull", NAME)
    assert result.code == 0 and "already here and healthy" in result.stdout, result


def test_a_dry_run_without_a_hub_foretells_what_a_pull_would_do(hub, repository, mlxk, listing, cached):
    commit = cached(repository)
    before = listing()
    result = mlxk("pull", NAME, "--dry-run", "--json", env={"HF_ENDPOINT": "http://127.0.0.1:9"})
    data = result.json["data"]
    assert (result.code, data["status"], data["revision"], data["downloaded_bytes"]) == (0, "dry_run", commit, 0)
    assert "model.safetensors" in {file["name"] for file in data["files"]}
    assert not any(file["download"] for file in data["files"])
    assert listing() == before


def test_a_name_without_owner_is_one_of_mlx_community_whatever_is_cached(hub, mlxk, model_files):
    from mlxk_testing.tiny_models import in_hub_cache, random_model

    in_hub_cache("other/tiny-large", random_model)
    hub.add("mlx-community/tiny", model_files)
    result = mlxk("pull", "tiny", "--dry-run")
    assert result.code == 0, result
    assert "Using mlx-community/tiny." in result.stderr
    assert "mlx-community/tiny" in result.stdout


def test_a_full_name_never_means_another_model_that_is_cached(hub, mlxk, listing):
    from mlxk_testing.tiny_models import in_hub_cache, random_model

    in_hub_cache("org/tiny-large", random_model)
    before = listing()
    result = mlxk("pull", NAME, "--json")
    assert result.code == 1
    assert result.json["error"]["type"] == "not_on_hub"
    assert listing() == before


def test_a_model_lies_under_the_name_the_hub_spells(hub, repository, mlxk, hub_cache):
    data = mlxk("pull", "Org/TINY", "--dry-run", "--json").json["data"]
    assert data["model"] == NAME
    assert data["path"] == str(hub_cache / FOLDER / "snapshots" / repository.branches["main"])


def test_a_tag_a_branch_and_a_commit_are_revisions(hub, repository, mlxk, model_files, snapshot, hub_cache):
    old = repository.branches["main"]
    repository.branches["v1"] = old
    new = repository.commit({**model_files, "README.md": b"new"})
    result = mlxk("pull", f"{NAME}@v1", "--json")
    tagged = result.json["data"]
    assert (tagged["revision"], tagged["status"], result.stderr) == (old, "downloaded", "")
    assert tagged["downloaded_bytes"] == tagged["size_bytes"]
    assert (hub_cache / FOLDER / "refs" / "v1").read_text() == old
    assert not (hub_cache / FOLDER / "refs" / "main").exists()
    with hub.watching() as requests:
        exact = mlxk("pull", f"{NAME}@{new}", "--json").json["data"]
    assert exact["revision"] == new
    assert snapshot(NAME, new)["README.md"] == b"new"
    assert not [one for one in requests if one.method == "GET" and "safetensors" in one.path], "its content is here"
    assert sorted(path.name for path in (hub_cache / FOLDER / "refs").iterdir()) == ["v1"]


def test_one_gguf_variant_is_taken_where_it_is_asked_for(hub, mlxk, snapshot):
    files = {
        "m-Q4_0.gguf": b"GGUF" * 10,
        "m-Q8_0-00001-of-00002.gguf": b"GGUF" * 20,
        "m-Q8_0-00002-of-00002.gguf": b"GGUF" * 21,
        "README.md": b"two variants",
    }
    commit = hub.add("org/gguf", files).branches["main"]
    data = mlxk("pull", "org/gguf:q8_0", "--dry-run", "--json").json["data"]
    assert data["variant"] == "Q8_0"
    assert [file["name"] for file in data["files"]] == [
        "README.md", "m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf",
    ]  # fmt: skip
    assert data["downloaded_bytes"] == 164 + 12
    assert snapshot("org/gguf", commit) == {}


def test_a_dry_run_shows_the_files_and_writes_nothing(repository, mlxk, listing):
    before = listing()
    result = mlxk("pull", NAME, "--dry-run", "--exclude", "README.md")
    assert result.code == 0
    assert "model.safetensors" in result.stdout and "Would download org/tiny" in result.stdout
    assert "README.md" not in result.stdout and "pytorch_model.bin" not in result.stdout
    assert listing() == before


def test_a_dry_run_of_what_is_here_says_so(repository, mlxk, cached):
    cached(repository)
    assert "is already here; nothing would be downloaded" in mlxk("pull", NAME, "--dry-run").stdout


def test_include_takes_the_place_of_the_usual_files(repository, mlxk):
    result = mlxk("pull", NAME, "--include", "*.bin", "--include", "config.json", "--dry-run", "--json")
    assert [file["name"] for file in result.json["data"]["files"]] == ["config.json", "pytorch_model.bin"]


def test_a_truncated_file_is_repaired(hub, repository, mlxk, snapshot, hub_cache, model_files, cached):
    commit = cached(repository)
    weights = hub_cache / FOLDER / "snapshots" / commit / "model.safetensors"
    blob = weights.resolve()
    blob.write_bytes(blob.read_bytes()[:1000])
    (hub_cache / FOLDER / "snapshots" / commit / "tokenizer.json").unlink()
    (blob.parent / f"{blob.name}.deadbeef.incomplete").write_bytes(b"of a run that was killed")
    result = mlxk("pull", NAME, "--json")
    assert result.code == 0, result
    assert snapshot(NAME, commit)["model.safetensors"] == model_files["model.safetensors"]
    assert snapshot(NAME, commit)["tokenizer.json"] == model_files["tokenizer.json"]
    assert not hub.asked("GET .*/tokenizer.json"), "its blob was here all the time"
    assert not list(hub_cache.rglob("*.incomplete"))


def test_a_broken_file_that_is_no_link_is_repaired_too(hub, mlxk, snapshot, model_files):
    from mlxk_testing.tiny_models import in_hub_cache, random_model

    repository = hub.add(NAME, model_files)
    commit = repository.branches["main"]
    folder = in_hub_cache(NAME, random_model, revision=commit)
    (folder / "model.safetensors").write_bytes(b"short")
    result = mlxk("pull", NAME)
    assert result.code == 0, result
    assert "Repaired org/tiny" in result.stdout
    assert snapshot(NAME, commit) == model_files


def test_a_snapshot_of_files_instead_of_links_is_completed_without_its_weights(hub, mlxk, snapshot, model_files):
    from mlxk_testing.tiny_models import in_hub_cache, random_model

    repository = hub.add(NAME, model_files)
    commit = repository.branches["main"]
    folder = in_hub_cache(NAME, random_model, revision=commit)
    for name in ("model.safetensors", "tokenizer.json"):
        content = (folder / name).read_bytes()
        (folder / name).resolve().unlink()
        (folder / name).unlink()
        (folder / name).write_bytes(content)
    (folder / "config.json").unlink()
    result = mlxk("pull", NAME)
    assert result.code == 0, result
    assert snapshot(NAME, commit) == model_files
    assert not hub.asked("GET /cdn/")


def test_a_disk_without_links_keeps_each_file_once(hub, mlxk, snapshot, model_files, hub_cache):
    repository = hub.add(NAME, model_files)
    result = mlxk("pull", NAME, env={"HF_HUB_DISABLE_SYMLINKS": "1"})
    assert result.code == 0, result
    assert snapshot(NAME, repository.branches["main"]) == model_files
    assert not [path for path in hub_cache.rglob("*") if path.is_symlink()]
    assert not list((hub_cache / FOLDER / "blobs").iterdir())


def test_links_that_are_gone_are_repaired_without_a_download(hub, repository, mlxk, snapshot, hub_cache, cached):
    commit = cached(repository)
    before = snapshot(NAME, commit)
    for name in ("config.json", "model.safetensors"):
        (hub_cache / FOLDER / "snapshots" / commit / name).unlink()
    result = mlxk("pull", NAME)
    assert result.code == 0, result
    assert "Repairing" in result.stderr and "only links are missing" in result.stderr
    assert "Repaired org/tiny" in result.stdout
    assert snapshot(NAME, commit) == before
    assert not hub.asked("GET /org/tiny/resolve/|GET /cdn/")
    (hub_cache / FOLDER / "snapshots" / commit / "config.json").unlink()
    data = mlxk("pull", NAME, "--json").json["data"]
    assert (data["status"], data["downloaded_bytes"]) == ("repaired", 0)


def test_parts_beside_a_whole_model_are_cleared(hub, repository, mlxk, hub_cache, cached):
    cached(repository)
    part = hub_cache / FOLDER / "blobs" / "0123.deadbeef.incomplete"
    for offline in ({}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        part.write_bytes(b"of a run that was killed")
        assert mlxk("pull", NAME, "--dry-run", env=offline).code == 0 and part.exists()
        result = mlxk("pull", NAME, env=offline)
        assert result.code == 0 and "Removed 1 partial file of an interrupted download." in result.stderr
        assert not part.exists()


def test_verify_finds_a_flipped_byte_and_repairs_it(repository, mlxk, snapshot, hub_cache, model_files, cached):
    commit = cached(repository)
    blob = (hub_cache / FOLDER / "snapshots" / commit / "model.safetensors").resolve()
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    assert mlxk("pull", NAME, "--json").json["data"]["status"] == "already_there"
    result = mlxk("pull", NAME, "--verify", "--json")
    assert result.json["data"]["status"] == "repaired" and result.json["data"]["verified"] is True
    assert snapshot(NAME, commit)["model.safetensors"] == model_files["model.safetensors"]


def test_a_repository_that_is_broken_itself_is_not_called_fine(hub, mlxk, model_files):
    hub.add(NAME, {**model_files, "model.safetensors": b"not safetensors"})
    result = mlxk("pull", NAME, "--json")
    assert result.code == 1
    assert result.json["error"]["type"] == "broken_model"
    assert "matches the hub" in result.json["error"]["message"]
    assert result.json["data"]["revision"]


def test_a_mirror_without_the_access_route_is_asked_for_a_file(hub, repository, mlxk, listing):
    hub.has_auth_check = False
    repository.gated = "auto"
    before = listing()
    assert mlxk("pull", NAME, "--json").json["error"]["details"]["reason"] == "gated_no_token"
    assert listing() == before
    repository.gated = None
    assert mlxk("pull", NAME, "--dry-run").code == 0


def test_a_busy_hub_is_waited_for(hub, repository, mlxk):
    hub.fails("/auth-check", 429, times=1, headers={"Retry-After": "1"})
    hub.fails("/revision/", 503, times=1, headers={"Retry-After": "0"})
    hub.fails("/tree/", 500, times=1, headers={"Retry-After": "0"})
    result = mlxk("pull", NAME, "--dry-run")
    assert result.code == 0, result
    assert "Rate-limited by the hub. Retrying in 1 s." in result.stderr


def test_a_refusal_after_the_preflight_leaves_nothing(hub, repository, mlxk, listing):
    hub.account("hf_one")
    hub.fails("/resolve/", 403, headers={"X-Error-Code": "GatedRepo"})
    result = mlxk("pull", NAME, "--json", env={"HF_TOKEN": "hf_one"})
    assert result.code == 1
    error = result.json["error"]
    assert error["details"]["reason"] == "gated_not_on_list"
    assert "Nothing was kept." in error["message"]
    assert not [name for name in listing() if "models--" in name and ".locks" not in name]


def test_a_name_that_a_source_offers_needs_no_pull(hub, host, cli):
    from mlxk_pull import plugin

    class Source:
        def names(self):
            return ["built-in"]

        def find(self, name):
            return (
                Model(name=name, path=Path("/nowhere"), origin="source", source="wheel") if name == "built-in" else None
            )

    class Sources:
        @hookimpl
        def mlxk_model_sources(self):
            yield ModelSourceSpec(name="wheel", summary="A model out of a wheel.", target=Source)

    host.register(plugin, name="pull")
    host.register(Sources(), name="wheel")
    result = cli("pull", "built-in", "--json")
    assert result.json["data"] == {"model": "built-in", "status": "already_there", "source": "wheel"}
    assert not hub.requests


def test_the_plugin_is_light():
    assert_light("mlxk_pull.plugin")


def test_an_alias_of_the_settings_is_pulled_under_the_name_of_its_model(hub, repository, mlxk, tmp_path):
    (tmp_path / "config.toml").write_text(f'[aliases]\nmine = "{NAME}"\n')
    env = {"MLXK_CONFIG": str(tmp_path / "config.toml")}
    result = mlxk("pull", "mine", "--json", env=env)
    assert result.code == 0 and result.json["data"]["model"] == NAME
    assert mlxk("pull", "mine@main", "--dry-run", env=env).code == 0
