"""Addresses of this machine and of others."""

import urllib.error
from urllib.request import ProxyHandler

import pytest

from mlxk_core.api import is_loopback, url_opener


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("[::1]", False),
        ("", False),
    ],
)
def test_only_localhost_and_loopback_addresses_are_this_machine(host, expected):
    assert is_loopback(host) is expected


def _proxies(url):
    return [handler.proxies for handler in url_opener(url).handlers if isinstance(handler, ProxyHandler)]


def test_a_proxy_is_used_for_other_machines_only(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for url in ("http://127.0.0.1:8000", "http://[::1]:8000/v1", "http://user@localhost", "https://LOCALHOST"):
        assert not any(_proxies(url)), url
    assert _proxies("http://models.example:8000")[0]["http"] == "http://127.0.0.1:1"
    with pytest.raises(urllib.error.URLError):
        url_opener("http://models.invalid").open("http://models.invalid", timeout=60)


def test_an_address_that_cannot_be_parsed_is_an_error():
    with pytest.raises(ValueError, match="IPv6"):
        url_opener("http://[::1")
