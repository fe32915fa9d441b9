"""The page on TLS and roles does what it says: all its commands are typed, with a real etcd, and hosts go by it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import adsum
from adsum import admin_cluster
from tests.support import Agent, end_registrar, eventually
from tests.support.etcd import EtcdCluster

from .command_hosts import SOON
from .printed_security import PrintedCertificates, Terminal, commands

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the page uses openssl")


class SecureHost:
    """A host whose operator has typed the page's block for a host, and a program on it, which opens a registry as that
    says, so the program has started the bridge. `terminal` has the variables of the block, and `check` is its last
    line. `certificate` names another host's where it is given."""

    def __init__(self, site: Site, name: str, certificate: str = "", **more: str) -> None:
        self.name = name
        base = site.base / name
        base.mkdir()
        self.terminal = Terminal(site.files, ADSUM_DIR=str(base))
        self.terminal.etcd = site.etcd
        *exports, check = commands()[-2].replace("adsum/rack-1", f"adsum/{certificate or name}").splitlines()
        self.terminal.type("\n".join(exports).replace("rack-1", name))
        self.check = check
        self.folder = base / "default"
        self.program = Agent(self.folder, env={**self.terminal.exported(), "ADSUM_CLUSTER_TTL": "5", **more})

    def publishes(self) -> bool:
        found = admin_cluster.bridge_status(self.folder)
        return found is not None and not found.trouble and found.fence > 0

    @property
    def trouble(self) -> str:
        found = admin_cluster.bridge_status(self.folder)
        return "" if found is None else found.trouble

    @property
    def pid(self) -> int:
        """That of its bridge."""
        found = admin_cluster.bridge_pid(self.folder)
        assert found is not None
        return found

    def sees(self, host: str) -> bool:
        """Whether a program here finds the member of another host."""
        return bool(self.program.value(f"registry.lookup(('default', {host!r}, 'worker')) is not None"))

    def close(self) -> None:
        print(f"--- bridge of {self.name}:")
        with contextlib.suppress(OSError):
            print((self.folder / "bridge.log").read_text())
        self.program.close()
        self.terminal.__exit__(None, None, None)
        admin_cluster.stop_bridge(self.folder)
        end_registrar(self.folder)


class Site:
    """The machine of the operator, where the page was typed, and etcd."""

    def __init__(self, files: Path, base: Path, stack: contextlib.ExitStack) -> None:
        self.files, self.base = files, base
        self.operator = stack.enter_context(Terminal(files))
        certificates, *rest, _, _ = commands()
        self.operator.type(certificates)
        self.etcd = stack.enter_context(EtcdCluster(files, certificates=PrintedCertificates(files)))
        self.operator.etcd = self.etcd
        for block in rest:
            self.operator.type(block)

    def leases(self) -> set[str]:
        return set(self.operator.type("etcdctl lease list").splitlines())


Racks = tuple[SecureHost, SecureHost]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, shared_memory: Path) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("site"), shared_memory, stack)


@contextlib.contextmanager
def opened(site: Site, name: str, certificate: str = "", **more: str) -> Iterator[SecureHost]:
    """A host with the member `worker`, ended in every case."""
    host = SecureHost(site, name, certificate, **more)
    with contextlib.closing(host):
        host.program.do("registry.register('worker')")
        yield host


@pytest.fixture(scope="module")
def racks(site: Site) -> Iterator[Racks]:
    with opened(site, "rack-1", ADSUM_CLUSTER_FORGET_AFTER="1") as one, opened(site, "rack-2") as two:
        eventually(lambda: one.publishes() and two.publishes(), SOON)
        yield one, two


def test_hosts_by_the_page_find_each_other(racks: Racks) -> None:
    """The check on each finds no problem, nothing lacks in its role, and each sees the member of the other."""
    for host, other in (racks, racks[::-1]):
        said = host.terminal.type(host.check)
        assert f"this host may do, as '{host.name}', all that its bridge does" in said
        assert ("may not forget" in said) == (host.name == "rack-2")
        eventually(partial(host.sees, other.name), SOON)
        assert "problem" not in host.terminal.type("adsum doctor")


def test_names_for_the_whole_cluster_work(racks: Racks) -> None:
    """A second holder is refused, and gets the name, with a larger token, when the first has given it back."""
    one, two = racks
    one.program.do("leader = registry.register('leader', everywhere=True)")
    with pytest.raises(adsum.AlreadyRegistered):
        two.program.do("registry.register('leader', everywhere=True)")
    token = one.program.value("leader.fencing_token")
    one.program.do("leader.unregister()")
    two.program.do("leader = registry.stand_by('leader', everywhere=True).result(9)")
    assert two.program.value("leader.fencing_token") > token
    two.program.do("leader.unregister(); registry.catch_up()")


