"""``adsum bridge`` and ``adsum hosts``, with registries that are hosts of a real cluster."""

from __future__ import annotations

import contextlib
import signal
import socket
from pathlib import Path

import msgspec
import pytest

import adsum
from adsum import admin_cluster
from adsum.views.cluster_documents import BridgeDocument, HostsDocument
from tests.cli.command import Command
from tests.support import eventually
from tests.support.children import Agent
from tests.support.etcd import EtcdCluster

from .command_hosts import SOON, Host, opened_hosts


def keys_of(etcd: EtcdCluster, host: Host) -> list[str]:
    """The keys in etcd that a host has written, and those of names for the whole cluster."""
    found = etcd.control("get", "--prefix", "/adsum/test/", "--keys-only").splitlines()
    return [key for key in found if host.name in key or "/n/" in key]


def test_two_bridges_make_one_registry(host: Host, observer: Host) -> None:
    """Each host finds the members of both, and `adsum hosts` lists both, the own one first."""
    with observer.registry.register("other"):
        eventually(lambda: host.sees(observer, "other"), SOON)
        listed = [line.split() for line in host.adsum("hosts").out.splitlines()]
        assert [(row[0], row[1], row[2], row[4]) for row in listed] == [
            ("HOST", "REACH", "ENTRIES", "NODES"),
            (host.name, "here", "1", host.name),
            ("observer", "remote", "1", "observer"),
        ]
    document = msgspec.json.decode(host.adsum("hosts", "--json").out, type=HostsDocument, strict=True)
    assert [(one.name, one.reach, one.trouble) for one in document.hosts] == [
        (host.name, "here", ""),
        ("observer", "remote", ""),
    ]
    assert document.cluster == host.address
    assert document.stats is not None
    assert document.stats.connected
    # Of the other host, the fence that its own bridge says.
    assert document.hosts[1].fence == observer.status().fence > 0


def test_the_status_of_a_bridge(host: Host) -> None:
    """`adsum bridge --status` ends with 0 while the bridge publishes, and with 1 where none runs."""
    answer = host.adsum("bridge", "--status")
    assert answer.code == 0
    assert "in the foreground" in answer.out
    document = msgspec.json.decode(host.adsum("bridge", "--status", "--json").out, type=BridgeDocument, strict=True)
    assert (document.running, document.host, document.ttl, document.forget_after) == (True, host.name, 5.0, 600.0)
    assert document.pid == host.bridge.pid
    host.bridge.kill()
    answer = host.adsum("bridge", "--status")
    assert (answer.code, answer.out) == (1, "")
    assert "no bridge" in answer.err


def test_a_bridge_that_is_stopped_is_in_trouble(host: Host) -> None:
    """What it said last is old: --status ends with 1, and the doctor has a problem, until it goes on."""
    host.bridge.signal(signal.SIGSTOP)
    eventually(lambda: "said nothing for" in host.status().trouble, SOON)
    answer = host.adsum("bridge", "--status")
    assert answer.code == 1
    assert "stopped" in answer.out
    assert f"kill -CONT {host.bridge.pid}" in host.adsum("hosts").out
    (finding,) = [one for one in admin_cluster.check_bridge(host.registry) if one.check == "bridge"]
    assert (finding.level, "said nothing" in finding.says) == ("problem", True)
    host.bridge.signal(signal.SIGCONT)
    eventually(host.publishes, SOON)
    assert host.adsum("bridge", "--status").code == 0


