"""The address of a cluster: what it may look like, and what each mistake is answered with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import adsum
from adsum._etcd.address import ClusterAddress, EtcdMember, TlsFiles, parse
from adsum._etcd.client import EtcdClient

ONE = (EtcdMember("a"),)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("etcd://a/prod", ClusterAddress(ONE, "prod")),
        ("etcd://A.example.org:99/p", ClusterAddress((EtcdMember("a.example.org", 99),), "p")),
        ("etcd://a:1,b:2,a/x.y_z-1", ClusterAddress((EtcdMember("a", 1), EtcdMember("b", 2), *ONE), "x.y_z-1")),
        (
            "etcd://10.0.0.1,[FD00::1],[::1]:5/p",
            ClusterAddress((EtcdMember("10.0.0.1"), EtcdMember("fd00::1"), EtcdMember("::1", 5)), "p"),
        ),
        ("etcd://bridge%40here@a/p", ClusterAddress(ONE, "p", None, "bridge@here")),
        ("etcds://a/p", ClusterAddress(ONE, "p", TlsFiles())),
        ("etcds://a/p?ca=/x/ca.pem", ClusterAddress(ONE, "p", TlsFiles(None, None, "/x/ca.pem"))),
        ("etcds://a/p?key=/k%23&cert=/c+d", ClusterAddress(ONE, "p", TlsFiles("/c d", "/k#", None))),
    ],
)
def test_an_address_is_understood(text: str, address: ClusterAddress) -> None:
    """Members with or without ports, IPv4 and IPv6, a user, TLS with its files."""
    assert parse(text, {}) == address
    assert parse(str(address), {}) == address


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "begins with neither"),
        ("a:2379/prod", "begins with neither"),
        ("http://a/prod", "begins with neither"),
        ("ETCD://a/prod", "begins with neither"),
        ("etcd://a", "the name of the cluster, after the '/', is ''"),
        ("etcd://a/", "the name of the cluster"),
        ("etcd://a/b/c", "the name of the cluster"),
        ("etcd://a/" + "n" * 65, "the name of the cluster"),
        ("etcd://a/.x", "of which the first is a letter or digit"),
        ("etcd://a/b c", "the name of the cluster"),
        ("etcd:///prod", "names no host"),
        ("etcd://,a/prod", "names no host"),
        ("etcd://a,/prod", "names no host"),
        ("etcd://:2379/prod", "names no host"),
        ("etcd://a b/prod", "neither an IP address nor a host name"),
        ("etcd://-a/prod", "neither an IP address nor a host name"),
        ("etcd://10.0.0.256/prod", "neither an IP address nor a host name"),
        ("etcd://ä/prod", "neither an IP address nor a host name"),
        ("etcd://a:/prod", "no number from 1 to 65535"),
        ("etcd://a:0/prod", "no number from 1 to 65535"),
        ("etcd://a:65536/prod", "no number from 1 to 65535"),
        ("etcd://a:http/prod", "no number from 1 to 65535"),
        ("etcd://a:+1/prod", "no number from 1 to 65535"),
        ("etcd://[::1]2379/prod", "no number from 1 to 65535"),
        ("etcd://fd00::1/prod", "IPv6 address in brackets"),
        ("etcd://[fd00::1/prod", "no IPv6 address"),
        ("etcd://[a]:1/prod", "no IPv6 address"),
        ("etcd://[fe80::1%eth0]:1/prod", "without a zone"),
        ("etcd://[10.0.0.1]/prod", "no IPv6 address"),
        ("etcd://a,b:1,A:2379/prod", "names the etcd member a:2379 twice"),
        ("etcd://@a/prod", "no name of a user"),
        ("etcd://%00@a/prod", "no name of a user"),
        ("etcd://a/prod#x", "write %23"),
        ("etcd://a/prod?ca=x", "write etcds:// to use TLS"),
        ("etcds://a/prod?cafile=x", "there is no parameter 'cafile'; those that exist are cert, key, ca"),
        ("etcds://a/prod?ca=", "names no file"),
        ("etcds://a/prod?ca", "not of the form"),
        ("etcds://a/prod?ca=x&ca=y", "is there twice"),
        ("etcds://a/prod?cert=x", "there is a cert without a key; add key=FILE or set ADSUM_ETCD_KEY"),
        ("etcds://a/prod?key=x", "there is a key without a cert"),
    ],
)
def test_a_mistake_is_named(text: str, why: str) -> None:
    """A wrong address is a `ValueError` of adsum that quotes it and says which part is wrong."""
    with pytest.raises(adsum.InvalidClusterAddress) as caught:
        parse(text, {})
    assert isinstance(caught.value, ValueError)
    assert caught.value.reason == "invalid_cluster_address"
    assert why in str(caught.value)
    assert repr(text) in str(caught.value)


def test_a_password_is_not_repeated() -> None:
    """An address with a password is refused, and the message does not have the password."""
    with pytest.raises(adsum.InvalidClusterAddress, match="ADSUM_ETCD_PASSWORD") as caught:
        parse("etcd://me:s3cret@a/prod", {})
    assert "s3cret" not in str(caught.value) + repr(vars(caught.value))


def test_the_environment_names_files() -> None:
    """With TLS, files that the address does not name are those of the environment."""
    environment = {"ADSUM_ETCD_CERT": "/c", "ADSUM_ETCD_KEY": "/k", "ADSUM_ETCD_CA": "/a"}
    assert parse("etcds://a/p", environment).tls == TlsFiles("/c", "/k", "/a")
    assert parse("etcds://a/p?ca=/other", environment).tls == TlsFiles("/c", "/k", "/other")
    assert parse("etcd://a/p", environment).tls is None
    with pytest.raises(adsum.InvalidClusterAddress, match="add cert=FILE or set ADSUM_ETCD_CERT"):
        parse("etcds://a/p", {"ADSUM_ETCD_KEY": "k"})


def test_files_are_those_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files without a leading / are found from the folder in which the address was given, also in other processes: the
    bridge of a program works in /. A folder may have any name."""
    folder = tmp_path / os.fsdecode(b"a b\xff#")
    folder.mkdir()
    monkeypatch.chdir(folder)
    address = parse("etcds://a/p?ca=ca.pem&cert=./c.pem", {"ADSUM_ETCD_KEY": "../k.pem"})
    assert address.tls == TlsFiles(f"{folder}/c.pem", f"{folder}/../k.pem", f"{folder}/ca.pem")
    monkeypatch.chdir("/")
    assert parse(str(address), {}) == address


