"""Where a request comes from: the peer, or what our own proxies say."""

import falcon.asgi
import falcon.testing
import pytest

from api.middleware.addresses import client_address

PEER = "203.0.113.9"


def a_request(peer: str = PEER, forwarded: str | None = None) -> falcon.asgi.Request:
    headers = {"X-Forwarded-For": forwarded} if forwarded is not None else {}
    return falcon.testing.create_asgi_req(remote_addr=peer, headers=headers)


@pytest.mark.parametrize(
    ("trusted_proxies", "forwarded", "address"),
    [
        (0, None, PEER),
        (0, "198.51.100.1", PEER),
        (1, "198.51.100.1", "198.51.100.1"),
        (1, "10.0.0.1, 198.51.100.1", "198.51.100.1"),
        (2, "10.0.0.1,198.51.100.1 , 192.0.2.7", "198.51.100.1"),
        (2, "198.51.100.1", PEER),
        (1, None, PEER),
        (1, " , ", PEER),
        (1, "x" * 1_000, "x" * 64),
        (1, "10.0.0.1:80, 198.51.100.1:50123", "198.51.100.1"),
        (1, "[2001:db8:1:2::1]:50123", "2001:db8:1:2::/64"),
        (1, "[2001:db8:1:2::1]", "2001:db8:1:2::/64"),
        (1, "[::ffff:198.51.100.1]:443", "198.51.100.1"),
        (1, "[::1", "[::1"),
    ],
)
def test_proxies_of_ours_alone_are_believed(trusted_proxies: int, forwarded: str | None, address: str) -> None:
    assert client_address(a_request(forwarded=forwarded), trusted_proxies=trusted_proxies) == address


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", PEER),
        ("no:address", "no:address"),
    ],
)
def test_callers_of_one_network_are_one(peer: str, address: str) -> None:
    assert client_address(a_request(peer), trusted_proxies=0) == address
