"""A wall clock that is set back or on while members promise heartbeats: it decides nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adsum import _wire as wire
from adsum._engine.batch import Batch, Call
from adsum._registrar.replies import OutgoingReply
from adsum._validation import MetadataFields
from adsum.model import HealthStatus, Limits, Owner, ProcessId

from .reading import PlainEntry
from .world import SECOND, World

A = ProcessId("default", "n", "a")
HOURS = (-1, 0, 1)


class Machine:
    """A registry in which one process promised a heartbeat each second."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.owner: Owner = world.processes.start(7)
        self._number = 0
        fields = MetadataFields(heartbeat=1.0)
        self.ask(wire.Register(owner=self.owner, items=[(A, fields)]))

    def ask(self, request: wire.AnyRequest) -> None:
        """Commit one request of the process."""
        self._number += 1
        call = Call(b"session", self._number, self.world.clock.nanoseconds + SECOND, request, self.owner)
        answers: list[OutgoingReply] = []
        self.world.core.committer.commit(Batch(calls=[call]), answers.extend)
        assert [answer.data[4:] for answer in answers]

    def beat(self) -> None:
        self.ask(wire.Heartbeat(process_id=A, owner=self.owner))

    def report(self, status: HealthStatus) -> None:
        fields = MetadataFields(health_status=status)
        self.ask(wire.Update(process_id=A, fields=fields, checked=True))

    def wait(self, seconds: float) -> None:
        """Time passes; then the registrar looks for missed heartbeats."""
        self.world.clock.advance(seconds)
        late = self.world.core.heartbeats.late(self.world.clock.nanoseconds)
        if late:
            self.world.core.committer.commit(Batch(late=late), lambda _answers: None)

    @property
    def entry(self) -> PlainEntry:
        (entry,) = self.world.tables().entries.values()
        return entry

    @property
    def health(self) -> tuple[str, str]:
        return self.entry.metadata["health_status"], self.entry.source


@pytest.fixture
def machine() -> Iterator[Machine]:
    world = World(Limits())
    try:
        yield Machine(world)
    finally:
        world.close()


@pytest.mark.parametrize("hours", HOURS)
def test_a_heartbeat_in_time_counts(machine: Machine, hours: int) -> None:
    """Heartbeats that come in time keep a process healthy, whatever the wall clock says meanwhile."""
    machine.world.clock.set_wall(hours * 3600)
    before = machine.entry.metadata["last_health_check"]
    for _ in range(10):
        machine.wait(1.4)
        machine.beat()
        assert machine.health == ("healthy", "process")
        assert machine.entry.metadata["last_health_check"] >= before
    machine.wait(1.6)
    assert machine.health == ("degraded", "registrar")


@pytest.mark.parametrize("seconds", [2, 4])
@pytest.mark.parametrize("hours", HOURS)
def test_a_late_heartbeat_counts(machine: Machine, hours: int, seconds: float) -> None:
    """The heartbeat that ends a lateness gives the full time anew, and the next lateness shows again."""
    machine.wait(seconds)
    machine.world.clock.set_wall(hours * 3600)
    for _ in range(2):
        machine.beat()
        assert machine.health == ("healthy", "process")
        machine.wait(1.4)
        assert machine.health == ("healthy", "process")
        machine.wait(0.2)
        assert machine.health == ("degraded", "registrar")
        machine.wait(1.5)
        assert machine.health == ("unhealthy", "registrar")


@pytest.mark.parametrize("hours", HOURS)
def test_a_report_of_health_counts(machine: Machine, hours: int) -> None:
    """A process that reports its own health sends a heartbeat with it."""
    machine.world.clock.set_wall(hours * 3600)
    for _ in range(3):
        machine.wait(1.4)
        machine.report(HealthStatus.degraded)
        assert machine.health == ("degraded", "process")
    machine.wait(1.4)
    assert machine.health == ("degraded", "process")
    machine.wait(2)
    assert machine.health == ("unhealthy", "registrar")
    machine.beat()
    assert machine.health == ("degraded", "process")


@pytest.mark.parametrize("hours", HOURS)
def test_a_change_of_another_field_is_no_heartbeat(machine: Machine, hours: int) -> None:
    """An update through the committer, without a health status, gives no time, wherever the wall clock is set."""
    machine.world.clock.set_wall(hours * 3600)
    machine.wait(1.4)
    fields = MetadataFields(endpoint="x")
    machine.ask(wire.Update(process_id=A, fields=fields))
    machine.wait(0.2)
    assert machine.health == ("degraded", "registrar")


@pytest.mark.parametrize("hours", HOURS)
def test_a_registrar_that_starts_gives_time(machine: Machine, hours: int) -> None:
    """A registrar that follows a killed one counts from its own start, on the monotonic clock, wherever the wall clock
    is set."""
    machine.wait(1.4)
    machine.world.kill()
    machine.world.clock.set_wall(hours * 3600)
    assert machine.world.start()
    machine.wait(1.4)
    assert machine.health == ("healthy", "process")
    machine.wait(0.2)
    assert machine.health == ("degraded", "registrar")
