"""Certificates, roles and passwords: a host may change its own keys, and no other's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from adsum._etcd.address import parse
from adsum._etcd.client import EtcdClient
from adsum._etcd.errors import AccessDenied, NotAuthenticated, Unavailable
from adsum._etcd.records import Delete, Get, Put, absent
from tests.support.etcd import EtcdCluster

WITHIN = 20.0
ALL = b"/adsum/test/"
HOSTS = ("alpha", "beta")


def grant_roles(etcd: EtcdCluster, users: dict[str, list[str]], *, has_root: bool = False) -> None:
    """A role for each user: reads all of the cluster's keys, and changes its own. Then authentication is enabled."""
    if not has_root:
        etcd.control("user", "add", "root", "--no-password")
    etcd.control("user", "grant-role", "root", "root")
    for user, options in users.items():
        etcd.control("user", "add", *options)
        etcd.control("role", "add", user)
        etcd.control("role", "grant-permission", user, "--prefix=true", "read", ALL.decode())
        for kind in "he":
            etcd.control("role", "grant-permission", user, "--prefix=true", "readwrite", f"/adsum/test/{kind}/{user}")
        etcd.control("user", "grant-role", user, user)
    etcd.control("auth", "enable")


@pytest.fixture(scope="module")
def with_roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """An etcd with TLS, where the common name of a certificate is the user."""
    with EtcdCluster(tmp_path_factory.mktemp("tls"), tls=True) as etcd:
        grant_roles(etcd, {host: [host, "--no-password"] for host in HOSTS})
        yield etcd


def client_of(etcd: EtcdCluster, user: str) -> EtcdClient:
    return EtcdClient(parse(etcd.address(user=user)), timeout=10)


async def test_a_host_changes_its_own_keys(with_roles: EtcdCluster) -> None:
    """Over TLS every call works for what the role of the certificate allows."""
    async with client_of(with_roles, "alpha") as client:
        lease = await client.grant(60)
        first = await client.put(ALL + b"h/alpha", b"1", lease=lease.id)
        done = await client.transaction([absent(ALL + b"e/alpha/x")], [Put(ALL + b"e/alpha/x", b"2")])
        assert done.succeeded
        assert (await client.range(ALL, prefix=True)).count == 2
        async with client.watch(ALL, prefix=True, start_revision=first) as watch:
            assert len((await anext(watch)).changes) == 2
            # A role that may not read all of etcd still hears signs of life.
            assert (await anext(watch)).changes == ()
        async with client.keep_lease(lease.id, 60) as keeper:
            assert (await anext(keeper)).ttl == 60
        assert await client.revoke(lease.id)


async def test_keys_of_another_host_are_denied(with_roles: EtcdCluster) -> None:
    """A host cannot put, delete or guard another host's keys, nor revoke a lease that has some, and nothing happens."""
    async with client_of(with_roles, "beta") as beta, client_of(with_roles, "alpha") as alpha:
        key = ALL + b"h/beta"
        lease = await beta.grant(60)
        revision = await beta.put(key, b"1", lease=lease.id)
        with pytest.raises(AccessDenied, match=r"refused to put .*permission denied") as caught:
            await alpha.put(key, b"2")
        assert caught.value.status == "PERMISSION_DENIED"
        with pytest.raises(AccessDenied):
            await alpha.delete_range(key)
        with pytest.raises(AccessDenied):
            await alpha.transaction([], [Put(ALL + b"h/alpha", b""), Delete(key)])
        with pytest.raises(AccessDenied):
            await alpha.revoke(lease.id)
        page = await alpha.range(key)
        assert (page.items[0].mod_revision, page.items[0].value) == (revision, b"1")
        assert (await alpha.range(ALL + b"h/alpha")).count == 0
        await beta.revoke(lease.id)


async def test_keys_outside_the_cluster_are_denied(with_roles: EtcdCluster) -> None:
    """Reads, transactions and watches of other keys are refused."""
    async with client_of(with_roles, "alpha") as client:
        with pytest.raises(AccessDenied):
            await client.range(b"/other")
        with pytest.raises(AccessDenied):
            await client.transaction([], [Get(b"/other")])
        async with asyncio.timeout(WITHIN), client.watch(b"/other") as watch:
            with pytest.raises(AccessDenied):
                await anext(watch)