def test_a_current_folder_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of it is refused; one with a leading / is not."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(adsum.InvalidClusterAddress, match=r"folder is gone, so 'ca\.pem'"):
        parse("etcds://a/p?ca=ca.pem", {})
    assert parse("etcds://a/p?ca=/ca.pem", {}).tls == TlsFiles(None, None, "/ca.pem")


async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A client with a certificate that is not there says so before it connects."""
    address = parse(f"etcds://a/p?ca={tmp_path}/none.pem", {})
    with pytest.raises(adsum.InvalidClusterAddress, match=r"none\.pem cannot be read: No such file"):
        EtcdClient(address)


def test_addresses_name_targets_of_grpc() -> None:
    """IP addresses are not looked up in the DNS; host names are."""
    assert EtcdMember("10.0.0.1").target == "ipv4:10.0.0.1:2379"
    assert EtcdMember("::1", 5).target == "ipv6:[::1]:5"
    assert EtcdMember("a.example.org").target == "dns:///a.example.org:2379"


@given(st.text(alphabet="etcds:/@[],.?&=#%ab1 \0é\n-", max_size=40), st.sampled_from(["", "etcd://", "etcds://"]))
def test_any_text_is_an_address_or_refused(text: str, scheme: str) -> None:
    """Parsing raises nothing else, and what it accepts is written back as the same address."""
    try:
        address = parse(scheme + text, {})
    except adsum.InvalidClusterAddress:
        return
    assert parse(str(address), {}) == address