def test_keys_of_another_host_are_denied(site: Site, racks: Racks) -> None:
    """With its certificate a host may write its own keys alone, and read no other cluster."""
    as_host = f"ETCDCTL_CERT={site.files}/rack-2.pem ETCDCTL_KEY={site.files}/rack-2-key.pem etcdctl"
    terminal = site.operator
    assert "OK" in terminal.type(f"{as_host} put /adsum/prod/d/rack-2 x; {as_host} del /adsum/prod/d/rack-2")
    denied = [f"put /adsum/prod/{kind}/rack-1 x" for kind in "hdwo"]
    denied += [
        "put /adsum/prod/e/rack-1/junk x",
        "put /adsum/prod/e/rack-20/junk x",
        "put /adsum/prod/v 2",
        "put /other x",
        "del --prefix /adsum/prod/",
        "get /adsum/other/v",
    ]
    for command in denied:
        assert "permission denied" in terminal.refusal(f"{as_host} {command}"), command


def test_a_host_of_another_name_is_told(site: Site) -> None:
    """A host that has the certificate of another one is refused; check and bridge say which key is meant, and its tries
    leave no lease behind."""
    before = site.leases()
    with opened(site, "rack-7", "rack-2") as host:
        said = host.terminal.refusal(host.check)
        assert "this host, as 'rack-7', may not write its own key" in said
        assert "TLS and roles" in said
        eventually(lambda: "may not write /adsum/prod/h/rack-7," in host.trouble, SOON)
        assert site.leases() == before


def test_an_observer_sees_and_says_nothing(site: Site, racks: Racks) -> None:
    """It finds the members of the hosts, and no host knows it."""
    with opened(site, "observer") as observer:
        eventually(lambda: observer.sees("rack-1") and observer.sees("rack-2"), SOON)
        eventually(lambda: "may not write" in observer.trouble, SOON)
        assert "may not write" in observer.terminal.type("adsum hosts")
        assert "rack-1" in observer.terminal.type("adsum ls")
        assert not racks[0].sees("observer")
        assert "observer" not in site.operator.type("etcdctl get --prefix /adsum/ --keys-only")


@pytest.fixture(scope="module")
def bridge_before(site: Site, racks: Racks) -> int:
    """The bridge of rack-2 from before its certificate was renewed and etcd was started anew."""
    pid = racks[1].pid
    site.operator.type("issue rack-2 DNS:rack-2")
    site.etcd.members[0].kill()
    site.etcd.members[0].start()
    site.etcd.wait_until_healthy()
    return pid


def test_a_renewed_certificate_needs_no_new_bridge(racks: Racks, bridge_before: int) -> None:
    """A certificate is made anew under the same names, and connections are: the same bridge goes on."""
    one, two = racks
    two.program.do("renewed = registry.register('renewed')")
    eventually(lambda: one.program.value("registry.lookup(('default', 'rack-2', 'renewed')) is not None"), SOON)
    two.program.do("renewed.unregister()")
    assert two.pid == bridge_before


def test_a_host_is_added_shut_out_and_forgotten(site: Site, racks: Racks) -> None:
    """Hosts are added while others run. One whose user and key are deleted is out, and the host that may forgets it."""
    one = racks[0]
    site.operator.type("issue rack-3 DNS:rack-3; add_host rack-3")
    with opened(site, "rack-3") as three:
        eventually(lambda: one.sees("rack-3"), SOON)
        site.operator.type(commands()[-1].replace("rack-2", "rack-3"))
        eventually(lambda: not one.sees("rack-3"), SOON)
        eventually(lambda: "permission denied" in (three.folder / "bridge.log").read_text(), SOON)
        how = "[one.how for one in registry.departures() if one.entry.host == 'rack-3']"
        eventually(lambda: one.program.value(how) == ["unreachable_forgotten"], SOON)


def test_a_host_leaves(site: Site, racks: Racks) -> None:
    """Its role allows it to take its keys away."""
    site.operator.type("issue rack-4 DNS:rack-4; add_host rack-4")
    with opened(site, "rack-4") as four:
        eventually(lambda: racks[0].sees("rack-4"), SOON)
        four.program.close()
        assert "has left" in four.terminal.type("adsum bridge --leave")
        assert "rack-4" not in site.operator.type("etcdctl get --prefix /adsum/ --keys-only")
