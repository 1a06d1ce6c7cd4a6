"""What the other distributions print with --json keeps to the one schema, too: what can be had in this process is."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mlxk_core.testing import Processes, Result
from mlxk_core.testing.models import in_hub_cache, random_model, scripted_model

Ask = Callable[..., Result]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    folder = random_model(tmp_path / "made")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_run(checked_mlxk: Ask, ask: Ask) -> None:
    in_hub_cache("org/tiny", lambda folder: scripted_model(folder, "Hello there."))
    result = checked_mlxk("run", "org/tiny", "Hi", "--json")
    assert result.json["data"]["response"] == "Hello there."
    assert ask("run", "org/tiny", "--json").code == 2
    assert ask("run", "org/nowhere", "Hi", "--json").code == 1


def test_pull(checked_mlxk: Ask, hub: Any, files: dict[str, bytes]) -> None:
    hub.add("org/tiny", files)
    assert checked_mlxk("pull", "org/tiny", "--dry-run", "--json").json["data"]["status"] == "dry_run"
    assert checked_mlxk("pull", "org/tiny", "--json").json["data"]["status"] == "downloaded"
    assert checked_mlxk("pull", "org/nowhere", "--json").json["error"]["type"] == "not_on_hub"


def test_push(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = random_model(tmp_path / "made")
    assert ask("push", str(folder), "me/tiny", "--json").code == 2
    monkeypatch.setenv("MLXK_ENABLE_EXPERIMENTAL", "push")
    assert ask("push", str(folder), "me/tiny", "--check-only", "--json").json["data"]["status"] == "checked"
    (folder / "config.json").unlink()
    broken = ask("push", str(folder), "me/tiny", "--check-only", "--json")
    assert broken.code == 1 and broken.json["data"]["problems"][0]["code"] == "config_missing"


def test_serve(mlxk: Processes, schema: jsonschema.Draft202012Validator) -> None:
    process = mlxk.start("serve", "--port", "0", "--json", env={"MLXK_DISABLE_PLUGINS": "smollm2"})
    assert process.stdout is not None
    text = ""
    while not text.endswith("\n}\n"):
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        text += line
    document = json.loads(text)
    schema.validate(document)
    assert document["data"]["port"]
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert rest == ""
