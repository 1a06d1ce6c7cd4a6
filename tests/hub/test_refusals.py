"""Translation of a hub's errors, over HTTP. The commands' tests have the other cases."""

from __future__ import annotations

import pytest

from mlxk_core._errors import AccessDenied, HubUnavailable
from mlxk_hub.client import HubClient
from mlxk_hub.errors import NotOnHub

NAME = "org/tiny"


@pytest.fixture
def repository(hub):
    return hub.add(NAME, {"config.json": b"{}"})


@pytest.fixture
def client(hub, monkeypatch):
    """A client of the local hub, with the token of an account there."""
    hub.account("hf_one")
    monkeypatch.setenv("HF_TOKEN", "hf_one")
    client = HubClient()
    client.endpoint = hub.url
    return client


def test_a_gated_repository_whose_authors_have_not_decided_yet(repository, client):
    repository.gated, repository.pending = "manual", {"someone"}
    with pytest.raises(AccessDenied, match="awaits review") as caught:
        client.check_access(NAME)
    assert caught.value.details["reason"] == "gated_pending"


def test_a_token_without_the_scope_for_gated_repositories(hub, repository, client):
    repository.gated, repository.allowed = "auto", {"someone"}
    hub.tokens["hf_one"].reads_gated = False
    with pytest.raises(AccessDenied, match="lacks the scope for gated repositories") as caught:
        client.check_access(NAME)
    assert caught.value.details["reason"] == "token_scope"
    assert f"{hub.url}/settings/tokens" in str(caught.value) and f"{hub.url}/{NAME}" in str(caught.value)


def test_a_private_repository_this_account_may_not_see(repository, client):
    repository.private = True
    with pytest.raises(NotOnHub, match="your account has no access"):
        client.check_access(NAME)


def test_a_token_with_invalid_characters_is_not_shown(repository, client, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_sécret\x01")
    with pytest.raises(AccessDenied, match="contains invalid characters") as caught:
        client.check_access(NAME)
    assert "cret" not in str(caught.value)


def test_a_login_page_where_a_hub_should_be(hub, repository, client):
    hub.answers_with("/api/", b"<html>Welcome to the hotel's network</html>")
    with pytest.raises(HubUnavailable, match="not a Hugging Face Hub"):
        client.commit(NAME)
