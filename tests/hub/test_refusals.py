"""What a hub refuses, over HTTP and in our words: the cases that the hub's answer alone tells. The commands have the
others in their tests."""

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
    """Asks the local hub with the token of somebody who has an account there."""
    hub.account("hf_one")
    monkeypatch.setenv("HF_TOKEN", "hf_one")
    client = HubClient()
    client.endpoint = hub.url
    return client


def test_a_gated_repository_whose_authors_have_not_decided_yet(repository, client):
    repository.gated, repository.pending = "manual", {"someone"}
    with pytest.raises(AccessDenied, match="waits for its authors' review") as caught:
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
    with pytest.raises(NotOnHub, match="the account of the token that was sent may not see it"):
        client.check_access(NAME)


def test_a_token_with_letters_no_header_may_hold_is_not_shown(repository, client, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_sécret\x01")
    with pytest.raises(AccessDenied, match="holds characters that no token has") as caught:
        client.check_access(NAME)
    assert "cret" not in str(caught.value)


def test_a_login_page_where_a_hub_should_be(hub, repository, client):
    hub.answers_with("/api/", b"<html>Welcome to the hotel's network</html>")
    with pytest.raises(HubUnavailable, match="no hub's answer"):
        client.commit(NAME)
