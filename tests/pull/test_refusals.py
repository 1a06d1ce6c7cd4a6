"""Errors before a download: the message names the case and what helps, and nothing is written."""

from __future__ import annotations

import json

import pytest

NAME = "org/tiny"


@pytest.fixture
def repository(hub, model_files):
    return hub.add(NAME, model_files)


@pytest.fixture
def refused(mlxk, listing):
    """Pull, and return the error. The cache must be unchanged."""

    def pull(*arguments, code=1, **environment):
        before = listing()
        result = mlxk("pull", *(arguments or (NAME,)), "--json", env=environment)
        assert listing() == before
        assert result.code == code, result
        assert result.stderr == ""
        assert result.json["status"] == "error"
        error = result.json["error"]
        if code == 1:
            assert "Nothing was written." in error["message"]
        return error

    return pull


def test_a_gated_repository_without_a_token(hub, repository, refused):
    repository.gated = "manual"
    error = refused()
    assert error["type"] == "access_denied"
    assert error["details"]["reason"] == "gated_no_token"
    assert f"{hub.url}/{NAME}" in error["message"]
    assert "hf auth login" in error["message"] and "HF_TOKEN" in error["message"]
    assert not hub.asked("/resolve/|/tree/")


def test_a_gated_repository_and_an_account_that_is_not_on_its_list(hub, repository, refused):
    repository.gated = "auto"
    hub.account("hf_one")
    error = refused(HF_TOKEN="hf_one")
    assert error["details"]["reason"] == "gated_not_on_list"
    assert "no access" in error["message"] and f"{hub.url}/{NAME}" in error["message"]
    assert "hf_one" not in error["message"]


def test_a_403_that_gives_no_reason(hub, repository, refused):
    hub.fails("/auth-check", 403)
    hub.account("hf_one")
    error = refused(HF_TOKEN="hf_one")
    assert error["type"] == "access_denied"
    assert error["details"]["reason"] == "forbidden"
    assert "scope" in error["message"] and "/settings/tokens" in error["message"]


def test_a_token_the_hub_does_not_know(hub, repository, refused):
    error = refused(HF_TOKEN="hf_wrong")
    assert error["type"] == "access_denied"
    assert error["details"]["reason"] == "bad_token"
    assert "does not accept the token" in error["message"] and "in HF_TOKEN" in error["message"]
    assert "hf_wrong" not in error["message"]


def test_a_repository_that_is_not_there_or_private(hub, refused):
    error = refused("org/nothing")
    assert error["type"] == "not_on_hub"
    assert "does not exist" in error["message"] and "private" in error["message"]
    assert "no token was sent" in error["message"]


def test_a_disabled_repository(repository, refused):
    repository.disabled = True
    error = refused()
    assert error["details"]["reason"] == "disabled"
    assert "has been disabled" in error["message"]


def test_a_revision_that_is_not_there(hub, repository, refused):
    error = refused(f"{NAME}@v9")
    assert error["type"] == "revision_not_found"
    assert "`v9`" in error["message"] and f"{hub.url}/{NAME}" in error["message"]


def test_a_rate_limit_with_too_long_a_wait(hub, repository, refused):
    hub.fails("/auth-check", 429, headers={"Retry-After": "900"})
    error = refused()
    assert error["type"] == "hub_unavailable"
    assert error["details"]["reason"] == "rate_limit"
    assert "900 s" in error["message"]
    assert len(hub.asked("/auth-check")) == 1


def test_a_hub_with_an_error_of_its_own_is_asked_again_before_giving_up(hub, repository, refused):
    hub.fails("/revision/", 503, headers={"Retry-After": "0"})
    error = refused()
    assert error["details"]["reason"] == "server_error" and error["details"]["status"] == 503
    assert len(hub.asked("/revision/")) == 4


def test_a_hub_that_does_not_answer(hub, repository, refused):
    hub.hangs("/auth-check")
    error = refused(HF_HUB_ETAG_TIMEOUT="1")
    assert error["details"]["reason"] == "timeout"
    assert "did not respond in time" in error["message"]


def test_a_list_of_files_that_does_not_come(hub, repository, refused):
    hub.hangs("/tree/")
    assert refused(HF_HUB_ETAG_TIMEOUT="1")["details"]["reason"] == "timeout"


def test_no_network(refused):
    error = refused(HF_ENDPOINT="http://127.0.0.1:9")
    assert error["type"] == "hub_unavailable"
    assert error["details"]["reason"] == "no_network"
    assert "127.0.0.1:9" in error["message"] and "proxy" not in error["message"].lower()


