"""Which requests without API keys are of one client."""

from __future__ import annotations

import pytest

from mlxk_core.api.server import Client


def client(address, key=None):
    return Client(key=key, address=address).id


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("127.0.0.1", "127.1.2.3", True),
        ("127.0.0.1", "::1", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("local", "127.0.0.1", False),
    ],
)
def test_the_addresses_of_one_machine_are_one_client(one, other, same):
    assert (client(one) == client(other)) is same


def test_a_key_counts_before_an_address():
    assert client("192.0.2.1", "a") == client("192.0.2.2", "a") != client("192.0.2.1", "b")
