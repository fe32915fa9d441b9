"""A registry over a long time in which the other hosts of its cluster come and go, beside the model of what it shows.

The bridge is played: its requests are what `adsum._bridge.remote_hosts` makes of etcd. The registrar, its tables, its
page and a reader with everything that it keeps are the real ones. Both clocks are the simulated one."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from contextlib import closing
from random import Random

from adsum import _wire as wire
from adsum._engine.batch import Call
from adsum._store.tables import Retention
from adsum.model import Limits

from .flapping_checks import Checks
from .flapping_hosts import Host
from .members import Members
from .shown import Shown
from .world import SECOND, Crash, World

WEEK = 7 * 86_400.0
HOSTS = tuple(f"host-{number}" for number in range(12))
KEEP = 150
TTL = 10.0
FORGET_AFTER = 600.0
NEVER = 2**62


class Week:
    """So many losses of a lease in a week. `run` plays it; its steps depend on `seed` alone."""

    def __init__(self, seed: int, losses: int) -> None:
        self.random = Random(seed)
        self.world = World(Limits(), retention=Retention(departures=KEEP, changes=KEEP))
        self.world.observing = False
        self.shown = Shown(KEEP)
        self.members = Members(self.world, self.random, self.shown)
        self.hosts: dict[str, Host] = {}
        self.lost = self.crashes = self.requests = 0
        self._pace = WEEK * (len(HOSTS) + 1) / losses
        self._fence = 1
        self._number = 0
        self._ended_at = self.world.clock.monotonic() + WEEK
        # What happens next: when, and to which host. A host without a name is a new one.
        self._plan: list[tuple[float, str]] = []

    def close(self) -> None:
        self.world.close()

    def run(self) -> None:
        """Play it to its end."""
        with closing(Checks(self.world, self.shown, KEEP)) as self.checks:
            for name in (*HOSTS, ""):
                self._later(name, self.random.random() * self._pace)
            while (next := heapq.heappop(self._plan))[0] < self._ended_at:
                self.world.clock.advance(max(0.0, next[0] - self.world.clock.monotonic()))
                self._happen(next[1])
            self._heard()
            self.checks.all()

    def _later(self, name: str, seconds: float) -> None:
        heapq.heappush(self._plan, (self.world.clock.monotonic() + seconds, name))

    def _happen(self, name: str) -> None:
        """The turn of one host; perhaps a member does something first, or the registrar is killed."""
        self.world.core.receipts.expire(self.world.clock.nanoseconds)
        if self.random.random() < 0.02:
            # The bridge has not been heard since the last time.
            self.checks.silence(TTL)
            if self.random.random() < 0.2:
                self._restart(None)
            self._heard()
            self.checks.heard_again()
        self._heard()
        if self.random.random() < 0.3:
            self.members.step()
            self.checks.reads()
        if self.random.random() < 0.01:
            self._lose_all()
        if self.random.random() < 0.003:
            self._restart(None)
        if self.random.random() < 0.003:
            self.world.move()
        if not name:
            self._one_that_stays_for_once()
        elif (host := self.hosts.get(name)) is None:
            self._arrive(name)
        elif host.lost_at is None:
            self._while_here(host)
        else:
            self._while_away(host, host.lost_at)
        self.checks.after_a_step()

    # Hosts

    def _arrive(self, name: str) -> None:
        host = self.hosts[name] = Host(name, self.random, self.shown)
        for _ in range(self.random.randrange(8)):
            host.work()
        self._send(host.come_back(self._next_fence()))
        self._later(name, self.random.expovariate(1 / self._pace))

    def _one_that_stays_for_once(self) -> None:
        """A host with a name of its own, such as a container: it comes, and is given up for good."""
        name = f"pod-{self.random.randrange(2**40):x}"
        self._arrive(name)
        self._later("", self.random.expovariate(1 / self._pace))

    def _while_here(self, host: Host) -> None:
        """It has worked; then it leaves, or is heard again from the beginning, or loses its lease."""
        for _ in range(self.random.randrange(4)):
            host.work()
            self._send(host.publish())
            self._send(host.late_exits())
        what = self.random.random()
        if what < 0.02:
            self._send([host.leave("left")])
            self._end(host)
            return
        if what < 0.05:
            self._send(host.load())
        self._lose([host])
        self._later(host.name, self.random.choice((0.01, 1.0, 30.0, 2 * FORGET_AFTER)) * self.random.random())

    def _while_away(self, host: Host, lost_at: float) -> None:
        """It has worked too; then it comes back. One that stays away for long is given up first."""
        away = self.world.clock.monotonic() - lost_at
        if away > FORGET_AFTER or (host.name.startswith("pod") and away > 60.0):
            self._send([host.leave("unreachable_forgotten")])
            if host.name.startswith("pod"):
                self._end(host)
                return
        for _ in range(self.random.randrange(4)):
            host.work()
        if self.random.random() < 0.1:
            host.start_anew(boots=self.random.random() < 0.5)
        self._send(host.come_back(self._next_fence()))
        self._later(host.name, self.random.expovariate(1 / self._pace))

    def _end(self, host: Host) -> None:
        del self.hosts[host.name]
        if not host.name.startswith("pod"):
            self._later(host.name, self.random.expovariate(1 / self._pace))

    def _lose_all(self) -> None:
        """An outage of etcd: many leases are lost at once. The hosts come back when it is their turn."""
        self._lose([host for host in self.hosts.values() if host.lost_at is None and self.random.random() < 0.8])

    def _lose(self, hosts: Iterable[Host]) -> None:
        now = self.world.clock.monotonic()
        if lost := [host.lose(now) for host in hosts]:
            self.lost += len(lost)
            self._send([wire.ApplyRemote(hosts=lost)])

    def _next_fence(self) -> int:
        self._fence += 2
        return self._fence

    # Requests

    def _heard(self) -> None:
        """The bridge has just heard from etcd."""
        self.world.host_words.note_heard(self.world.clock.nanoseconds, int(TTL * SECOND))

    def _send(self, requests: Iterable[wire.ApplyRemote]) -> None:
        """Have the registrar carry out each request, and see what it shows. Now and then it is killed, or the request
        is sent again though it was carried out."""
        for request in requests:
            chance = self.random.random()
            if chance < 0.004:
                self._restart(request)
            else:
                self._carry_out(request)
            if chance > 0.98:
                self._carry_out(request)
            self.checks.after_a_request(request)

    def _carry_out(self, request: wire.ApplyRemote) -> None:
        self._number += 1
        self.requests += 1
        outcome = self.world.commit(others=[self._call(request)])
        for answer in outcome.answers or ():
            self.world.core.receipts.sent(answer.session, answer.number)

    def _call(self, request: wire.ApplyRemote) -> Call:
        sent = wire.decode_envelope(wire._encode(wire.Envelope(self._number, NEVER, request)))
        return Call(b"the bridge", self._number, NEVER, sent.request)

    def _restart(self, request: wire.ApplyRemote | None) -> None:
        """The registrar is killed, just before or just after a commit; the next one gets the request again."""
        self.crashes += 1
        if request is None:
            self.world.kill()
        else:
            self._number += 1
            self.world.injections = {self.random.choice(("before_commit", "after_commit")): [Crash()]}
            if self.world.commit(others=[self._call(request)]).alive:
                # It had nothing to commit.
                self.world.kill()
        while not self.world.start():
            pass
        self._heard()
        if request is not None:
            self._carry_out(request)
