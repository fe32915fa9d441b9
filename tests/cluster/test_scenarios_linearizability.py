"""Clients of three hosts ask for the same names while members, bridges, registrars and leaders of etcd are killed: some
order of the grants, refusals and ends explains every answer, and the tokens grow along it."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Child, eventually, kill_registrar
from tests.support.etcd import EtcdCluster, program, version
from tests.support.linearizability import NEVER, Operation, check

from .host_processes import SOON, Host, Hosts
from .name_histories import CLUSTER_NAMES, NAMES, Request, history, requests_of, run_client
from .test_scenarios_etcd import leader_of
from .test_scenarios_names import register_when_free

CLIENTS_OF_A_HOST = 2
# No host is without a bridge for so long, so no lease ends, and no name is lost but by the end of its holder.
TTL = 60.0
LEAST_GRANTS = 10


class Storm:
    """Clients on some hosts, and what kills them, and all that serves them."""

    def __init__(self, hosts: list[Host], folder: Path, rng: random.Random, etcd: EtcdCluster | None) -> None:
        self._hosts = hosts
        self._folder = folder
        self._rng = rng
        self._etcd = etcd
        self._clients: dict[int, tuple[Host, Child]] = {}
        # By the number of the client, from 1: its host, and when it was killed.
        self._hosts_of: dict[int, Host] = {}
        self._deaths: dict[int, int] = {}
        self._final: list[Request] = []
        self.killed: Counter[str] = Counter()

    @contextlib.contextmanager
    def clients(self) -> Iterator[None]:
        """Clients on all hosts, ended with the block in every case."""
        try:
            for host in self._hosts * CLIENTS_OF_A_HOST:
                self._start(host)
            for host in self._hosts:
                host.bridge.wait_until_publishing()
            eventually(lambda: len(self._asking()) == len(self._clients), SOON)
            yield
        finally:
            for _, child in self._clients.values():
                child.close()

    def rage(self, seconds: float) -> None:
        """Kill one thing after the other, for so long, and until names were granted in spite of it."""
        until, longest = time.monotonic() + seconds, time.monotonic() + seconds + SOON
        kills = [self._kill_client, self._kill_bridge, self._kill_registrar]
        if self._etcd is not None:
            kills.append(self._kill_leader)
        while time.monotonic() < until or self._grants() < LEAST_GRANTS:
            assert time.monotonic() < longest, f"{self._grants()} grants in {seconds + SOON:g} s"
            time.sleep(self._rng.uniform(0.02, 0.3))
            self._rng.choice(kills)()

    def calm(self) -> None:
        """End the calls, with the last of which all names are freed."""
        for _, child in self._clients.values():
            child.say()
        for _, child in self._clients.values():
            child.expect("done", SOON)

    def take_all(self) -> None:
        """The test itself registers every name, and makes that part of the history."""
        host = self._hosts[0]
        for number, name in enumerate(NAMES):
            request = Request(number, name, host.name, time.monotonic_ns())
            request.token = register_when_free(host.registry, name).fencing_token
            request.answer, request.answered = ("granted", host.name, request.token), time.monotonic_ns()
            self._final.append(request)

    def history(self) -> list[Operation]:
        requests = list(self._final)
        for number, host in self._hosts_of.items():
            requests += requests_of(self._journal(number), host.name)
        return history(requests, self._deaths)

    def _asking(self) -> list[int]:
        """The clients that have asked for something."""
        return [number for number in self._clients if self._journal(number).stat().st_size]

    def _grants(self) -> int:
        return sum(self._journal(number).read_bytes().count(b'"granted"') for number in self._hosts_of)

    def _journal(self, number: int) -> Path:
        return self._folder / f"client-{number}"

    def _start(self, host: Host) -> None:
        number = len(self._hosts_of) + 1
        journal = self._journal(number)
        journal.touch()
        env = {"ADSUM_HOST": host.name, "ADSUM_CLUSTER_TTL": str(host.ttl)}
        seed = self._rng.randrange(1 << 30)
        child = Child(run_client, host.folder, host.name, host.address, number, seed, journal, env=env)
        self._clients[number] = host, child
        self._hosts_of[number] = host

    def _kill_client(self) -> None:
        asking = self._asking()
        if not asking:
            return
        number = self._rng.choice(asking)
        host, child = self._clients.pop(number)
        self._deaths[number] = time.monotonic_ns()
        child.close()
        self.killed["client"] += 1
        self._start(host)

    def _kill_bridge(self) -> None:
        bridge = self._rng.choice(self._hosts).bridge
        status = bridge.status()
        # One that is only starting is killed less often, so that names are granted at all.
        if (status is not None and status.fence) or self._rng.random() < 0.2:
            bridge.kill()
            self.killed["bridge"] += 1

    def _kill_registrar(self) -> None:
        self.killed["registrar"] += kill_registrar(self._rng.choice(self._hosts).folder) is not None

    def _kill_leader(self) -> None:
        assert self._etcd is not None
        try:
            leader = leader_of(self._etcd)
        except (AssertionError, RuntimeError):
            # There is none at this moment: an election goes on.
            return
        leader.kill()
        self.killed["etcd leader"] += 1
        time.sleep(self._rng.uniform(0.0, 1.0))
        leader.start()
        self._etcd.wait_until_healthy()


def _check_unless_etcd_lost_changes(operations: list[Operation], etcd: EtcdCluster) -> None:
    """Check a history. Skips the test where the members of etcd have different data: then etcd has lost a change that
    it had confirmed, as versions before 3.5.3 may when members are killed (etcd issue 13766)."""
    try:
        check(operations, CLUSTER_NAMES)
    except AssertionError:
        hashes = etcd.hashes()
        print(f"etcd {version(program())}: {hashes}")
        if len(set(hashes.values())) > 1:
            pytest.skip("the members of etcd have different data")
        raise


def explained(folder: Path, members: int, seconds: float) -> None:
    """Check the history of a storm."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    with EtcdCluster(folder, members) as etcd, Hosts(etcd.address("prod"), TTL) as hosts:
        three = [hosts.add(name, starts=False) for name in ("a", "b", "c")]
        storm = Storm(three, folder, random.Random(seed), etcd if members > 1 else None)
        with storm.clients():
            storm.rage(seconds)
            storm.calm()
            operations = storm.history()
            _check_unless_etcd_lost_changes(operations, etcd)
            storm.take_all()
            check(storm.history(), CLUSTER_NAMES)
    kinds = Counter(str(one.answer[0]) if one.kind == "register" else one.kind for one in operations)
    print(f"killed: {dict(storm.killed)}; recorded: {dict(kinds)}")
    assert kinds["refused"]