def test_ctrl_c_leaves_nothing(host: Host, observer: Host, etcd: EtcdCluster) -> None:
    """The host leaves in order: its keys are gone from etcd, the other host learns it at once, and no file says that a
    bridge runs. The members of other hosts are gone here."""
    host.registry.register("leader", everywhere=True, timeout=SOON)
    eventually(lambda: observer.sees(host, "leader"), SOON)
    assert len(keys_of(etcd, host)) >= 5

    def interrupt() -> None:
        host.bridge.signal(signal.SIGINT)
        assert host.bridge.wait(SOON) == 0
        eventually(lambda: not observer.knows(host), SOON)

    with observer.registry.register("other"):
        eventually(lambda: host.sees(observer, "other"), SOON)
        assert observer.events_of(host, interrupt) == ["unregistered", "unregistered"], "it was never unreachable"
    assert observer.ends_of(host) == ["left", "left"]
    assert keys_of(etcd, host) == []
    assert admin_cluster.bridge_status(host.folder) is None
    assert not (host.folder / "bridge.status").exists()
    assert [entry.process_id.local_id for entry in host.registry.find(unreachable=True)] == ["leader", "worker"]
    assert host.registry.stats().cluster is None


def test_no_other_host_notices_a_restart(host: Host, observer: Host) -> None:
    """SIGTERM ends a bridge, and its lease lives on: the next bridge goes on with it, and nothing is written anew."""

    def restart() -> None:
        host.bridge.signal(signal.SIGTERM)
        assert host.bridge.wait(SOON) == 0
        host.start_bridge()

    assert observer.events_of(host, restart) == []
    assert observer.sees(host, "worker")
    assert (host.status().tenures, host.status().writes) == (1, 0)


def test_a_folder_has_one_bridge_and_another_can_take_its_place(host: Host, observer: Host) -> None:
    """A second bridge is refused; with --replace it takes over, and no other host notices."""
    answer = host.adsum("bridge")
    assert answer.code == 1
    assert "--replace" in answer.err
    old = host.bridge

    def replace() -> None:
        host.start_bridge("--replace")
        assert old.wait(SOON) == 0

    assert observer.events_of(host, replace) == []


def test_a_bridge_may_leave_at_every_end(host: Host, observer: Host) -> None:
    """With --leave-at-end the host leaves at SIGTERM, too, as in a container that never comes back."""
    host.start_bridge("--replace", "--leave-at-end")

    def terminate() -> None:
        host.bridge.signal(signal.SIGTERM)
        assert host.bridge.wait(SOON) == 0
        eventually(lambda: not observer.knows(host), SOON)

    assert observer.events_of(host, terminate) == ["unregistered"]


def test_a_registry_leaves_its_cluster(host: Host, observer: Host) -> None:
    """`adsum bridge --leave` ends the bridge; other hosts see the members leave, and the registry is part of no
    cluster."""
    answer = host.adsum("bridge", "--leave")
    assert (answer.code, answer.err) == (0, "")
    assert host.bridge.wait(SOON) == 0
    eventually(lambda: not observer.knows(host), SOON)
    assert observer.ends_of(host) == ["left"]
    assert admin_cluster.membership(host.folder) is None
    assert host.registry.stats().cluster is None
    assert host.adsum("hosts").code == 1
    again = host.adsum("bridge", "--leave")
    assert (again.code, again.out) == (1, "")
    assert "part of no cluster" in again.err


def test_a_registry_leaves_without_a_bridge(host: Host, observer: Host, etcd: EtcdCluster) -> None:
    """Where the bridge was killed, --leave does what it would have done, here and in etcd."""
    with observer.registry.register("other"):
        eventually(lambda: host.sees(observer, "other"), SOON)
        host.bridge.kill()
        assert host.adsum("bridge", "--leave").code == 0
    eventually(lambda: not observer.knows(host), SOON)
    assert [entry.process_id.local_id for entry in host.registry.find(unreachable=True)] == ["worker"]
    eventually(lambda: keys_of(etcd, host) == [], SOON, every=0.5)