async def test_without_the_right_certificate_there_is_no_connection(with_roles: EtcdCluster, tmp_path: Path) -> None:
    """No certificate, one of another authority, or no TLS: `Unavailable`, for nothing was sent."""
    files = with_roles.certificates
    assert files is not None
    host = f"127.0.0.1:{with_roles.members[0].port}"
    with EtcdCluster(tmp_path, tls=True) as other:
        foreign = other.address(user="alpha").partition("?")[2]
        for query, why in ((f"?ca={files.authority}", ""), (f"?{foreign}", "VERIFY_FAILED"), ("", "")):
            address = parse(f"etcd{'s' if query else ''}://{host}/test{query}")
            async with EtcdClient(address, timeout=1) as client:
                with pytest.raises(Unavailable, match=f"{why}.*nothing was changed"):
                    await client.put(ALL + b"h/alpha", b"")


async def test_files_are_read_again_for_each_connection(tmp_path: Path) -> None:
    """A client goes on with renewed certificates, of another authority too, once it has to connect anew. Files that
    cannot be read meanwhile change nothing."""
    with EtcdCluster(tmp_path, tls=True) as etcd:
        files = etcd.certificates
        assert files is not None
        async with client_of(etcd, "alpha") as client:
            await client.put(ALL + b"h/alpha", b"1")
            files.authority.unlink()
            await client.status(client.address.members[0])
            etcd.members[0].kill()
            files.renew()
            etcd.members[0].start()
            etcd.wait_until_healthy()
            await client.put(ALL + b"h/alpha", b"2")


async def test_passwords_work_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with a password gets a token, and a new one when it has expired, for calls, watches and leases."""
    with EtcdCluster(tmp_path, options=["--auth-token-ttl=1"]) as etcd:
        etcd.control("user", "add", "root:root")
        etcd.control("user", "grant-role", "root", "root")
        etcd.control("user", "add", "alpha:right")
        etcd.control("role", "add", "alpha")
        etcd.control("role", "grant-permission", "alpha", "--prefix=true", "readwrite", ALL.decode())
        etcd.control("user", "grant-role", "alpha", "alpha")
        etcd.control("auth", "enable")
        address = etcd.address().replace("etcd://", "etcd://alpha@")
        async with EtcdClient(parse(etcd.address()), timeout=10) as client:
            with pytest.raises(NotAuthenticated):
                await client.put(ALL + b"x", b"")
        async with EtcdClient(parse(address), timeout=10, password="wrong") as client:
            with pytest.raises(NotAuthenticated, match="authenticate as 'alpha'"):
                await client.put(ALL + b"x", b"")
        monkeypatch.setenv("ADSUM_ETCD_PASSWORD", "right")
        async with EtcdClient(parse(address), timeout=10) as client:
            first = await client.put(ALL + b"x", b"1")
            lease = await client.grant(60)
            # The token lives for a second, and etcd looks for those that have expired each second.
            await asyncio.sleep(2.5)
            async with asyncio.timeout(WITHIN), client.watch(ALL, prefix=True, start_revision=first) as watch:
                assert [change.item.value for change in (await anext(watch)).changes] == [b"1"]
                await asyncio.sleep(2.5)
                await client.put(ALL + b"x", b"2")
                while not (changes := (await anext(watch)).changes):
                    pass
                assert [change.item.value for change in changes] == [b"2"]
            async with asyncio.timeout(WITHIN), client.keep_lease(lease.id, 60) as keeper:
                await anext(keeper)
            with pytest.raises(AccessDenied):
                await client.put(b"/other", b"")


async def test_a_signed_token_is_renewed_after_a_change_of_roles(tmp_path: Path) -> None:
    """With --auth-token=jwt etcd refuses all tokens from before a change of users or roles; calls and watches go on."""
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    option = f"--auth-token=jwt,pub-key={public},priv-key={private},sign-method=ES256,ttl=10m"
    with EtcdCluster(tmp_path, options=[option]) as etcd:
        etcd.control("user", "add", "root:root")
        grant_roles(etcd, {"alpha": ["alpha:right"]}, has_root=True)
        address = parse(etcd.address().replace("etcd://", "etcd://alpha@"))
        async with EtcdClient(address, timeout=10, password="right") as client:
            key_of_alpha = ALL + b"h/alpha"
            first = await client.put(key_of_alpha, b"1")
            etcd.control("--user=root:root", "role", "add", "another")
            async with asyncio.timeout(WITHIN), client.watch(ALL, prefix=True, start_revision=first) as watch:
                assert [change.item.value for change in (await anext(watch)).changes] == [b"1"]
            etcd.control("--user=root:root", "role", "delete", "another")
            await client.put(key_of_alpha, b"2")