def test_a_proxy_that_cannot_be_reached_is_named_without_its_password(refused):
    error = refused(HF_ENDPOINT="http://hub.test", HTTP_PROXY="http://me:secret@127.0.0.1:9")
    assert error["details"]["reason"] == "proxy"
    assert "http://127.0.0.1:9" in error["message"] and "HTTP_PROXY" in error["message"]
    assert "secret" not in error["message"]


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_mode_names_the_variable_that_is_set(refused, name):
    error = refused(**{name: "1"})
    assert error["details"]["reason"] == "offline_mode"
    assert error["message"].startswith(f"{name} is set")


def test_an_empty_endpoint_counts_as_unset(refused):
    # The hub that mlxk would ask is not reachable through this proxy: nothing leaves the machine.
    error = refused(HF_ENDPOINT="", HTTPS_PROXY="http://127.0.0.1:9")
    assert error["details"]["reason"] == "proxy" and "https://huggingface.co" in error["message"]


def test_a_cache_that_is_a_file_is_wrong_usage(tmp_path, refused):
    (tmp_path / "file").touch()
    error = refused(code=2, HF_HUB_CACHE=str(tmp_path / "file"))
    assert error["type"] == "invalid_option" and error["message"].startswith("HF_HUB_CACHE: ")


def test_a_repository_without_weights(hub, refused):
    hub.add("org/empty", {"config.json": b"{}", "README.md": b"nothing here"})
    error = refused("org/empty")
    assert error["type"] == "no_weights"
    assert "has no weights" in error["message"]


@pytest.mark.parametrize(
    "entry",
    [
        {"path": "../../evil.json", "size": 1, "oid": "a"},
        {"path": "a\0.json", "size": 1, "oid": "a"},
        {"path": "a.json", "size": -1, "oid": "a"},
        {"path": "a.json", "size": 10**400, "oid": "a" * 40},
        {"path": "a.json", "size": 1, "oid": "../../../a"},
        {"path": "a.json"},
        {"path": None, "size": 1, "oid": "a"},
    ],
)
def test_a_list_of_files_that_no_hub_would_give(hub, repository, refused, entry):
    hub.answers_with("GET /api/models/.*/tree/", json.dumps([{"type": "file", **entry}]).encode(), "application/json")
    error = refused()
    assert (error["type"], error["details"]["reason"]) == ("hub_unavailable", "no_hub")


def test_more_than_the_disk_holds(repository, refused):
    repository.claimed_sizes["model.safetensors"] = 10**16
    error = refused()
    assert error["type"] == "not_enough_disk"
    assert "10000.0 TB" in error["message"] and "mlxk rm" in error["message"]
    assert error["details"]["needed"] > error["details"]["free"]


def test_several_gguf_variants_want_a_choice(hub, refused):
    hub.add("org/gguf", {"m-Q4_0.gguf": b"GGUF4", "m-Q8_0.gguf": b"GGUF8888"})
    error = refused("org/gguf")
    assert error["type"] == "ambiguous_model"
    assert error["details"]["candidates"] == ["org/gguf:Q4_0", "org/gguf:Q8_0"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "  ",
        "org/",
        "/org",
        "org//tiny",
        "a/b/c",
        "org/" + "x" * 97,
        "org/a--b",
        "org/tiny@",
        "./tiny",
        "-x/y",
        "https://hub/o/m",
        "https://huggingface.co/",
        "https://huggingface.co/org",
        "https://huggingface.co/datasets/org/name/x",
    ],
)
def test_an_impossible_name_is_wrong_usage_without_a_request(hub, cli, host, name):
    from mlxk_pull import plugin

    host.register(plugin, name="pull")
    result = cli("pull", "--json", "--", name)
    assert result.code == 2
    assert result.json["error"]["type"] in ("invalid_option", "usage_error")
    assert not hub.requests


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_ENDPOINT", "http://[bad"),
        ("HF_ENDPOINT", "hf-mirror.com"),
        ("HF_HUB_ETAG_TIMEOUT", "abc"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "1.5"),
    ],
)
def test_a_setting_that_huggingface_hub_cannot_read_is_named(refused, name, value):
    error = refused(code=2, **{name: value})
    assert error["type"] == "invalid_option" and error["message"].startswith(f"{name}: `{value}` is not ")


def test_a_cache_that_cannot_be_written_is_an_error(repository, mlxk, hub_cache):
    hub_cache.mkdir(parents=True, exist_ok=True)
    (hub_cache / "models--org--tiny").write_text("in the way")
    result = mlxk("pull", NAME, "--json")
    assert result.code == 1
    assert result.json["error"]["details"]["reason"] == "not_writable"
