import json

import mlxk_ledger
import pytest

from mlxk_core.api.generation import GenerationRequest, GenerationService
from mlxk_testing import assert_light
from mlxk_testing.fake_engine import fake_backend, fake_model


def test_every_request_is_written(host, tmp_path, monkeypatch):
    monkeypatch.setenv("MLXK_LEDGER", str(tmp_path / "ledger.jsonl"))
    host.register(mlxk_ledger, name="ledger")
    backend = fake_backend("Hello.")
    host.register(backend, name="fake")
    request = GenerationRequest(model=fake_model(tmp_path / "model"), prompt="Hi", client="me")
    with GenerationService(host) as service:
        service.submit(request).result()
        backend.script.fail_step = OSError("lost")
        with pytest.raises(Exception, match="lost"):
            service.submit(request).result()
    loaded, first, second = map(json.loads, (tmp_path / "ledger.jsonl").read_text().splitlines())
    assert loaded["loaded"] == "model"
    assert (first["client"], first["prompt_tokens"], first["completion_tokens"], first["ended"]) == ("me", 2, 7, "stop")
    assert second["ended"] == "EngineFailure"


def test_without_a_file_nobody_listens(host, monkeypatch):
    monkeypatch.delenv("MLXK_LEDGER", raising=False)
    host.register(mlxk_ledger, name="ledger")
    assert host.lifecycle() == []


def test_it_is_light():
    assert_light("mlxk_ledger")
