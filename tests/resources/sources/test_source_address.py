"""Which addresses a URL may lead to."""

from __future__ import annotations

import ipaddress

import httpx
import pytest

from resources.errors import UserError
from resources.sources.address import Access, is_loopback_host, is_public
from resources.sources.files import SourceUnavailableError


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:a00:1::",
        "2001:0:1::1",
    ],
)
def test_an_address_inside_a_network_is_not_public(address: str):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_an_address_of_the_internet_is_public(address: str):
    assert is_public(ipaddress.ip_address(address))


def test_a_name_of_this_machine_is_recognised():
    assert is_loopback_host("localhost")
    assert is_loopback_host("127.0.0.9")
    assert not is_loopback_host("localhost.example.com")


def test_a_host_with_a_private_address_is_refused():
    with pytest.raises(UserError, match=r"which is not public.*allow_private_addresses"):
        Access().resolve("localhost", 443, "https://localhost/a.jsonl")


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1"])
def test_other_spellings_of_an_address_are_the_address(host: str):
    with pytest.raises(UserError, match=r"127\.0\.0\.1, which is not public"):
        Access().resolve(host, 443, "url")


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch):
    found = [(2, 1, 6, "", (text, 443)) for text in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)  # no such name to ask for
    with pytest.raises(UserError, match=r"10\.0\.0\.1"):
        Access().resolve("both.example", 443, "url")


def test_a_host_that_is_not_found_says_so():
    with pytest.raises(SourceUnavailableError, match=r"nowhere\.invalid cannot be found"):
        Access().resolve("nowhere.invalid", 443, "url")


@pytest.mark.parametrize("url", ["http://example.com/a", "http://localhost/a", "ftp://localhost/a"])
def test_only_https_is_spoken(url: str):
    with pytest.raises(UserError, match="use https://"):
        Access().require(httpx.URL(url), url)


def test_plain_http_to_another_machine_is_never_spoken():
    access = Access(loopback_http=True)
    access.require(httpx.URL("http://127.0.0.1:80/a"), "url")
    with pytest.raises(UserError, match="use https://"):
        access.require(httpx.URL("http://10.0.0.1/a"), "url")