SERVERS = pytest.mark.parametrize("members", [1, 3], ids=["etcd stays", "leaders of etcd killed, too"])


@SERVERS
def test_every_answer_about_a_name_can_be_explained(tmp_path: Path, members: int) -> None:
    """A name has one holder at a time, over all hosts, and each later one has a larger token, however often members,
    bridges, registrars and leaders of etcd are killed. In the end nothing is held without a holder."""
    explained(tmp_path, members, 3.0)


def register(answer: tuple[object, ...], called: int, answered: int, request: int | None = None) -> Operation:
    return Operation("leader", "register", request, answer, called, answered)


def holds(request: int, token: int, called: int, answered: int) -> Operation:
    return Operation("leader", "holds", request, (token,), called, answered)


def freed(request: int, called: int) -> Operation:
    return Operation("leader", "freed", request, (), called, NEVER)


SOUND = {
    "one after the other": [
        register(("granted", "a", 5), 0, 1, 1),
        register(("refused", "a"), 2, 3),
        freed(1, 4),
        register(("granted", "b", 8), 5, 6, 2),
        holds(2, 8, 7, 8),
    ],
    "a name that is freed late": [
        register(("granted", "a", 5), 0, 1, 1),
        freed(1, 2),
        register(("refused", "a"), 8, 9),
    ],
    "a request that was given up may have held the name": [
        register(("unanswered", "a", 0), 0, NEVER),
        register(("refused", "a"), 5, 6),
        register(("granted", "b", 8), 7, 8, 2),
    ],
    "a request that was given up may have done nothing": [
        register(("granted", "b", 5), 0, 1, 1),
        register(("unanswered", "a", 0), 2, NEVER),
        holds(1, 5, 8, 9),
    ],
}

UNSOUND = {
    "two holders": [
        register(("granted", "a", 5), 0, 1, 1),
        register(("granted", "b", 8), 2, 3, 2),
        freed(1, 4),
    ],
    "a token that does not grow": [
        register(("granted", "a", 5), 0, 1, 1),
        freed(1, 2),
        register(("granted", "b", 5), 3, 4, 2),
    ],
    "a refusal without a holder": [
        register(("granted", "a", 5), 0, 1, 1),
        register(("refused", "b"), 2, 3),
    ],
    "a refusal for the end of an earlier holder": [
        register(("granted", "a", 5), 0, 1, 1),
        freed(1, 2),
        register(("granted", "b", 8), 3, 4, 2),
        register(("refused", "a"), 5, 6),
    ],
    "a holder that goes on after another": [
        register(("granted", "a", 5), 0, 1, 1),
        freed(1, 2),
        register(("granted", "b", 8), 3, 4, 2),
        holds(1, 5, 5, 6),
    ],
    "one request that was given up explains one holder": [
        register(("unanswered", "a", 0), 0, NEVER),
        register(("refused", "a"), 1, 2),
        register(("granted", "b", 8), 3, 4, 2),
        freed(2, 5),
        register(("refused", "a"), 6, 7),
    ],
    "a request explains nothing before it was called": [
        register(("refused", "a"), 1, 2),
        register(("unanswered", "a", 0), 3, NEVER),
    ],
}


@pytest.mark.parametrize("operations", SOUND.values(), ids=SOUND)
def test_the_model_of_names_accepts_what_is_sound(operations: list[Operation]) -> None:
    """The checker finds an order for histories of a name that have one."""
    check(operations, CLUSTER_NAMES)


@pytest.mark.parametrize("operations", UNSOUND.values(), ids=UNSOUND)
def test_the_model_of_names_refuses_what_is_not(operations: list[Operation]) -> None:
    """The checker finds no order for histories in which a promise about names is broken."""
    with pytest.raises(AssertionError, match="no order explains the answers for leader"):
        check(operations, CLUSTER_NAMES)


@pytest.mark.soak
@pytest.mark.timeout(300)
@SERVERS
def test_every_answer_about_a_name_can_be_explained_for_a_minute(tmp_path: Path, members: int) -> None:
    """The same for a minute."""
    explained(tmp_path, members, 60.0)
