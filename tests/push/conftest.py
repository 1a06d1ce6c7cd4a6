"""What the tests of push share: a local hub, an account that may write there, and a folder with a model."""

from __future__ import annotations

import pytest


@pytest.fixture
def folder(tmp_path):
    from mlxk_testing.tiny_models import random_model

    path = tmp_path / "model"
    random_model(path)
    return path


@pytest.fixture
def account(hub, monkeypatch):
    """An account with a token that may write. The local hub speaks LFS but not Xet."""
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    return hub.account("hf_writer", name="me")


@pytest.fixture
def push(mlxk, monkeypatch):
    monkeypatch.setenv("MLXK_ENABLE_EXPERIMENTAL", "push")

    def run(*arguments, **environment):
        return mlxk("push", *map(str, arguments), env=environment)

    return run


@pytest.fixture
def push_here(cli, host, monkeypatch):
    """`push` in this process, for runs without the hub."""
    from mlxk_push import plugin

    monkeypatch.setenv("MLXK_ENABLE_EXPERIMENTAL", "push")
    host.register(plugin, name="push")
    return lambda *arguments: cli("push", *map(str, arguments))
