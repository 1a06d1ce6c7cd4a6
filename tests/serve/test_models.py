"""`/v1/models`, and how a request names one."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

import mlxk_ollama.plugin
from mlxk_core.api import BackendSpec, ModelSourceSpec, Verdict, hookimpl
from mlxk_testing.fake_engine import fake_model


@pytest.fixture
def models(serve, engine, kit):
    kit.cached_fake("org/name")
    kit.cached_fake("org/other", kind="nobody-runs-this")
    return serve().client


def test_every_model_that_can_be_run_is_listed(models):
    listed = models.get("/v1/models").json
    assert listed["object"] == "list"
    assert [item["id"] for item in listed["data"]] == ["fake", "org/name"]
    for item in listed["data"]:
        assert item["object"] == "model"
        assert isinstance(item["created"], int)
        assert item["context_length"] == 4096
        assert item["loaded"] is False
        assert "chat" in item["capabilities"]
    assert [item["owned_by"] for item in listed["data"]] == ["local", "org"]


@pytest.mark.parametrize("path", ["org/name", "org%2Fname", "org%2fname"])
def test_one_model_can_be_asked_for_with_its_slash_raw_or_not(models, path):
    listed = models.get("/v1/models").json["data"]
    assert models.get(f"/v1/models/{path}").json == next(item for item in listed if item["id"] == "org/name")


def test_an_unsupported_model_is_not_listed_after_a_request_for_it(models):
    assert models.get("/v1/models/org/other").status == 200
    assert [item["id"] for item in models.get("/v1/models").json["data"]] == ["fake", "org/name"]


def test_a_model_that_was_used_is_loaded(models):
    assert models.chat().status == 200
    assert {item["id"]: item["loaded"] for item in models.get("/v1/models").json["data"]} == {
        "fake": True,
        "org/name": False,
    }


@pytest.mark.parametrize(
    "name",
    ["nobody/nothing", "nam", "ORG/NAME", "", "..", "org", "org/name@nonsense", "org/name%20", "org/name%20@main"],
)
def test_a_name_that_is_not_listed_is_not_found(models, name, engine):
    answer = models.get(f"/v1/models/{name}") if name else models.chat(model="nobody/nothing")
    assert answer.status == 404
    assert answer.error["code"] in ("model_not_found", "revision_not_found")
    assert answer.error["param"] == "model"
    if name:
        assert models.chat(model=unquote(name)).status == 404
    assert engine.script.happened("load") == []


def test_a_path_is_not_accepted_as_a_model_name(models, tmp_path, engine):
    folder = fake_model(tmp_path / "elsewhere").path
    for name in (str(folder), "./elsewhere", "elsewhere"):
        answer = models.chat(model=name)
        assert answer.status == 404
        assert answer.error["code"] == "model_not_found"
    assert engine.script.happened("load") == []


def test_an_unknown_name_leaves_the_loaded_model_alone(models, engine):
    models.chat()
    assert models.chat(model="nobody/nothing").status == 404
    assert models.chat().status == 200
    assert engine.script.happened("load") == ["fake"]


def test_a_revision_can_be_named(models, kit):
    revision = models.get("/v1/models/org/name")
    assert revision.status == 200
    answer = models.chat(model="org/name@main")
    assert answer.status == 200
    assert answer.json["model"] == "org/name@main"


def test_a_folder_given_at_start_is_listed_by_its_own_name(serve, engine, tmp_path):
    folder = fake_model(tmp_path / "my-model").path
    serving = serve(models=(str(folder),))
    assert serving.server.models == ["my-model"]
    assert serving.client.chat(model="my-model").status == 200
    listed = {item["id"]: item for item in serving.client.get("/v1/models").json["data"]}
    assert listed["my-model"]["loaded"]
    assert str(tmp_path) not in str(listed)


def test_models_of_sources_are_listed_too(host, serve, engine, tmp_path):
    host.register(_Shelf(tmp_path), name="shelf")
    client = serve().client
    assert "shelved" in [item["id"] for item in client.get("/v1/models").json["data"]]
    assert client.get("/v1/models/shelved").json["owned_by"] == "shelf"
    assert client.chat(model="shelved").status == 200


def test_a_model_that_was_downloaded_meanwhile_is_listed(models, kit):
    kit.cached_fake("new/one")
    assert "new/one" in [item["id"] for item in models.get("/v1/models").json["data"]]
    assert models.chat(model="new/one").status == 200


def test_a_damaged_model_is_an_error_that_affects_no_other_request(models, kit):
    broken = kit.cached_fake("org/broken").path
    (broken / "config.json").unlink()
    (broken / "config.json").write_text("{")
    answer = models.chat(model="org/broken")
    assert answer.status in (400, 500)
    assert str(broken) not in answer.error["message"]
    assert "/" + str(broken).split("/")[1] + "/" not in answer.error["message"]
    assert answer.headers.get("x-should-retry") == ("false" if answer.status == 500 else None)
    assert "org/broken" not in [item["id"] for item in models.get("/v1/models").json["data"]]
    assert models.chat().status == 200


def test_a_model_whose_weights_are_cut_off_is_not_listed_until_they_are_whole(models, kit):
    def listed():
        return "org/cut" in [item["id"] for item in models.get("/v1/models").json["data"]]

    weights = kit.cached_fake("org/cut").path / "model.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(whole[:-1])
    assert not listed()
    answer = models.chat(model="org/cut")
    assert (answer.status, answer.error["code"]) == (500, "broken_model")
    weights.write_bytes(whole)
    assert listed()
    kit.until(lambda: models.chat(model="org/cut").status == 200)


def test_not_found_is_quick_while_the_engine_is_busy(models, engine):
    engine.script.step_seconds = 0.05
    with models.chat_stream("x") as events:
        next(iter(events))
        began = time.monotonic()
        assert models.chat(model="nobody/nothing").status == 404
        waited = time.monotonic() - began
        rest = list(events)
    assert rest[-1] == "[DONE]", waited


class _Shelf:
    def __init__(self, folder):
        self.folder = folder

    @hookimpl
    def mlxk_model_sources(self):
        yield ModelSourceSpec(name="shelf", summary="A shelf.", target=lambda: self)

    def names(self):
        return ["shelved"]

    def find(self, name):
        return (
            replace(fake_model(self.folder / "shelved"), origin="source", source="shelf") if name == "shelved" else None
        )


class _Counting(_Shelf):
    """A source without models, and a backend that accepts none but takes note of each it looks at."""

    def __init__(self):
        self.listed = 0
        self.examined = []
        self.go_on = threading.Event()
        self.go_on.set()

    @hookimpl
    def mlxk_backends(self):
        yield BackendSpec(name="counting", summary="Counts.", accepts=self.accepts, target="math:nan")

    def accepts(self, model):
        self.examined.append(model.name)
        assert self.go_on.wait(180)
        return Verdict.no("it only counts")

    def names(self):
        self.listed += 1
        return []


@pytest.fixture
def counting(host):
    host.register(mlxk_ollama.plugin, name="ollama")
    plugin = _Counting()
    host.register(plugin, name="counting")
    return plugin


def test_a_list_looks_once_at_the_cache_and_again_only_at_models_that_changed(counting, models, kit):
    for name in ("org/one", "org/two"):
        folder = kit.cached_fake(name).path
        for variant in ("Q4_0", "Q8_0"):
            (folder / f"m-{variant}.gguf").write_bytes(b"GGUF" + bytes(99))
    for path in ("/v1/models", "/api/tags"):
        models.get(path)
    for path in ("/v1/models", "/api/tags"):
        counting.listed, counting.examined = 0, []
        assert models.get(path).status == 200
        assert (counting.listed, counting.examined) == (1, [])
    (folder / "config.json").write_text("{}")
    models.get("/v1/models")
    assert set(counting.examined) == {"org/two"}


def test_clients_that_list_models_for_the_first_time_occupy_no_worker(counting, models, kit):
    counting.go_on.clear()
    try:
        connections = [models.connect() for _ in range(12)]  # more than workers
        for connection, path in zip(connections, ["/v1/models", "/api/tags"] * 6, strict=True):
            connection.request("GET", path)
        kit.until(lambda: models.status()["responses"] == 12 and counting.examined)
        assert len(counting.examined) == 1
    finally:
        counting.go_on.set()
    assert {kit.read(connection).status for connection in connections} == {200}


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "after_id=missing", "before_id=missing"])
def test_a_page_that_cannot_be_is_an_error(models, query):
    assert models.get(f"/v1/models?{query}").status == 400


ODD_FILES = ("config.json", "generation_config.json", "tokenizer_config.json", "chat_template.jinja")


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a link to itself", "an empty file"])
@pytest.mark.parametrize("name", ODD_FILES)
def test_an_odd_file_of_a_model_is_one_line_in_the_log(serve, engine, host, kit, caplog, name, kind):
    host.register(mlxk_ollama.plugin, name="ollama")
    path = kit.cached_fake("odd/one").path / name
    path.unlink(missing_ok=True)
    match kind:
        case "a pipe":
            os.mkfifo(path)
        case "a folder":
            path.mkdir()
        case "a link to itself":
            path.symlink_to(path.name)
        case _:
            path.write_bytes(b"")
    client = serve().client
    assert client.post("/api/show", {"model": "odd/one"}).status == 200
    assert client.get("/v1/models/odd/one").status == 200
    for route in ("/v1/models", "/api/tags"):
        assert client.get(route).status == 200
    answer = client.chat(model="odd/one")
    assert answer.status in (200, 500)
    if answer.status == 500:
        assert answer.error["code"] == "broken_model"
        assert "Errno" not in answer.error["message"]
    assert [record for record in caplog.records if record.exc_info] == []
    assert client.chat().status == 200


@pytest.mark.parametrize("moment", [253_402_300_800, 10**12, -62_135_596_801])
def test_files_from_outside_of_the_calendar_cost_no_list(serve, engine, host, kit, moment):
    host.register(mlxk_ollama.plugin, name="ollama")
    repository = kit.cached_fake("odd/one").path.parents[1]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        moved = shutil.move(repository, folder)
        repository.symlink_to(moved)
        [snapshot] = Path(moved, "snapshots").iterdir()
        os.utime(snapshot, (moment, moment))
        if snapshot.stat().st_mtime != moment:
            pytest.skip("this disk cannot hold the time")
        client = serve().client
        assert client.get("/v1/models/odd/one").json["created"] == 0
        assert "odd/one" in [model["id"] for model in client.get("/v1/models").json["data"]]
        assert "odd/one" in [model["name"].partition(":")[0] for model in client.get("/api/tags").json["models"]]
        assert client.post("/api/show", {"model": "odd/one"}).status == 200
