"""Where a webhook may go, and where it must not."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.notifications.targets import Target, is_public, read_target

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2001:4860:4860::8888", "64:ff9b::808:808"]
NOT_PUBLIC = {
    "loopback": "127.0.0.1",
    "other loopback": "127.8.8.8",
    "private 10": "10.1.2.3",
    "private 172": "172.16.0.1",
    "private 192": "192.168.1.1",
    "link-local, cloud metadata": "169.254.169.254",
    "shared": "100.64.0.1",
    "unspecified": "0.0.0.0",  # noqa: S104 - nobody listens
    "this network": "0.1.2.3",
    "broadcast": "255.255.255.255",
    "reserved": "240.0.0.1",
    "multicast": "224.0.0.1",
    "documentation": "192.0.2.1",
    "protocols": "192.0.0.8",
    "benchmarks": "198.18.0.1",
    "6to4 relay": "192.88.99.1",
    "loopback 6": "::1",
    "unspecified 6": "::",
    "unique local": "fd00::1",
    "link-local 6": "fe80::1",
    "link-local 6 with a zone": "fe80::1%eth0",
    "site-local": "fec0::1",
    "multicast 6": "ff02::1",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped private": "::ffff:10.0.0.1",
    "compatible loopback": "::127.0.0.1",
    "NAT64 of loopback": "64:ff9b::7f00:1",
    "NAT64 of metadata": "64:ff9b::a9fe:a9fe",
    "local NAT64": "64:ff9b:1::1",
    "6to4 of loopback": "2002:7f00:1::1",
    "6to4 of private": "2002:a00:1::1",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "documentation 6": "2001:db8::1",
    "no address": "example.com",
    "empty": "",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_allowed(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC.values(), ids=NOT_PUBLIC.keys())
def test_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_no_way_of_writing_an_address_makes_it_public(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    embedded = [
        ipaddress.IPv6Address((0xFFFF << 32) | number),
        ipaddress.IPv6Address((0x64FF9B << 96) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80)),
    ]

    assert {is_public(str(form)) for form in embedded} == {is_public(str(address))}
    assert is_public(str(address)) <= address.is_global


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com/hooks?a=b", Target("example.com", 443)),
        ("https://example.com:8443", Target("example.com", 8443)),
        ("https://EXAMPLE.com./", Target("example.com.", 443)),
        ("https://[2606:4700::1111]/", Target("2606:4700::1111", 443)),
        ("https://xn--bcher-kva.example/", Target("xn--bcher-kva.example", 443)),
    ],
)
def test_good_url_names_its_target(url: str, target: Target) -> None:
    assert read_target(url, allow_private=False) == target


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "https://",
        "https:///path",
        "https:example.com",
        "//example.com",
        "example.com",
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com/#fragment",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:port/",
        "https://exa mple.com/",
        "https://example.com/\r\nX-Header: 1",
        "https://example.com\\@127.0.0.1/",
        "https://ex\u00e4mple.com/",
        "https://127。0。0。1/",
        "https://example.com%2f@127.0.0.1/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://example.com/" + "x" * 2_000,
        "",
    ],
)
def test_bad_url_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_target(url, allow_private=False)
    assert refused.value.code == "url_invalid"


def test_plain_http_is_for_development() -> None:
    assert read_target("http://127.0.0.1:8080/", allow_private=True) == Target("127.0.0.1", 8080)
    with pytest.raises(Invalid):
        read_target("ftp://127.0.0.1/", allow_private=True)
