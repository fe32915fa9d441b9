"""``adsum bridge --check`` and the part of ``adsum doctor`` about a cluster: each fault is found, and has a remedy."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

import adsum
from adsum import Registry, admin_cluster
from adsum._bridge.keys import Keys
from adsum._bridge.records import PublishedEntry, encode
from adsum._client import bridge_status as statuses
from adsum._client import cluster as joining
from adsum._etcd import versions
from adsum._etcd.client import EtcdClient
from adsum._store.hosts import boottime_ns
from adsum._store.layout import key_of
from adsum.admin_cluster import Finding, etcd_checks
from tests.support.etcd import EtcdCluster, free_ports
from tests.support.etcd_tls import Certificates

from .bridging import Bridge, remote
from .command_hosts import Host


def check(address: str, **options: object) -> dict[str, list[Finding]]:
    """The findings, by the name of the check."""
    found: dict[str, list[Finding]] = {}
    for one in admin_cluster.check(address, **options):  # type: ignore[arg-type]
        found.setdefault(one.check, []).append(one)
    return found


def levels(findings: list[Finding]) -> list[str]:
    return [one.level for one in findings]


def test_a_fit_etcd_has_no_problem(etcd: EtcdCluster) -> None:
    """Every check is made, and none finds a problem; nothing is written."""
    before = etcd.control("get", "--prefix", "/", "--keys-only")
    found = check(etcd.address("fit"))
    names = ["etcd version", "etcd leader", "etcd space", "etcd majority", "etcd alarms", "etcd history"]
    assert list(found) == [*names, "layout", "role", "hosts", "clocks"]
    assert {one.level for some in found.values() for one in some} <= {"ok", "warning"}
    assert etcd.control("get", "--prefix", "/", "--keys-only") == before


def test_a_member_that_does_not_answer_is_named(etcd: EtcdCluster) -> None:
    """The others are checked all the same."""
    port = free_ports(1)[0]
    found = check(f"etcd://127.0.0.1:{etcd.members[0].port},127.0.0.1:{port}/fit")
    (member,) = found["etcd member"]
    assert member.level == "problem"
    assert str(port) in member.says
    assert levels(found["etcd alarms"]) == ["ok"]


def test_a_version_below_the_floor_has_its_reasons(etcd: EtcdCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning says what can go wrong with this version, and which one to install."""
    monkeypatch.setattr(versions, "judge", lambda _: versions.Verdict("1", "below_minimum", ("it leaks",)))
    (found,) = check(etcd.address("fit"))["etcd version"]
    assert found.level == "warning"
    assert "it leaks" in found.says
    assert "3.5.33" in found.remedy


