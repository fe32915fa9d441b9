"""The witness that checks reads against the ends of processes on all hosts."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from adsum import Entry, Registry
from adsum_demo.cluster.deaths import ClusterWitness, Deaths, Identity, append
from adsum_demo.cluster.processes import below, kill_all
from tests.cluster.bridging import HOST, Bridge, remote
from tests.support.processes import is_alive

BOUND = 1.0


class UncheckedRegistry(Registry):
    """A registry that returns the same entry for ever."""

    known: Entry

    def lookup(self, id: object, *, unreachable: bool = False) -> Entry | None:
        return self.known


@pytest.fixture
def witness(registry: Registry, tmp_path: Path) -> Iterator[ClusterWitness]:
    with UncheckedRegistry(path=registry.folder) as unchecked:
        made = ClusterWitness(unchecked, Deaths(tmp_path / "deaths"), "host-a", BOUND)
        yield made
        made.close()


def _returns(witness: ClusterWitness, entry: Entry) -> None:
    assert isinstance(witness.registry, UncheckedRegistry)
    witness.registry.known = entry
    witness.lookup("x")


def test_a_dead_process_of_the_same_host_counts_at_once(
    witness: ClusterWitness, registry: Registry, tmp_path: Path
) -> None:
    """A read that returns a process of the reader's own host after its end hands out a dead one."""
    entry = registry.register("worker").entry
    _returns(witness, entry)
    assert witness.dead_handed_out == 0
    append(tmp_path / "deaths", [Identity("host-a", entry.pid, entry.start_time)], time.monotonic())
    _returns(witness, entry)
    assert (witness.dead_handed_out, witness.staleness.answers) == (1, 0)


@pytest.mark.parametrize(("ago", "handed_out"), [(0.0, 0), (BOUND + 1, 1)])
def test_a_dead_process_of_another_host_counts_after_the_bound(
    witness: ClusterWitness, registry: Registry, tmp_path: Path, ago: float, handed_out: int
) -> None:
    """Sooner it is said, with the time since the end: the news travels."""
    registry.register("local")
    bridge = Bridge(registry)
    bridge.host("here")
    bridge.put(remote("worker"))
    entry = registry[("default", HOST, "worker")]
    _returns(witness, entry)
    append(tmp_path / "deaths", [Identity(HOST, entry.pid, entry.start_time)], time.monotonic() - ago)
    _returns(witness, entry)
    assert (witness.dead_handed_out, witness.staleness.answers) == (handed_out, 1)
    assert witness.staleness.longest >= ago


def test_a_process_is_known_by_its_host_and_its_start(
    witness: ClusterWitness, registry: Registry, tmp_path: Path
) -> None:
    """The death of a process with the same pid on another host, or of an earlier one, is no death of this one."""
    entry = registry.register("worker").entry
    others = [Identity("host-b", entry.pid, entry.start_time), Identity("host-a", entry.pid, entry.start_time - 1)]
    append(tmp_path / "deaths", others, time.monotonic())
    _returns(witness, entry)
    assert witness.dead_handed_out == 0


def test_all_processes_of_a_host_are_killed() -> None:
    """The processes below another one are found, however deep, and all have ended when the call returns."""
    with subprocess.Popen(["sh", "-c", "sh -c 'sleep 60; true' & sleep 60; true"]) as process:
        while len(found := below(process.pid)) < 3:
            time.sleep(0.01)
        kill_all([process.pid, *found])
        assert process.wait(1) == -9
        assert not any(map(is_alive, found))