def test_no_program_that_runs_brings_the_host_back(bare: Host, observer: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that only read keep a bridge running, several in one process too. After --leave none of them starts the
    next one; a program that opens the registry with an address then joins again."""
    monkeypatch.setenv("ADSUM_HOST", bare.name)

    def opened() -> adsum.Registry:
        return adsum.open(path=bare.folder, node=bare.name, timeout=10, cluster=bare.address)

    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(opened())
        reader = stack.enter_context(Agent(bare.folder, node=bare.name, cluster=bare.address))
        eventually(lambda: admin_cluster.bridge_status(bare.folder), SOON)
        # The registry is made while the bridge runs, so that none of the readers knows its epoch.
        bare.registry.register("worker")
        eventually(lambda: observer.sees(bare, "worker"), SOON)
        answer = bare.adsum("bridge", "--leave")
        assert (answer.code, answer.err) == (0, "")
        assert reader.value("registry.count()") == 1
        with pytest.raises(AssertionError, match="not within"):
            eventually(lambda: admin_cluster.bridge_pid(bare.folder) or admin_cluster.membership(bare.folder), 3.0)
        assert observer.ends_of(bare) == ["left"]
        with opened():
            eventually(lambda: observer.sees(bare, "worker"), SOON)
        assert admin_cluster.leave(bare.folder)


def test_a_registry_whose_bridge_is_stopped_has_not_left(bare: Host, observer: Host) -> None:
    """--leave ends with 3 and changes nothing. When the bridge goes on it takes the host out, and --leave succeeds."""
    bare.registry.register("worker")
    bare.start_bridge("--ttl", "60")
    eventually(lambda: observer.sees(bare, "worker"), SOON)
    before = admin_cluster.membership(bare.folder)
    bare.bridge.signal(signal.SIGSTOP)
    with pytest.raises(adsum.Timeout, match="kill -CONT"):
        admin_cluster.leave(bare.folder, timeout=0.5)
    assert admin_cluster.membership(bare.folder) == before
    bare.bridge.signal(signal.SIGCONT)
    assert bare.bridge.wait(SOON) == 0
    assert bare.adsum("bridge", "--leave").code == 0
    eventually(lambda: not observer.knows(bare), SOON)
    assert observer.ends_of(bare) == ["left"]
    assert admin_cluster.membership(bare.folder) is None


def test_leaving_says_when_the_others_could_not_be_told(shared_memory: Path, tmp_path: Path) -> None:
    """Without etcd the registry is out of the cluster all the same, and the command ends with 3."""
    with (
        EtcdCluster(tmp_path) as etcd,
        opened_hosts(shared_memory, etcd.address("gone"), "alone") as (alone,),
    ):
        alone.start_bridge()
        etcd.members[0].kill()
        answer = alone.adsum("bridge", "--leave")
        assert answer.code == 3
        assert "forget them after 600 s" in answer.err
        assert alone.bridge.wait(SOON) == 0
        assert admin_cluster.membership(alone.folder) is None


def test_a_name_belongs_to_one_host(host: Host, bare: Host, shared_memory: Path) -> None:
    """A registry of another folder with the same name does not join: its bridge says why, and so does `adsum hosts`."""
    with opened_hosts(shared_memory, host.address, "double") as (double,):
        double.name = host.name
        double.begin_bridge()
        eventually(lambda: "held by another" in double.adsum("hosts").out, SOON)
        assert double.adsum("bridge", "--status").code == 1
        (finding,) = [
            one
            for one in admin_cluster.check(host.address, host=host.name, folder=double.folder)
            if one.check == "hosts"
        ]
        assert finding.level == "problem"
        assert f"another registry has the name '{host.name}'" in finding.says
        # A name for the cluster cannot be had; it is said why.
        for seconds, error in ((0.5, adsum.Timeout), (SOON, adsum.ClusterUnavailable)):
            with pytest.raises(error, match="held by another host or registry"):
                double.registry.register("leader", everywhere=True, timeout=seconds)
        answer = double.command(*f"run leader --everywhere --timeout 30 --path {double.folder} -- true".split())
        assert answer.code != 0
        assert "held by another host or registry" in answer.err


def test_options_stay_for_later_bridges(host: Host) -> None:
    """What a bridge was given is in the registry's folder; what it is given later replaces it."""
    assert admin_cluster.membership(host.folder) == admin_cluster.Membership(host.address, host.name, 5.0, 600.0)
    host.start_bridge("--replace", "--forget-after", "30")
    assert admin_cluster.membership(host.folder) == admin_cluster.Membership(host.address, host.name, 5.0, 30.0)
    answer = host.adsum("bridge", "--cluster", host.address + "-other")
    assert answer.code == 2
    assert "adsum bridge --leave" in answer.err


def test_a_bridge_that_is_refused_changes_nothing(host: Host, etcd: EtcdCluster) -> None:
    """Where another one runs, where the host's name is none, and where the keys have another layout, the folder says of
    the cluster what it said before."""
    before = admin_cluster.membership(host.folder)
    for options, code in (("--host other --ttl 7", 1), ("--host=", 2), ("--replace --host a/b", 2)):
        assert host.adsum("bridge", *options.split()).code == code
        assert admin_cluster.membership(host.folder) == before
    assert admin_cluster.leave(host.folder)
    etcd.control("put", "/adsum/later/v", "2")
    answer = host.adsum("bridge", "--cluster", etcd.address("later"))
    assert answer.code == 3
    assert "layout" in answer.err
    assert admin_cluster.membership(host.folder) is None


def test_a_service_manager_hears_of_a_bridge(bare: Host, tmp_path: Path) -> None:
    """It is sent READY, what the bridge is doing, signs that it is not stuck, and STOPPING (sd_notify(3))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(SOON)
        bare.command.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        bare.begin_bridge()
        assert manager.recv(100) == b"READY=1"
        while (heard := manager.recv(1000)) != b"WATCHDOG=1\nSTATUS=connected to the cluster":
            assert heard.startswith(b"WATCHDOG=1\nSTATUS="), heard
        bare.bridge.signal(signal.SIGTERM)
        while manager.recv(1000) != b"STOPPING=1":
            pass
        assert bare.bridge.wait(SOON) == 0


def test_a_bridge_on_demand_gives_way(bare: Host, observer: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge that a process has started in the background ends for one in the foreground with --replace."""
    monkeypatch.setenv("ADSUM_HOST", bare.name)
    with adsum.open(path=bare.folder, node=bare.name, cluster=bare.address, timeout=10) as registry:
        registry.register("background").published(SOON)
        eventually(lambda: observer.sees(bare, "background"), SOON)
        assert not bare.status().foreground

        def replace() -> None:
            bare.start_bridge("--replace")

        assert observer.events_of(bare, replace) == []
        assert bare.status().foreground


@pytest.mark.parametrize(
    ("typed", "code", "says"),
    [
        ("bridge", 3, "part of no cluster"),
        ("bridge --cluster http://a/b", 2, "etcd://"),
        ("bridge --cluster etcd://a", 2, "name of the cluster"),
        ("bridge --cluster etcd://a/b --ttl 1", 2, "from 2 to 3600"),
        ("bridge --cluster etcd://a/b --host a/b", 2, "letters, digits"),
        ("bridge --cluster etcd://a/b --forget-after 0", 2, "from 1 to"),
        ("bridge --check --leave", 2, "give one of"),
        ("bridge --check --replace", 2, "for a bridge that serves"),
        ("bridge --check", 3, "give --cluster"),
        ("bridge --check --cluster etcd://127.0.0.1:1/x", 1, "does not answer"),
        ("hosts", 1, "there is no registry"),
    ],
)
def test_wrong_command_lines_are_refused(registry_folder: Path, typed: str, code: int, says: str) -> None:
    """The exit code and the message say what is wrong."""
    answer = Command(registry_folder.with_name("default"))(*typed.split())
    assert answer.code == code
    assert says in answer.out + answer.err