async def test_history_that_is_never_compacted_is_found(
    etcd: EtcdCluster, client: EtcdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning where all revisions of a busy etcd are kept, or too many since the last compaction."""
    for _ in range(30):
        await client.put(b"/history", b"")
    monkeypatch.setattr(etcd_checks, "MANY_REVISIONS", 20)
    (found,) = await _history(client)
    assert found.level == "warning"
    assert "never compacted" in found.says
    await client.compact(client.revision - 5)
    (found,) = await _history(client)
    assert found.level == "ok"
    assert "5 are kept" in found.says
    monkeypatch.setattr(etcd_checks, "MUCH_HISTORY", 3)
    (found,) = await _history(client)
    assert found.level == "warning"
    assert "auto-compaction" in found.remedy


async def _history(client: EtcdClient) -> list[Finding]:
    return [one async for one in etcd_checks.check_history(client, Keys("history"))]


def test_a_full_database_and_its_alarm_are_found(tmp_path: Path) -> None:
    """A problem for the space, and one for the alarm, with what has to be done."""
    with EtcdCluster(tmp_path, options=["--quota-backend-bytes=1048576"]) as etcd:
        # Each is still taken while the database is below its quota.
        with contextlib.suppress(RuntimeError):
            for number in range(100):
                etcd.control("put", f"/k{number}", "x" * 100_000)
        found = check(etcd.address("full"))
    assert levels(found["etcd alarms"]) == ["problem"]
    assert "alarm disarm" in found["etcd alarms"][0].remedy


def test_the_size_of_the_database_is_judged(etcd: EtcdCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning from half of the quota on, a problem from four fifths on."""
    for quota, level in ((100 * 1024**3, "ok"), (10_000, "problem")):
        monkeypatch.setattr(etcd_checks, "DEFAULT_QUOTA", quota)
        assert levels(check(etcd.address("fit"))["etcd space"]) == [level]


async def test_a_cluster_of_a_later_layout_is_refused(etcd: EtcdCluster, client: EtcdClient) -> None:
    """A problem that says what to upgrade."""
    await client.put(Keys("later").version, encode(9))
    (found,) = check(etcd.address("later"))["layout"]
    assert found.level == "problem"
    assert "layout 9" in found.says


async def test_a_clock_that_is_ahead_is_found(etcd: EtcdCluster, client: EtcdClient) -> None:
    """A warning where an entry of another host is from the future: ages are wrong then, and nothing else."""
    entry = msgspec.structs.replace(remote("ahead"), last_updated=datetime.now(UTC) + timedelta(seconds=60))
    await client.put(Keys("skewed").entry("host-b", key_of(entry.process_id)), encode(PublishedEntry(entry, 1)))
    (found,) = check(etcd.address("skewed"))["clocks"]
    assert found.level == "warning"
    assert "host-b" in found.says


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """An etcd with TLS and roles: the user `rack` may do what the bridge of the host `rack` does, `guest` may read."""
    with EtcdCluster(tmp_path_factory.mktemp("etcd"), tls=True) as etcd:
        own = [f"/adsum/prod/{kind}/rack" for kind in "hdw"]
        for user in ("root", "rack", "guest"):
            etcd.control("user", "add", user, "--no-password")
            etcd.control("role", "add", user)
            etcd.control("user", "grant-role", user, user)
        for user in ("rack", "guest"):
            etcd.control("role", "grant-permission", user, "--prefix=true", "read", "/adsum/prod/")
        for key in own:
            etcd.control("role", "grant-permission", "rack", "readwrite", key)
        for prefix in ("e/rack/", "o/", "n/"):
            etcd.control("role", "grant-permission", "rack", "--prefix=true", "readwrite", f"/adsum/prod/{prefix}")
        etcd.control("role", "grant-permission", "rack", "readwrite", "/adsum/prod/v")
        etcd.control("auth", "enable")
        yield etcd


def test_a_role_is_tried_without_a_write(guarded: EtcdCluster) -> None:
    """The check says which of the things that a bridge does are denied to this user, under the name of this host."""
    address = guarded.address("prod", "rack")
    found = check(address, host="rack")["role"]
    assert levels(found) == ["ok", "ok"]
    assert "may not forget other hosts" in found[1].says
    (denied, _) = check(address, host="other")["role"]
    assert denied.level == "problem"
    assert "write its own key" in denied.says
    assert "claim its node" not in denied.says
    (denied, _) = check(guarded.address("prod", "guest"), host="rack")["role"]
    assert "claim its node" in denied.says
    assert guarded.control("get", "--prefix", "/adsum/", "--keys-only") == ""


def test_a_user_that_etcd_does_not_know_is_a_problem(guarded: EtcdCluster) -> None:
    """Each check that etcd refuses is a problem with a remedy, and none is an error."""
    found = check(guarded.address("prod", "stranger"), host="rack")
    problems = [one for some in found.values() for one in some if one.level == "problem"]
    assert problems
    assert all(one.remedy for one in problems)


def test_a_connection_that_fails_is_explained(guarded: EtcdCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finding has gRPC's own reason, for another authority, and the remedy for a wrong password."""
    good, other = guarded.certificates, Certificates(guarded.folder / "other")
    assert good is not None
    address = guarded.address("prod", "rack")
    (found,) = check(address.replace(str(good.authority), str(other.authority)))["etcd member"]
    assert "CERTIFICATE_VERIFY_FAILED" in found.says
    monkeypatch.setenv("ADSUM_ETCD_PASSWORD", "wrong")
    (found,) = check(address.replace("etcds://", "etcds://rack@"))["etcd member"]
    assert "authentication failed" in found.says
    assert "ADSUM_ETCD_PASSWORD" in found.remedy


# The registry's own side


def said(registry: Registry, check: str) -> list[tuple[str, str]]:
    """What is found about one thing: levels and texts."""
    return [(one.level, one.says) for one in admin_cluster.check_bridge(registry) if one.check == check]


@pytest.fixture
def joined(registry: Registry) -> Registry:
    """A registry that is part of a cluster, without a bridge."""
    registry.register("own")
    admin_cluster.join(registry.folder, "etcd://127.0.0.1:1/prod", host="rack")
    return registry


def test_a_registry_without_a_cluster_has_no_findings(registry: Registry) -> None:
    """Nothing is said about a cluster that is not there."""
    assert admin_cluster.check_bridge(registry) == []


def test_a_bridge_that_does_not_run_is_a_problem(joined: Registry) -> None:
    """The members here are unreachable for all other hosts then."""
    (finding,) = admin_cluster.check_bridge(joined)
    assert (finding.check, finding.level) == ("bridge", "problem")
    assert "adsum bridge" in finding.remedy


def test_the_trouble_of_a_bridge_is_told(joined: Registry) -> None:
    """Its own words, the nodes that other hosts have, and a second bridge of the same folder."""
    lock = os.open(joined.folder / joining.LOCK_NAME, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        status = statuses.BridgeStatus(os.getpid(), "etcd://a/prod", "rack", 10.0, "1", "", "a:2379", 7, 9, 1, 0, 1, [])
        statuses.write(joined.folder, status)
        assert [level for level, _ in said(joined, "bridge")] == ["ok"]
        statuses.write(joined.folder, msgspec.structs.replace(status, trouble="etcd is away", refused_nodes=["node-x"]))
        assert said(joined, "bridge") == [("problem", f"pid {os.getpid()}, as the host rack: etcd is away")]
        assert said(joined, "nodes")[0][0] == "problem"
        assert "node-x" in said(joined, "nodes")[0][1]
        statuses.write(joined.folder, msgspec.structs.replace(status, pid=os.getppid()))
        assert said(joined, "bridge")[0][0] == "problem"
        assert "two run" in said(joined, "bridge")[0][1]
        many = msgspec.structs.replace(status, tenures=30, started_ns=boottime_ns() - 30 * 10**9)
        statuses.write(joined.folder, many)
        assert [level for level, _ in said(joined, "bridge")] == ["warning", "ok"]
    finally:
        os.close(lock)


def test_hosts_that_are_lost_or_left_out_are_named(registry_folder: Path) -> None:
    """Unreachable ones are a warning, those without room here a problem; silence of the cluster is one, too."""
    with adsum.open(path=registry_folder, timeout=10, limits=adsum.Limits(max_remote_entries=1)) as registry:
        registry.register("own")
        admin_cluster.join(registry.folder, "etcd://127.0.0.1:1/prod")
        bridge = Bridge(registry)
        bridge.host("here", host="host-b")
        assert said(registry, "hosts") == [("ok", "1 others, all of them here")]
        bridge.host("unreachable", host="host-b")
        assert said(registry, "hosts") == [("warning", "unreachable: host-b")]
        bridge.host("here", host="host-c")
        bridge.put(remote("one", host="host-c"), remote("two", host="host-c"), host="host-c")
        assert ("problem", "no room for the entries of host-c: none of them is found here") in said(registry, "hosts")
        assert said(registry, "cluster")[0][0] == "ok"
        bridge.hear(ago=100)
        (silent,) = said(registry, "cluster")
        assert silent[0] == "problem"
        assert "100 s ago" in silent[1]


def test_the_extra_may_be_missing(joined: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both checks say how to install it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert said(joined, "extra") != []
    (finding,) = admin_cluster.check("etcd://127.0.0.1:1/prod")
    assert (finding.check, finding.level, finding.remedy) == ("extra", "problem", "pip install 'adsum[cluster]'")


def test_doctor_checks_the_cluster_too(host: Host) -> None:
    """`adsum doctor` has the findings of the bridge and of etcd, and ends with 1 when the bridge is gone."""
    found = host.document("doctor")
    names = {"bridge", "cluster", "hosts", "etcd version", "etcd alarms", "role"}
    assert names <= {one["check"] for one in found["checks"]}
    assert found["healthy"]
    host.bridge.signal(signal.SIGKILL)
    host.bridge.wait()
    answer = host.adsum("doctor")
    assert answer.code == 1
    assert "none runs" in answer.out
